"""Mask state by exposure, on rendered frames of the samples: what is found, wrong and uncertain."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.exposure import STEPS, Frames, count, measure
from faces.bundle import Bundle, read
from faces.types import Image, Spectrum
from service.settings import builtin_bundle
from tests.conftest import SAMPLES
from training.networks.onnx_runner import DetectorRunner


def frame(name: str) -> Image:
    pixels = cv2.imread(str(SAMPLES / name), cv2.IMREAD_COLOR)
    assert pixels is not None
    return Image(np.asarray(pixels, np.uint8), Spectrum.NIR)


MASKED = tuple(frame(f"s{i:02}/nir_masked_1.jpg") for i in (1, 2, 3))


def test_steps_clip_as_a_camera_does() -> None:
    levels = np.array([0, 60, 200, 255], np.uint8)
    assert STEPS["+ 100"](levels).tolist() == [100, 160, 255, 255]
    assert STEPS["x 1.5"](levels).tolist() == [0, 90, 255, 255]
    assert STEPS["x .1"](levels).tolist() == [0, 6, 20, 26]
    assert STEPS["as is"](levels) is levels


def test_masked_frames_that_are_said_to_be_bare_are_all_wrong() -> None:
    bundle = read(builtin_bundle())
    spec = bundle.manifest.detector
    runner = DetectorRunner(bundle.path(spec.file), spec)
    right, false = (count(runner, bundle, MASKED, masked=masked) for masked in (True, False))
    assert (right.frames, right.found, right.false_before, right.wrong) == (3, 3, 0, 0)
    assert (false.found, false.false_before, false.uncertain) == (3, 3, right.uncertain)
    assert false.wrong == 3 - false.uncertain
    # A band that holds every probability leaves nothing certain, so nothing wrong.
    mask = bundle.manifest.mask.model_copy(update={"uncertain": (0.0, 1.0)})
    unsure = replace(bundle, manifest=bundle.manifest.model_copy(update={"mask": mask}))
    never = count(runner, unsure, MASKED, masked=False)
    assert (never.false_before, never.wrong, never.uncertain) == (3, 0, 3)


@pytest.mark.slow
def test_every_step_has_a_row_with_the_states_of_both_kinds() -> None:
    bundle: Bundle = read(builtin_bundle())
    bare = tuple(frame(f"s{i:02}/vis_1.jpg") for i in (1, 2, 3))
    found = measure(bundle, [Frames("rendered", bare, MASKED)])
    assert [one.step for one in found.steps] == list(STEPS)
    assert found.table().count("| rendered |") == len(STEPS)
    first = found.steps[0]
    assert (first.bare.found, first.bare.wrong, first.masked.wrong) == (3, 0, 0)
