"""Rendered subjects in the cache: added without harm, shown as rendered, taught by visible photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.types import Spectrum
from tests.training.matcher.parts import add_rendered, small_cache, small_trunk
from training.data.records import DataSetError
from training.matcher.batches import Batches, People
from training.matcher.recipe import BatchRecipe
from training.matcher.sources import RENDERED, rendered_shots
from training.matcher.store import FRAMES, Store
from training.matcher.teacher import teach
from training.synthesis.rendered.family import tiny_family
from training.synthesis.rendered.model import load_model

BATCH = BatchRecipe(people=4, real=1, singles=2, clear=2, rendered=3)


def test_photos_are_added_behind_those_that_were_there(tmp_path: Path) -> None:
    before = small_cache(tmp_path)
    frames = np.array(before.frames)
    add_rendered(tmp_path)
    after = Store(tmp_path)
    assert after.facts.photos == before.facts.photos + 16
    assert after.photos[: len(before.photos)] == before.photos
    assert np.array_equal(after.frames[: len(frames)], frames)
    assert {row.of_set for row in after.photos[len(frames) :]} == {RENDERED}


def test_photos_added_halfway_are_refused_then_dropped(tmp_path: Path) -> None:
    before = small_cache(tmp_path)
    add_rendered(tmp_path, people=2, whole=False)
    with pytest.raises(DataSetError, match="halfway"):
        Store(tmp_path)
    add_rendered(tmp_path, people=3)
    assert Store(tmp_path).facts.photos == before.facts.photos + 12
    size = (tmp_path / FRAMES).stat().st_size
    assert size == Store(tmp_path).facts.photos * 144 * 144 * 3


def test_rendered_people_are_probes_only_where_the_recipe_asks(tmp_path: Path) -> None:
    old = People(small_cache(tmp_path))
    add_rendered(tmp_path)
    store = Store(tmp_path)
    people = People(store)
    assert len(people.rendered) == 4
    for before, after in ((old.several, people.several), (old.alone, people.alone), (old.real, people.real)):
        assert np.array_equal(before, after)
    shown = [store.photos[i] for i in _batch(store, BATCH)]
    drawn = [row for row in shown if row.of_set == RENDERED]
    assert len(drawn) == BATCH.rendered
    assert {row.spectrum for row in drawn} == {Spectrum.NIR}
    assert len({row.subject for row in drawn}) == BATCH.rendered
    without = BATCH.model_copy(update={"rendered": 0})
    assert all(store.photos[i].of_set != RENDERED for i in _batch(store, without))


def test_templates_follow_when_photos_are_added(tmp_path: Path) -> None:
    store = small_cache(tmp_path / "cache")
    net, _ = small_trunk(tmp_path)
    before = teach(store, net, tmp_path / "teacher", bf16=False)
    add_rendered(tmp_path / "cache")
    more = Store(tmp_path / "cache")
    after = teach(more, net, tmp_path / "teacher", bf16=False)
    np.testing.assert_array_equal(after[: len(before)], before)
    taught = np.abs(after[len(before) :]).sum(axis=1) > 0
    assert taught.tolist() == [row.spectrum is Spectrum.VIS for row in more.photos[len(before) :]]


@pytest.mark.realdata
def test_a_rendered_set_gives_its_pictures_with_landmarks(shared: Path, tmp_path: Path) -> None:
    model = load_model(shared / "data" / "ict_facekit")
    made = tiny_family(tmp_path, model, subjects=2, workers=1, show_progress=False)
    shots = list(rendered_shots(tmp_path))
    assert len(shots) == len(made.rows)
    assert {shot.spectrum for shot in shots} == {Spectrum.VIS, Spectrum.NIR}
    assert {shot.subject for shot in shots} == {f"{RENDERED}/{row.subject}" for row in made.rows}
    for shot in shots:
        assert shot.landmarks is not None
        assert np.all(np.array(shot.landmarks) < shot.pixels.shape[0])


def _batch(store: Store, recipe: BatchRecipe) -> list[int]:
    batches = Batches(store, recipe, columns=(8, 104), size=(32, 32), seed=3)
    return [int(photo) for photo in batches.batch(5).photo]
