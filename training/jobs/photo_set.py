"""Labelled photos as a prepared set: their faces found, aligned and cropped within the job.

The layout is the generic one (`training.data.generic`). Each NIR photo also gets a copy with a drawn mask:
the layout says nothing of masks, and masked probes are what is to be learned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from training.data.generic import MANIFEST, load_generic
from training.data.loaded import LoadedSet, Place
from training.data.prepared import PreparedSet
from training.data.records import DataSetError
from training.views.masking import MaskOptions
from training.views.prepare import PrepareOptions, prepare_set
from training.views.prepare_sample import WorkOptions

TRAIN = Place("train")
OnPart = Callable[[int, int], None]


def photo_set(root: Path, out: Path, *, bundle: Path, alignment: str, on_part: OnPart) -> PreparedSet:
    """Goes on where a killed run stopped. `bundle`: whose detector is used. Raises DataSetError, BundleError.

    Where the set's manifest names no training pictures, all but its test pictures are learned from.
    """
    work = WorkOptions(
        alignment=alignment, bundle=bundle, masks=MaskOptions(masked="nir", engine="landmarks")
    )
    source = _to_learn_from(load_generic(root, strict=False), listed=(root / MANIFEST).is_file())
    made = prepare_set(source, out, PrepareOptions(dataset="generic", work=work), on_part=on_part)
    if not made.found.rows:
        raise DataSetError(f"no face was found in any of the {len(made.found.refused)} pictures")
    return made.found


def _to_learn_from(source: LoadedSet, *, listed: bool) -> LoadedSet:
    """With the split that a manifest gives, or else everything but what it says is for tests."""
    if not listed:
        # From folders a half would be drawn for tests: the job holds out subjects of its own.
        return replace(source, places={}, everywhere=TRAIN, all_folds=())
    if any(place.split == "train" for place in source.places.values()):
        return source
    places = {path: TRAIN if place.split == "none" else place for path, place in source.places.items()}
    return replace(source, places=places)
