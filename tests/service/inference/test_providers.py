"""Tests the options and engine folders of TensorRT, and the errors without it."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import onnxruntime as ort
import pytest

from faces.bundle import read
from service.inference.engine import Engine
from service.inference.session import OnnxSession, ProviderError
from service.inference.tensorrt import (
    DRIVER_LIBRARY,
    LIBRARY,
    TENSORRT,
    Accelerator,
    Shapes,
    TensorRtOptions,
    engine_folder,
    find_accelerator,
    provider_options,
)
from tests.service.inference.faces import OPTIONS

CPU = "CPUExecutionProvider"
H100 = Accelerator("NVIDIA H100 80GB HBM3", "580.95.05", "10.16.1")
SHAPES = Shapes(smallest_px=(320, 320), largest_px=(640, 640), max_batch=8)
HERE = TensorRtOptions(engine_cache=Path("engines"))
DIGEST = "ab" * 32


def has(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


without_tensorrt = pytest.mark.skipif(
    TENSORRT in ort.get_available_providers(), reason="this ONNX Runtime may well load TensorRT"
)


@without_tensorrt
def test_tensorrt_on_a_cpu_build_is_an_error_with_a_remedy(bundle_dir: Path) -> None:
    options = replace(OPTIONS, providers=(TENSORRT, CPU), tensorrt=HERE)
    with pytest.raises(ProviderError, match=f"{TENSORRT} is not part of this ONNX Runtime") as refused:
        Engine.load(read(bundle_dir), options)
    assert "HALFLIGHT_PROVIDERS" in str(refused.value)
    assert not HERE.engine_cache.exists(), "nothing was made for engines that cannot be built"


@without_tensorrt
def test_an_allowed_fallback_runs_on_the_cpu_and_reports_it(bundle_dir: Path) -> None:
    options = replace(OPTIONS, providers=(TENSORRT,), tensorrt=HERE, allow_fallback=True)
    assert Engine.load(read(bundle_dir), options).provider == CPU


def test_one_of_several_providers_that_does_not_load_is_an_error(bundle_dir: Path) -> None:
    """The first provider runs, so a check of the first alone would miss the second."""
    missing = next(name for name in ort.get_all_providers() if name not in ort.get_available_providers())
    bundle = read(bundle_dir)
    with pytest.raises(ProviderError, match=missing):
        OnnxSession(bundle.path(bundle.manifest.detector.file), providers=[CPU, missing])


def test_a_machine_without_tensorrt_or_driver_names_the_missing_library() -> None:
    if has(LIBRARY) and has(DRIVER_LIBRARY):
        found = find_accelerator()
        assert found.gpu
        assert found.tensorrt.startswith("10.")
        return
    with pytest.raises(ProviderError, match="is not here; install") as refused:
        find_accelerator()
    assert (LIBRARY if not has(LIBRARY) else DRIVER_LIBRARY) in str(refused.value)


def test_engines_of_another_machine_network_precision_or_shape_have_another_folder() -> None:
    folders = {
        engine_folder(H100, DIGEST, HERE, SHAPES),
        engine_folder(replace(H100, gpu="NVIDIA L4"), DIGEST, HERE, SHAPES),
        engine_folder(replace(H100, driver="570.1"), DIGEST, HERE, SHAPES),
        engine_folder(replace(H100, tensorrt="10.17.0"), DIGEST, HERE, SHAPES),
        engine_folder(H100, "cd" * 32, HERE, SHAPES),
        engine_folder(H100, DIGEST, replace(HERE, fp16=True), SHAPES),
        engine_folder(H100, DIGEST, HERE, replace(SHAPES, max_batch=16)),
        engine_folder(H100, DIGEST, HERE, replace(SHAPES, smallest_px=(64, 64))),
    }
    assert len(folders) == 8
    again = engine_folder(H100, DIGEST, HERE, SHAPES)
    assert again in folders
    assert again.is_relative_to("engines")
    assert " " not in str(again)


def test_the_name_of_a_gpu_cannot_lead_out_of_the_engine_cache() -> None:
    strange = engine_folder(replace(H100, gpu="../../etc"), DIGEST, HERE, SHAPES)
    assert len(strange.relative_to("engines").parts) == 2


@pytest.mark.parametrize("fp16", [False, True])
def test_the_options_name_the_cache_the_precision_and_a_profile_for_every_batch(fp16: bool) -> None:
    said = provider_options(Path("engines/x"), "image", replace(HERE, fp16=fp16), SHAPES)
    assert said["trt_engine_cache_enable"] == "True"
    assert said["trt_engine_cache_path"] == "engines/x"
    assert said["trt_fp16_enable"] == str(fp16)
    assert said["trt_profile_min_shapes"] == "image:1x3x320x320"
    assert said["trt_profile_opt_shapes"] == said["trt_profile_max_shapes"] == "image:8x3x640x640"


@pytest.mark.parametrize(
    ("smallest", "largest", "rows"),
    [((320, 320), (640, 640), 0), ((640, 700), (640, 640), 8), ((320, 320), (640, 100), 8)],
)
def test_shapes_in_the_wrong_order_are_refused(
    smallest: tuple[int, int], largest: tuple[int, int], rows: int
) -> None:
    with pytest.raises(ValueError, match="from small to large"):
        Shapes(smallest_px=smallest, largest_px=largest, max_batch=rows)
