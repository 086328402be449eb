"""People for thresholds: those kept out of training, none of them generated, each with its group."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.training.matcher.parts import layer, normals, painted, small_cache
from training.matcher.frames import CROP_PX
from training.matcher.same_photos import repeated
from training.matcher.store import MaskRow
from training.matcher.threshold_set import GENERATED, GROUPS, OnePhoto, kept_people, same_people
from training.matcher.views import ViewMaker, Wanted


def test_only_people_kept_out_of_training_give_thresholds(tmp_path: Path) -> None:
    store = small_cache(tmp_path / "cache")
    (place,) = kept_people(store.photos)
    kept = store.photos[place]
    assert kept.part == "thresholds"
    made_up = kept.model_copy(update={"of_set": next(iter(GENERATED))})
    assert list(kept_people([made_up, kept])) == [1]


def test_labels_of_several_archives_name_one_group() -> None:
    assert GROUPS["East Asian"] == GROUPS["East Asian mostly"] == GROUPS["asian"] == "East Asian"
    assert GROUPS["South Asian"] == GROUPS["indian"] == "South Asian"
    assert GROUPS.get("mixed London") is None


def test_a_photo_is_dressed_without_a_cache_and_twice_the_same(tmp_path: Path) -> None:
    row = small_cache(tmp_path / "cache").photos[0]
    worn = layer()
    one = OnePhoto(
        painted(0, 0)[None],
        normals()[None],
        worn.through[None],
        worn.cloth[None],
        (row,),
        (MaskRow(photo=0, kind=worn.kind, label=worn.label),),
    )
    bare, masked = (
        ViewMaker(one).view(Wanted(0, mask, nir=False), np.random.default_rng(1), extent=0.0)
        for mask in (None, 0)
    )
    again = ViewMaker(one).view(Wanted(0, 0, nir=False), np.random.default_rng(1), extent=0.0)
    assert masked.shape == (CROP_PX, CROP_PX, 3)
    assert np.array_equal(masked, again)
    # The mask is on the lower half; the tone of the whole is drawn as well.
    changed = np.abs(bare.astype(int) - masked).mean(axis=2)
    assert changed[75:110, 20:92].mean() > 2 * changed[:60].mean() + 5


def test_a_photograph_under_a_second_name_is_found_whatever_its_colours_and_size() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (12, CROP_PX, CROP_PX, 1)).repeat(3, axis=3)
    photos = [
        np.clip(128 + 400 * cv2.GaussianBlur(each, (0, 0), 3), 0, 255).astype(np.uint8) for each in noise
    ]
    copy = photos[4].astype(np.float32) * [0.7, 1.1, 0.9] + 12
    small = cv2.resize(np.clip(copy, 0, 255).astype(np.uint8), (90, 90), interpolation=cv2.INTER_AREA)
    again = cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR)
    assert repeated([*photos, again]) == [12]


def test_whoever_looks_like_an_earlier_one_is_left_out_and_among_celebrities_sooner() -> None:
    def at(cosine: float, axis: int) -> list[float]:
        row = [cosine, *[0.0] * 5]
        row[axis] = (1 - cosine**2) ** 0.5
        return row

    # All but the first are compared with it; two of them are celebrities, as it is.
    rows = np.array([at(1.0, 1), at(0.65, 1), at(0.67, 2), at(0.63, 3), at(0.61, 4)], np.float32)
    assert same_people(rows, []) == {2}
    assert same_people(rows, [0, 3, 4]) == {2, 3}
