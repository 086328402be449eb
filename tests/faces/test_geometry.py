"""Tests alignment, letterbox, decoding of the detector and preprocessing at known positions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faces import bundle
from faces.align import ALIGNMENTS, AlignError, align, similarity
from faces.detect import CELL_VALUES, STRIDES, Placement, decode_centres, decode_yunet, letterbox
from faces.image import DecodeLimits, decode
from faces.preprocess import encoder_input, mask_input, mask_probability, to_network, unit_rows
from faces.types import Box, Face, Image, Point, Spectrum
from service.inference.engine import Engine, EngineOptions
from tests.conftest import sample_bytes

ARC = ALIGNMENTS["arcface-112"]
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)


def face_at(points: list[Point]) -> Face:
    a, b, c, d, e = points
    return Face(Box(0, 0, 10, 10), (a, b, c, d, e), 0.9)


@given(
    angle=st.floats(-math.pi, math.pi),
    scale=st.floats(0.1, 10),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
)
def test_any_similarity_is_recovered_from_its_landmarks(
    angle: float, scale: float, x: float, y: float
) -> None:
    turn = scale * complex(math.cos(angle), math.sin(angle))
    moved = [complex(*point) * turn + complex(x, y) for point in ARC.points]
    matrix = similarity([(p.real, p.imag) for p in moved], ARC)
    back = np.array([[p.real, p.imag] for p in moved]) @ matrix[:, :2].T + matrix[:, 2]
    assert np.allclose(back, np.array(ARC.points), atol=1e-6)


def test_a_face_on_the_template_is_cropped_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    crop = align(Image(pixels.copy(), Spectrum.NIR), face_at(list(ARC.points)), "arcface-112")
    assert np.array_equal(crop.pixels, pixels)
    assert (crop.alignment_id, crop.spectrum) == ("arcface-112", Spectrum.NIR)
    assert crop.inter_eye_px == pytest.approx(35.24, abs=0.01)


def test_the_large_template_is_the_small_one_scaled() -> None:
    large = ALIGNMENTS["arcface-144"]
    assert large.side_px == 144
    assert np.allclose(np.array(large.points), np.array(ARC.points) * 144 / 112)
    image = Image(np.zeros((200, 200, 3), np.uint8), Spectrum.VIS)
    assert align(image, face_at(list(ARC.points)), "arcface-144").pixels.shape == (144, 144, 3)


@pytest.mark.parametrize(
    "points", [[(5.0, 5.0)] * 5, [(0.0, 0.0), (3.0, 0.0), (1.5, 2.0), (0.5, 3.0), (2.5, 3.0)]]
)
def test_coinciding_landmarks_are_refused(points: list[Point]) -> None:
    with pytest.raises(AlignError):
        align(Image(np.zeros((50, 50, 3), np.uint8), Spectrum.VIS), face_at(points), "arcface-112")


def test_a_picture_is_at_the_top_left_of_the_smallest_canvas_that_holds_it() -> None:
    image = Image(np.full((200, 300, 3), 9, np.uint8), Spectrum.VIS)
    canvas, placement = letterbox(image, canvas_px=(320, 640))
    assert placement == Placement(scale=1.0, canvas_px=320)
    assert (canvas[:200, :300] == 9).all()
    assert canvas.sum() == 9 * 200 * 300 * 3
    wide = Image(np.full((500, 1280, 3), 9, np.uint8), Spectrum.VIS)
    canvas, placement = letterbox(wide, canvas_px=(320, 640))
    assert placement == Placement(scale=0.5, canvas_px=640)
    assert (canvas[:250, :640] == 9).all()
    assert not canvas[250:].any()


def test_a_zoom_above_1_enlarges_and_below_1_shrinks() -> None:
    image = Image(np.full((200, 300, 3), 9, np.uint8), Spectrum.VIS)
    assert letterbox(image, canvas_px=(320, 640), zoom=2.0)[1] == Placement(scale=2.0, canvas_px=640)
    assert letterbox(image, canvas_px=(320, 640), zoom=0.5)[1].scale == 0.5


def outputs(canvas_px: int) -> dict[str, np.ndarray]:
    """A detector that saw nothing."""
    made = {}
    for stride in STRIDES:
        cells = (canvas_px // stride) ** 2
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            made[f"{name}_{stride}"] = np.zeros((cells, width), np.float32)
    return made


def put(out: dict[str, np.ndarray], canvas_px: int, column: int, row: int, score: float) -> None:
    """A face in one cell of stride 16: centre half a cell in, 32 x 48 px, landmarks 1 to 5 px right."""
    cell = row * (canvas_px // 16) + column
    out["cls_16"][cell] = out["obj_16"][cell] = score
    out["bbox_16"][cell] = (0.5, 0.5, math.log(2), math.log(3))
    out["kps_16"][cell] = [v for i in range(1, 6) for v in (i / 16, 0.5)]


def test_a_detection_is_returned_in_pixels_of_the_image() -> None:
    out = outputs(320)
    put(out, 320, 5, 4, 0.81)
    (face,) = decode_yunet(
        out, Placement(scale=0.5, canvas_px=320), image_size=(600, 600), score_threshold=0.6, nms_iou=0.3
    )
    centre = (2 * (5 * 16 + 8), 2 * (4 * 16 + 8))
    assert np.allclose((face.box.width, face.box.height), (64, 96))
    assert face.box.x + face.box.width / 2 == pytest.approx(centre[0])
    assert face.box.y + face.box.height / 2 == pytest.approx(centre[1])
    assert np.allclose(face.landmarks[0], (2 * 81, 2 * 72))
    assert np.allclose(face.landmarks[4], (2 * 85, 2 * 72))
    assert face.score == pytest.approx(0.81)


def test_overlapping_weak_and_outside_detections_are_dropped() -> None:
    out = outputs(320)
    put(out, 320, 5, 4, 0.9)
    put(out, 320, 6, 4, 0.8)
    put(out, 320, 12, 12, 0.5)
    put(out, 320, 19, 19, 0.9)
    faces = decode_yunet(
        out, Placement(scale=1.0, canvas_px=320), image_size=(250, 250), score_threshold=0.6, nms_iou=0.3
    )
    assert [round(face.score, 2) for face in faces] == [0.9]
    assert faces[0].box.x < 100


def test_our_own_detector_returns_the_mask_probability() -> None:
    out = {f"faces_{s}": np.zeros((CELL_VALUES, 320 // s, 320 // s), np.float32) for s in STRIDES}
    landmarks = [v for i in range(1, 6) for v in (i / 32, -0.25)]
    out["faces_32"][:, 4, 5] = [0.9, 0.8, 0.25, 0.0, 2.0, 3.0, *landmarks]
    out["faces_16"][:, 8, 10] = [0.7, 0.1, 0.0, 0.0, 4.0, 6.0, *[0.0] * 10]
    out["faces_8"][:, 1, 1] = [0.4, 0.1, 0.0, 0.0, 2.0, 2.0, *[0.0] * 10]
    (face,) = decode_centres(
        out, Placement(scale=0.5, canvas_px=320), image_size=(640, 640), score_threshold=0.5, nms_iou=0.4
    )
    assert face.masked == pytest.approx(0.8)
    assert np.allclose((face.box.width, face.box.height), (2 * 64, 2 * 96))
    assert face.box.x + face.box.width / 2 == pytest.approx(2 * (5 * 32 + 16 + 8))
    assert face.box.y + face.box.height / 2 == pytest.approx(2 * (4 * 32 + 16))
    assert np.allclose(face.landmarks[4], (2 * (5 * 32 + 16 + 5), 2 * (4 * 32 + 16 - 8)))


def test_the_real_detector_finds_eyes_nose_and_mouth_where_they_are(bundle_dir: Path) -> None:
    options = EngineOptions(
        providers=("CPUExecutionProvider",),
        allow_fallback=False,
        intra_op_threads=1,
        max_batch=1,
        max_queue=1,
    )
    detector = Engine.load(bundle.read(bundle_dir), options).detector
    image = decode(sample_bytes("s01"), limits=LIMITS)
    (found,) = detector.run([detector.prepare(image)])
    left_eye, right_eye, nose, left_mouth, right_mouth = found.faces[0].landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_network_values_follow_the_manifest() -> None:
    pixels = np.array([[[10, 20, 30]]], np.uint8)
    plain = bundle.Normalisation(order="bgr", mean=(0, 0, 0), std=(1, 1, 1))
    assert to_network(pixels, plain).ravel().tolist() == [10, 20, 30]
    scaled = bundle.Normalisation(order="rgb", mean=(10, 10, 10), std=(2, 4, 5))
    assert np.allclose(to_network(pixels, scaled).ravel(), [10, 2.5, 0])


def test_the_encoder_gets_the_columns_and_size_of_its_manifest(bundle_dir: Path) -> None:
    spec = bundle.read(bundle_dir).manifest.encoder
    image = Image(np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8), Spectrum.VIS)
    crop = align(image, face_at(list(ARC.points)), "arcface-112")
    values = encoder_input(crop, spec.model_copy(update={"columns": (8, 104), "input_px": (112, 96)}))
    assert np.array_equal(values, crop.pixels[:, 8:104].transpose(2, 0, 1).astype(np.float32))
    with pytest.raises(ValueError, match="arcface-144"):
        encoder_input(crop, spec.model_copy(update={"alignment": "arcface-144"}))


def test_the_mask_classifier_gets_the_padded_box_with_its_border_replicated(bundle_dir: Path) -> None:
    given = bundle.read(bundle_dir).manifest.mask
    assert isinstance(given, bundle.MaskSpec)
    spec = given.model_copy(update={"padding": 1.0, "input_px": 40})
    plain = bundle.Normalisation(order="bgr", mean=(0, 0, 0), std=(1, 1, 1))
    spec = spec.model_copy(update={"normalisation": plain})
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    values = mask_input(Image(pixels, Spectrum.VIS), Box(20, 20, 20, 20), spec)
    assert values.shape == (3, 40, 40)
    assert values[0, 20, 11:29].min() == 200, "the box fills the middle half"
    assert values[0, 20, :9].max() == 0
    edge = mask_input(Image(np.full((60, 60, 3), 70, np.uint8), Spectrum.VIS), Box(-5, -5, 20, 20), spec)
    assert (edge == 70).all()


def test_the_mask_probability_compares_the_best_anchors(bundle_dir: Path) -> None:
    spec = bundle.read(bundle_dir).manifest.mask
    assert isinstance(spec, bundle.MaskSpec)
    scores = np.zeros((3, 2), np.float32)
    scores[1, spec.masked_class], scores[2, 1 - spec.masked_class] = 0.6, 0.2
    assert mask_probability(scores, spec) == pytest.approx(0.75)
    assert mask_probability(np.zeros((3, 2), np.float32), spec) == 0.0


def test_rows_get_unit_norm_and_a_zero_row_is_refused() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    assert np.allclose(np.linalg.norm(unit_rows(rows), axis=1), 1, atol=1e-6)
    for bad in (0.0, np.nan, np.inf):
        rows[2] = bad
        with pytest.raises(ValueError, match="zero or not finite"):
            unit_rows(rows)
