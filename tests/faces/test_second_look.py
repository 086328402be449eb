"""The second look at doubtful detections: which get one, what it shows, and what it does to the score."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from faces.bundle import DetectorSpec, LookWindow, SecondLook, read
from faces.second_look import MOST, doubtful, rescored, score_in, window_canvas
from faces.types import Box, Face, Image, Spectrum
from service.settings import builtin_bundle

LOOK = SecondLook(
    least=0.4, below=0.75, windows=(LookWindow(times=4.0), LookWindow(times=6.0, mirrored=True))
)
SIDE = 320


def face(score: float, box: Box | None = None) -> Face:
    marks = ((1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (1.0, 3.0), (3.0, 3.0))
    return Face(box or Box(0, 0, 10, 10), marks, score)


def picture(*, held: int = 1) -> Image:
    """A grey field of 200 x 160 px with a white box of 20 x 20 px at (100, 60); `held`: its reduction."""
    pixels = np.full((160 // held, 200 // held, 3), 120, np.uint8)
    pixels[60 // held : 80 // held, 100 // held : 120 // held] = 255
    pixels[:, : 100 // held, 0] = 40
    return Image(pixels, Spectrum.VIS, None if held == 1 else (200, 160))


def test_only_doubtful_detections_are_seen_again_and_never_a_crowd() -> None:
    plain = read(builtin_bundle()).manifest.detector.model_copy(
        update={"second_look": None, "verifier": None}
    )
    looking = plain.model_copy(update={"second_look": LOOK})
    seen = [face(0.39), face(0.4), face(0.74), face(0.75), face(0.9)]
    assert doubtful(seen, looking) == [2, 1]
    assert doubtful(seen, plain) == []
    crowd = [face(0.6, Box(0, 0, 10 + i, 10)) for i in range(50)]
    assert doubtful(crowd, looking) == list(range(49, 49 - MOST, -1))


@pytest.mark.parametrize("held", [1, 2])
def test_a_window_shows_the_box_in_its_middle_at_the_size_that_it_says(held: int) -> None:
    canvas = window_canvas(picture(held=held), Box(100, 60, 20, 20), LookWindow(times=4.0), side_px=SIDE)
    rows, columns = np.nonzero(canvas[:, :, 1] > 200)
    # 320 px for 80: the box of 20 px is shown at 80, from 120 on.
    for marks in (rows, columns):
        assert marks.min() == pytest.approx(120, abs=4)
        assert marks.max() == pytest.approx(199, abs=4)
    assert canvas[10, 10].tolist() == [40, 120, 120]
    assert canvas[10, -10].tolist() == [120, 120, 120]


def test_a_mirrored_window_is_the_other_way_round() -> None:
    image, box = picture(), Box(100, 60, 20, 20)
    plain = window_canvas(image, box, LookWindow(times=4.0), side_px=SIDE)
    mirrored = window_canvas(image, box, LookWindow(times=4.0, mirrored=True), side_px=SIDE)
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert mirrored.flags.c_contiguous


def test_a_window_is_black_where_it_leaves_the_picture() -> None:
    canvas = window_canvas(picture(), Box(-10, -10, 40, 40), LookWindow(times=4.0), side_px=SIDE)
    # The window of 160 px begins at (-70, -70): the picture fills it from 140 px on.
    assert not canvas[:138].any()
    assert not canvas[:, :138].any()
    assert canvas[142:, 142:].all()
    outside = window_canvas(picture(), Box(900, 900, 5, 5), LookWindow(times=2.0), side_px=SIDE)
    assert not outside.any()


def test_the_score_in_a_window_is_that_of_the_detection_in_its_middle() -> None:
    box, window = Box(50, 50, 20, 10), LookWindow(times=4.0)
    # Shown at 4 px for each: 80 x 40 in the middle of 320.
    again = face(0.7, Box(122, 142, 78, 42))
    beside = face(0.9, Box(10, 10, 80, 40))
    assert score_in([beside, again], box, window, side_px=SIDE) == 0.7
    assert score_in([beside], box, window, side_px=SIDE) == 0.0
    assert score_in([], box, window, side_px=SIDE) == 0.0


def test_a_face_that_is_not_seen_again_falls_below_the_threshold() -> None:
    spec: DetectorSpec = read(builtin_bundle()).manifest.detector
    assert spec.calibration is not None
    lost, kept = rescored(face(0.74), [0.0, 0.0], spec), rescored(face(0.5), [0.6, 0.7], spec)
    assert lost.score == pytest.approx(0.74 / 3)
    assert lost.score < spec.score_threshold
    assert kept.score == pytest.approx(0.6)
    assert kept.probability == pytest.approx(spec.calibration.probability(0.6))
    plain = spec.model_copy(update={"calibration": None})
    assert rescored(face(0.5), [0.6, 0.7], plain).probability is None


def test_a_window_has_a_canvas_of_its_own_or_the_smallest_of_the_detector() -> None:
    small = LookWindow(times=2.0, side_px=160)
    look = LOOK.model_copy(update={"windows": (LookWindow(times=4.0), small)})
    spec = read(builtin_bundle()).manifest.detector.model_copy(update={"second_look": look, "verifier": None})
    assert [spec.look_px(window) for window in look.windows] == [320, 160]
    assert spec.sides_px == (160, 320, 640)
    assert spec.model_copy(update={"second_look": None}).sides_px == (320, 640)
    with pytest.raises(ValidationError, match="multiple of 32"):
        LookWindow(times=2.0, side_px=100)


def test_a_second_look_of_no_scores_or_no_window_is_refused() -> None:
    with pytest.raises(ValidationError, match="larger `below`"):
        SecondLook(least=0.7, below=0.5, windows=LOOK.windows)
    with pytest.raises(ValidationError, match="windows"):
        SecondLook(least=0.4, below=0.7, windows=())
