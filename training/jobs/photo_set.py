"""Makes a prepared set of labelled photos within the job: finds, aligns and crops their faces.

The layout is the generic one (`training.data.generic`). Each NIR photo also gets a copy with a drawn mask,
because the layout does not label masks and training needs masked probes.
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
    """Prepares the photos with the detector of `bundle`; goes on where a killed run stopped.

    If the set's manifest names no training photos, all but its test photos are used. Raises DataSetError
    if no face is found or the set cannot be read, BundleError if the bundle cannot be.
    """
    work = WorkOptions(
        alignment=alignment, bundle=bundle, masks=MaskOptions(masked="nir", engine="landmarks")
    )
    source = _for_training(load_generic(root, strict=False), listed=(root / MANIFEST).is_file())
    made = prepare_set(source, out, PrepareOptions(dataset="generic", work=work), on_part=on_part)
    if not made.found.rows:
        raise DataSetError(f"no face was found in any of the {len(made.found.refused)} pictures")
    return made.found


def _for_training(source: LoadedSet, *, listed: bool) -> LoadedSet:
    """Puts the photos into the train split, as far as a manifest does not assign them."""
    if not listed:
        # The loader would draw half of a folder layout for tests; the job holds out subjects itself.
        return replace(source, places={}, everywhere=TRAIN, all_folds=())
    if any(place.split == "train" for place in source.places.values()):
        return source
    places = {path: TRAIN if place.split == "none" else place for path, place in source.places.items()}
    return replace(source, places=places)
