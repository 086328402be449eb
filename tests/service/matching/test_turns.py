"""The other turns of a picture cost one pass each, where doubtful detections can change nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from faces.bundle import read
from faces.detect import letterbox, turned_canvas
from faces.orientation import turned
from faces.types import TURNS, Image, Spectrum, Turn
from service.inference.engine import Engine
from service.settings import builtin_bundle
from tests.service.inference.faces import load, pixels
from tests.service.inference.test_second_look import EVERY, made

NAMES = ("vis_1.jpg", "vis_2.jpg", "nir_masked_1.jpg", "nir_masked_2.jpg")
SUBJECTS = ("s03", "s05", "s08", "s10")


@pytest.mark.parametrize("size", [(40, 40), (40, 25), (25, 40), (100, 100), (90, 120)])
@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_canvas_is_the_canvas_of_the_turned_picture(size: tuple[int, int], turn: Turn) -> None:
    width, height = size
    # Smooth, so that shrinking before and after a turn differs by rounding alone.
    rows, columns = np.mgrid[0:height, 0:width]
    shades = np.stack([40 + rows, 200 - columns, 90 + (rows + columns) // 2], axis=2).astype(np.uint8)
    image = Image(shades, Spectrum.VIS)
    canvas, placement = letterbox(image, canvas_px=(32, 64))
    expected, same = letterbox(turned(image, turn), canvas_px=(32, 64))
    found = turned_canvas(canvas, placement, turn, image_size=size)
    assert same == placement
    assert np.abs(found.astype(int) - expected).max() <= (0 if max(size) <= 64 else 2)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    made = load(builtin_bundle())
    made.start()
    yield made
    await made.close()


async def test_the_clear_faces_of_a_turn_are_those_of_the_turned_picture(engine: Engine) -> None:
    detector, seen = engine.detector, 0
    clear = detector.clear_score
    assert clear is not None
    for image in (Image(pixels(who, name), Spectrum.VIS) for who in SUBJECTS for name in NAMES):
        others = await detector.clear_in_turns(detector.prepare(image), TURNS)
        for turn, faces in others.items():
            whole = (await detector.detect(turned(image, turn), looks=(1.0,))).faces
            assert list(faces) == [face for face in whole if face.score >= clear]
            seen += len(faces)
    assert seen >= len(SUBJECTS) * len(NAMES), "every picture shows a clear face in one turn at least"


async def test_no_score_is_beyond_a_second_look_without_a_verifier() -> None:
    bundle = read(builtin_bundle())
    assert made(bundle, EVERY).clear_score is None
    assert made(bundle, None).clear_score == bundle.manifest.detector.score_threshold
