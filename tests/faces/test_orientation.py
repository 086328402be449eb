"""Which way up a face is: the geometry of five landmarks, the way back, and real photos turned."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from faces.align import ALIGNMENTS, align
from faces.bundle import read
from faces.image import DecodeLimits, decode
from faces.orientation import best_turn, is_clearly_upright, judge, stance, turned, turned_back, uprightness
from faces.types import TURNS, Box, Face, Image, Point, Spectrum, Turn
from service.settings import builtin_bundle
from tests.conftest import sample_bytes
from training.networks.onnx_runner import BundleRunner

LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
TEMPLATE = ALIGNMENTS["arcface-112"].points
PHOTOS = 10


def seen(angle_deg: float, *, score: float = 0.97, stretch: float = 1.0, swap: bool = False) -> Face:
    """The template's face leaning clockwise in its picture, moved and enlarged."""
    spin = np.exp(1j * np.radians(angle_deg))
    points = [400 + 300j + 2.5 * complex((x - 56) * stretch, y - 72) * spin for x, y in TEMPLATE]
    if swap:
        points = [points[i] for i in (1, 0, 2, 4, 3)]
    a, b, nose, left, right = ((p.real, p.imag) for p in points)
    return Face(Box(250, 150, 300, 300), (a, b, nose, left, right), score)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("lean", [-30.0, -10.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize(("quarter", "wanted"), [(0, 0), (90, 270), (180, 180), (270, 90)])
def test_landmarks_show_the_turn_in_either_order_of_the_pairs(
    quarter: float, wanted: Turn, lean: float, swap: bool
) -> None:
    assert judge(seen(quarter + lean, swap=swap)) == wanted


@pytest.mark.parametrize("angle", [45.0, -45.0, 135.0, 225.0])
def test_a_lean_between_two_turns_belongs_to_neither(angle: float) -> None:
    assert judge(seen(angle)) is None


def test_landmarks_that_make_no_face_are_unsure() -> None:
    scattered: tuple[Point, Point, Point, Point, Point] = ((0, 0), (50, 90), (100, 0), (0, 100), (100, 100))
    one_point: tuple[Point, Point, Point, Point, Point] = ((5, 5),) * 5
    for points in (scattered, one_point):
        face = Face(Box(0, 0, 100, 100), points, 0.99)
        assert judge(face) is None
        assert uprightness(face) == 0.0
        assert not is_clearly_upright(face)


def test_a_stance_measures_lean_and_misfit() -> None:
    leaning = stance(seen(12.0).landmarks)
    assert leaning.turn == 0
    assert leaning.misfit == pytest.approx(0.0, abs=1e-6)
    assert leaning.lean_deg == pytest.approx(-12.0, abs=1e-6)
    assert 0.1 < stance(seen(0.0, stretch=0.6).landmarks).misfit < 0.3


def test_clearly_upright_needs_the_score_and_the_landmarks() -> None:
    assert is_clearly_upright(seen(5.0))
    assert not is_clearly_upright(seen(5.0, score=0.8))
    assert not is_clearly_upright(seen(180.0))


def test_the_best_turn_leads_or_is_unsure() -> None:
    assert best_turn({0: seen(0, score=0.8), 180: seen(0, score=0.95)}) == (180, True)
    assert best_turn({0: seen(0, score=0.80), 90: seen(0, score=0.81)}) == (90, False)
    assert best_turn({0: seen(0, score=0.950), 180: seen(0, score=0.945)}) == (0, True)
    assert best_turn({0: seen(0, score=0.950), 180: seen(0, score=0.950)})[1] is False
    assert best_turn({0: seen(0, score=0.893), 180: seen(0, score=0.897)}) == (0, True), "photos come upright"
    assert best_turn({270: seen(0, score=0.6)}) == (270, True)
    assert best_turn({0: seen(180)}) == (0, False)
    with pytest.raises(ValueError, match="no face"):
        best_turn({})


@pytest.mark.parametrize("turn", TURNS)
def test_the_way_back_finds_the_same_pixels(turn: Turn) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8)
    given = Image(pixels, Spectrum.VIS)
    other = turned(given, turn)
    assert (other.width, other.height) == ((80, 60) if turn % 180 == 0 else (60, 80))
    spot = (12, 7)
    face = Face(Box(*spot, 20, 10), ((12.5, 7.5), (30, 9), (20, 20), (14, 30), (26, 31)), 0.9, 0.1)
    back = turned_back(face, turn, width=80, height=60)
    x, y = back.landmarks[0]
    assert np.array_equal(given.pixels[int(y), int(x)], other.pixels[spot[1], spot[0]])
    assert (back.box.width, back.box.height) == ((20, 10) if turn % 180 == 0 else (10, 20))
    assert (back.rotation, back.score, back.masked) == (turn, 0.9, 0.1)
    assert 0 <= back.box.x < 80
    assert 0 <= back.box.y < 60


@pytest.mark.parametrize("turn", TURNS)
def test_a_face_led_back_is_aligned_upright(turn: Turn) -> None:
    upright = decode(sample_bytes("s01"), limits=LIMITS)
    (face, *_) = BundleRunner(read(builtin_bundle())).faces(upright)
    # The photo as somebody sends it: turned the other way, so that `turn` makes it upright again.
    given = turned(upright, TURNS[-turn // 90 % 4])
    back = turned_back(face, turn, width=given.width, height=given.height)
    straight, led = (align(*pair, "arcface-112").pixels for pair in ((upright, face), (given, back)))
    # Half a pixel lies between the corners and the middles of pixels.
    assert np.abs(straight.astype(int) - led).mean() < 4


@pytest.mark.slow
@pytest.mark.realdata
def test_real_photos_are_turned_the_right_way(shared: Path) -> None:
    runner, wrong = BundleRunner(read(builtin_bundle())), []
    with tarfile.open(shared / "data" / "lfw.tar") as photos:
        names = [member for member in photos if member.isfile()][:: 13_000 // PHOTOS][:PHOTOS]
        contents = [file.read() for name in names if (file := photos.extractfile(name))]
    for number, data in enumerate(contents):
        upright = decode(data, limits=LIMITS)
        faces = {turn: found[0] for turn in TURNS if (found := runner.faces(turned(upright, turn)))}
        for given in TURNS:
            seen_there = {turn: faces[t] for turn in TURNS if (t := TURNS[(turn + given) // 90 % 4]) in faces}
            if given == 0 and is_clearly_upright(faces[0]):
                continue
            if best_turn(seen_there)[0] != -given % 360:
                wrong.append((number, given))
    assert not wrong, "photo and the turn it was given"
