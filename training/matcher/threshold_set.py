"""Makes the prepared set that thresholds come from: people kept out of training, each in every condition.

Impostor scores need no second photo, so one photo a person is enough. It is shown as it is, with a drawn
mask, in pseudo-NIR, and in pseudo-NIR with the mask, by training's generators. Rows have the group of the
person, so that thresholds hold within each. Generated faces are left out: they are nobody's. So are
photographs that are there twice, and further photos of people who are there under several names.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from faces.types import CONDITIONS, Condition, Pixels, Spectrum
from training.data.prepared import PreparedSet, Row, SetInfo
from training.data.set_writer import Made, SetWriter
from training.engine.worker_pool import in_order, worker_pool
from training.matcher.build import Maker, Tools
from training.matcher.frames import CROP_PX, FRAME_PX, crop_of
from training.matcher.same_photos import like_earlier, repeated
from training.matcher.store import CELLS, MaskRow, PhotoRow, Store
from training.matcher.teacher import templates
from training.matcher.views import ViewMaker, Wanted
from training.networks.onnx_import import import_bundle

ALIGNMENT = "arcface-112"
AT_ONCE = 32
# How far views are moved, as a share of training's: about as far as landmarks of a detector scatter.
EXTENT = 0.4
GENERATOR = "matcher-family"
# The cosine of the trunk's templates from which two photos are taken for one person: of most archives, and of
# one that has no names and shows celebrities many times. Seen by eye, of pairs of the former nearly all at
# .72 and more were one person, three of four from .66 to .72, half from .62 to .66; of the latter nearly all
# at .64 and half at .60.
SAME_PERSON, SAME_OF_FAMOUS = 0.66, 0.62
FAMOUS = frozenset({"utkface_adults"})
GENERATED = frozenset({"generated_hmdghoul", "faker_sd3_portraits"})
# The archives' labels, and the group that each belongs to; other labels are no group of their own.
GROUPS = {
    "East Asian": "East Asian",
    "East Asian mostly": "East Asian",
    "asian": "East Asian",
    "South Asian": "South Asian",
    "indian": "South Asian",
    "black": "black",
    "Caucasian": "white",
}


@dataclass(frozen=True, slots=True, eq=False)
class OnePhoto:
    """One photo of the cache, dressed, as `ViewMaker` takes it; see `training.matcher.store`."""

    frames: NDArray[np.generic]
    normals: NDArray[np.generic]
    through: NDArray[np.generic]
    cloth: NDArray[np.generic]
    photos: tuple[PhotoRow, ...]
    masks: tuple[MaskRow, ...]


def kept_people(photos: Sequence[PhotoRow]) -> Iterator[int]:
    """The photos that thresholds may come from, by place in the cache."""
    for i, row in enumerate(photos):
        if row.part == "thresholds" and not row.masked and row.of_set not in GENERATED:
            yield i


def views_of(frame: Pixels, row: PhotoRow, maker: Maker, *, seed: int) -> list[Made]:
    """The crops of a photo [144, 144, 3] in all four conditions; the same whenever it is asked."""
    rng = np.random.default_rng([seed, zlib.crc32(row.source.encode())])
    normals, layers = maker.dressed(frame, np.array(row.landmarks, np.float32), rng, worn=1)
    side = (1, FRAME_PX, FRAME_PX)
    one = OnePhoto(
        frame[None],
        normals.reshape(1, CELLS, CELLS, 4),
        layers[0].through.reshape(side),
        layers[0].cloth.reshape(*side, 3),
        (row,),
        (MaskRow(photo=0, kind=layers[0].kind, label=layers[0].label),),
    )
    views = ViewMaker(one)
    made = []
    for condition in CONDITIONS:
        nir = condition.spectrum is Spectrum.NIR
        crop = crop_of(frame)
        if nir or condition.masked:
            wanted = Wanted(photo=0, mask=0 if condition.masked else None, nir=nir)
            crop = views.view(wanted, rng, extent=EXTENT)
        made.append(Made(_row(row, condition, layers[0].label), crop))
    return made


def _row(row: PhotoRow, condition: Condition, mask: str) -> Row:
    return Row(
        source=row.source,
        subject=row.subject,
        spectrum=condition.spectrum,
        masked=condition.masked,
        split="validation",
        mask=mask if condition.masked else None,
        generator=GENERATOR if condition.spectrum is Spectrum.NIR else None,
        group=GROUPS.get(row.group),
    )


def people_again(store: Store, places: Sequence[int], bundle: Path) -> set[int]:
    """The photos, of these places in the cache, that show the person of an earlier one for the trunk.

    Most archives give photos no names, and what they took from the web shows some people several times. One
    such pair among 1,000 people of a group is 2e-6 of its pairs, so a few decide the thresholds from 1e-5 on.
    A few strangers are lost with them.
    """
    trunk, _ = import_bundle(bundle)
    rows = templates(trunk.eval(), np.stack([_crop(store, place) for place in places]))
    famous = [i for i, place in enumerate(places) if store.photos[place].of_set in FAMOUS]
    return {places[i] for i in same_people(rows, famous)}


def same_people(rows: NDArray[np.float32], famous: Sequence[int]) -> set[int]:
    """The places of unit templates [n, d] that are an earlier one's person; `famous`: those of `FAMOUS`."""
    of_famous = like_earlier(rows[np.array(famous, int)], SAME_OF_FAMOUS)
    return {*like_earlier(rows, SAME_PERSON), *(famous[i] for i in of_famous)}


def _crop(store: Store, place: int) -> Pixels:
    return crop_of(np.array(store.frames[place], np.uint8))


_OPEN: list[tuple[Store, Maker, int]] = []


def _open(cache: Path, tools: Tools, seed: int) -> None:
    _OPEN.append((Store(cache), Maker(tools, 1, seed), seed))


def _work(place: int) -> list[Made]:
    store, maker, seed = _OPEN[0]
    return views_of(np.array(store.frames[place]), store.photos[place], maker, seed=seed)


def build_threshold_set(
    cache: Path, out: Path, tools: Tools, *, people: int = 0, workers: int = 1, seed: int = 0
) -> PreparedSet:
    """Makes the set; the same whatever the number of workers. `people`: so many alone, 0 for all.

    Raises DataSetError.
    """
    store = Store(cache)
    chosen = list(kept_people(store.photos))
    chosen = chosen[:people] if people else chosen
    again = set(repeated(_crop(store, place) for place in chosen))
    chosen = [place for i, place in enumerate(chosen) if i not in again]
    known = people_again(store, chosen, tools.bundle)
    chosen = [place for place in chosen if place not in known]
    info = SetInfo(
        name="matcher-thresholds",
        alignment=ALIGNMENT,
        side_px=CROP_PX,
        made_by=f"python -m training matcher thresholds CACHE SET{f' --people {people}' if people else ''}",
        synthetic="NIR is pseudo-NIR made from visible light, masks are drawn: no real NIR, no real mask",
    )
    writer = SetWriter(out, info)
    with worker_pool(workers, _open, cache, tools, seed) as pool:
        done = in_order(pool, _work, chosen, at_once=AT_ONCE)
        for made in track(done, "people for thresholds", total=len(chosen)):
            writer.take(made)
    return writer.close()
