"""Tests stored pictures, and the labels of composed scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.detector.parts import COLOURS, dotted, empty, stored
from training.data.records import DataSetError
from training.detector.camera import CameraConfig, apply_camera
from training.detector.clutter import draw_clutter
from training.detector.pictures import SOURCES_IN_PART, Pictures, make_parts
from training.detector.placement import smear_border
from training.detector.sampler import HardNegative, PictureSampler
from training.detector.scenes import Composer, ScenesConfig

PLAIN = ScenesConfig(kinds={"photo": 0.5, "drawn": 0.5}, occluded=0.0, padded=0.0, clear=0.0)


def test_pictures_are_read_back_with_their_faces(tmp_path: Path) -> None:
    made = (dotted(), empty(), dotted(masked=True))
    pictures = stored(tmp_path, *made)
    assert len(pictures) == len(made)
    for i, one in enumerate(made):
        assert np.array_equal(pictures.pixels(i), one.pixels)
        assert pictures.entry(i).faces == one.faces
        assert pictures.entry(i).kind == one.kind


def test_existing_parts_are_not_made_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def source(number: int) -> list[object]:
        calls.append(number)
        return []

    count = SOURCES_IN_PART + 3
    sources = [lambda i=i: [dotted()] if not source(i) and i < 2 else [] for i in range(count)]
    make_parts(tmp_path, sources)
    assert calls == list(range(count))
    (tmp_path / "part-00001.jsonl").unlink()
    make_parts(tmp_path, sources)
    assert calls[count:] == list(range(SOURCES_IN_PART, count))
    assert len(Pictures(tmp_path)) == 2


def test_the_error_of_an_empty_folder_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="detector pictures"):
        Pictures(tmp_path)


def test_landmarks_are_on_their_dots_mirrored_or_not(tmp_path: Path) -> None:
    composer = Composer(stored(tmp_path), PLAIN, 256)
    seen, mirrored = 0, 0
    for number in range(30):
        scene = composer.scene(np.random.default_rng(number))
        faces = scene.faces
        for i in np.flatnonzero(faces.sure):
            size = float(np.sqrt(np.prod(faces.boxes[i, 2:] - faces.boxes[i, :2])))
            points = faces.landmarks[i]
            if size < 40 or points.min() < 2 or points.max() > 253:
                continue
            colours = [scene.pixels[round(y), round(x)].astype(int) for x, y in points]
            usual = [int(np.abs(c - w).max()) for c, w in zip(colours, COLOURS, strict=True)]
            # A mirrored face has the right eye's dot where its left eye is said to be.
            swapped = (COLOURS[1], COLOURS[0], COLOURS[2], COLOURS[4], COLOURS[3])
            other = [int(np.abs(c - w).max()) for c, w in zip(colours, swapped, strict=True)]
            assert min(max(usual), max(other)) < 90
            seen += 1
            mirrored += max(other) < max(usual)
    assert seen > 20
    assert 0 < mirrored < seen


def test_parts_beside_a_face_show_no_pixel_of_it(tmp_path: Path) -> None:
    composer = Composer(stored(tmp_path), PLAIN.model_copy(update={"clear": 1.0, "grids": (1.0,)}), 96)
    clear = 0
    for number in range(30):
        scene = composer.scene(np.random.default_rng(number))
        if not len(scene.faces):
            # The field of the test pictures, and nothing of the pale oval.
            assert (np.abs(scene.pixels.astype(int) - 60) <= 1).all()
            clear += 1
    assert clear > 5


def test_a_cut_off_or_small_face_is_not_sure(tmp_path: Path) -> None:
    composer = Composer(stored(tmp_path), PLAIN.model_copy(update={"smallest_px": 30.0}), 256)
    for number in range(20):
        faces = composer.scene(np.random.default_rng(number)).faces
        size = faces.boxes[:, 2:] - faces.boxes[:, :2]
        assert (size[faces.sure].min(axis=1) >= 30.0).all()


def test_a_seed_repeats_scene_and_camera(tmp_path: Path) -> None:
    composer = Composer(stored(tmp_path), ScenesConfig(), 128)
    one, other = (composer.scene(np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.faces.boxes, other.faces.boxes)
    shots = [apply_camera(one.pixels, CameraConfig(), np.random.default_rng(n)) for n in (1, 1, 2)]
    assert np.array_equal(shots[0], shots[1])
    assert not np.array_equal(shots[0], shots[2])


def test_roomy_pictures_are_drawn_with_the_configured_probability(tmp_path: Path) -> None:
    close = dotted().model_copy(update={"source": "close", "pixels": dotted().pixels[:160, 50:150]})
    pictures = stored(tmp_path, dotted(), *([close] * 9))
    for share, least, most in ((0.0, 5, 45), (1.0, 200, 200)):
        sampler = PictureSampler(pictures, {"photo": 1.0}, roomy=share, crowded=0.0, hard=(0.0, ()))
        rng = np.random.default_rng(0)
        drawn = [sampler.draw(rng)[0] for _ in range(200)]
        assert least <= drawn.count(0) <= most


def test_a_hard_negative_is_shown_with_the_labels_around_it(tmp_path: Path) -> None:
    made = dotted()
    made.pixels[10:30, 10:30] = (255, 0, 255)
    place = HardNegative(source=made.source, box=(10.0, 10.0, 20.0, 20.0), score=0.7)
    config = PLAIN.model_copy(update={"hard": 1.0, "grids": (1.0,)})
    composer = Composer(stored(tmp_path, made), config, 256, hard=(place,))
    seen = 0
    for number in range(10):
        scene = composer.scene(np.random.default_rng(number))
        assert (np.abs(scene.pixels.astype(int) - (255, 0, 255)).max(axis=2) < 40).any()
        seen += int(scene.faces.sure.any())
    assert seen


def test_hard_negatives_of_other_pictures_are_refused(tmp_path: Path) -> None:
    place = HardNegative(source="elsewhere", box=(0.0, 0.0, 9.0, 9.0), score=0.5)
    with pytest.raises(DataSetError, match="other pictures"):
        Composer(stored(tmp_path), PLAIN.model_copy(update={"hard": 0.5}), 96, hard=(place,))


def test_a_scene_with_a_doubtful_face_still_gives_background(tmp_path: Path) -> None:
    doubtful = dotted(sure=False).model_copy(update={"kind": "empty"})
    config = ScenesConfig(kinds={"empty": 1.0}, grids=(1.0,), padded=0.0)
    composer = Composer(stored(tmp_path, doubtful), config, 96)
    taught = 0
    for number in range(20):
        scene = composer.scene(np.random.default_rng(number))
        if not len(scene.faces):
            assert (np.abs(scene.pixels.astype(int) - 60) <= 1).all()
            taught += 1
    assert taught > 5


def test_clutter_is_drawn_where_no_face_is(tmp_path: Path) -> None:
    config = ScenesConfig(kinds={"empty": 1.0}, grids=(1.0,), padded=0.0, scribbled=1.0)
    composer = Composer(stored(tmp_path, empty()), config, 96)
    for number in range(20):
        scene = composer.scene(np.random.default_rng(number))
        assert not len(scene.faces)
        assert scene.pixels.std() > 1
    tiny = np.zeros((3, 2, 3), np.uint8)
    for number in range(50):
        draw_clutter(tiny, np.random.default_rng(number))


@pytest.mark.parametrize("seed", range(12))
def test_a_clipped_frame_loses_lights_or_shadows(seed: int) -> None:
    ramp = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (64, 1))[:, :, None], 3, axis=2)
    plain = CameraConfig(grey=0.0, dark=0.0, blurred=0.0, compressed=0.0)
    ends = [
        float(np.mean((seen <= 2) | (seen >= 253)))
        for config in (plain, plain.model_copy(update={"clipped": 1.0}))
        for seen in [apply_camera(ramp, config, np.random.default_rng(seed))]
    ]
    levels = len(
        np.unique(apply_camera(ramp, plain.model_copy(update={"clipped": 1.0}), np.random.default_rng(seed)))
    )
    assert ends[1] > 0.05 or levels < 200


@pytest.mark.parametrize("seed", range(6))
def test_a_smeared_border_fills_the_view_and_hides_what_is_sharp(seed: int) -> None:
    stripes = np.full((60, 60, 3), 128, np.uint8)
    stripes[6:54, 6:54:2], stripes[6:54, 7:54:2] = 255, 1
    view = np.zeros((96, 96, 3), np.uint8)
    middle = np.array([[1.0, 0.0, 18.0], [0.0, 1.0, 18.0]])
    smear_border(view, stripes, middle, np.random.default_rng(seed))
    assert view.min() > 60, "no corner stays black"
    assert np.abs(np.diff(view[48, 30:66].astype(int), axis=0)).max() < 60, "the stripes are gone"
