"""Configures TensorRT: input shapes, precision, and the cache of engines built for this machine."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

TENSORRT = "TensorrtExecutionProvider"
# The major version that ONNX Runtime 1.31 links; the driver's library has one name for all.
LIBRARY, DRIVER_LIBRARY = "libnvinfer.so.10", "libnvidia-ml.so.1"
NAME_BYTES = 96
DIGEST_CHARS = 16


class ProviderError(RuntimeError):
    """A requested execution provider did not load. The text says which would run instead and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRtOptions:
    """`engine_cache`: folder of built engines. `fp16`: allow half precision if TensorRT finds it faster."""

    engine_cache: Path
    fp16: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Range of inputs [1 to `max_batch`, 3, height, width] of a network, sizes (height, width) in pixels."""

    smallest_px: tuple[int, int]
    largest_px: tuple[int, int]
    max_batch: int

    def __post_init__(self) -> None:
        if self.max_batch < 1 or any(a > b for a, b in zip(self.smallest_px, self.largest_px, strict=True)):
            raise ValueError("shapes go from small to large, with one row at least")

    def profile(self, input_name: str) -> dict[str, str]:
        """Returns the optimisation profile; the optimum is a full batch at the largest size."""
        least = _shape(input_name, 1, self.smallest_px)
        most = _shape(input_name, self.max_batch, self.largest_px)
        names = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")
        return dict(zip(names, (least, most, most), strict=True))


def _shape(input_name: str, batch: int, size_px: tuple[int, int]) -> str:
    return f"{input_name}:{batch}x3x{size_px[0]}x{size_px[1]}"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What a built engine depends on besides the network; on another one it fails or runs wrongly."""

    gpu: str
    driver: str
    tensorrt: str


def find_accelerator() -> Accelerator:
    """Identifies the first GPU. Raises ProviderError, which names the library that is missing or fails."""
    try:
        runtime = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise ProviderError(
            f"{TENSORRT}: {LIBRARY} is not here; install TensorRT 10, or leave this provider out"
        ) from error
    number = int(runtime.getInferLibVersion())
    version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    try:
        nvml = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError as error:
        raise ProviderError(
            f"{TENSORRT}: {DRIVER_LIBRARY} is not here; install the NVIDIA driver,"
            " or give the container the GPU"
        ) from error
    driver, gpu = ctypes.create_string_buffer(NAME_BYTES), ctypes.create_string_buffer(NAME_BYTES)
    device = ctypes.c_void_p()
    if nvml.nvmlInit_v2():
        raise ProviderError(f"{TENSORRT}: the NVIDIA driver does not answer; is there a GPU?")
    try:
        failed = (
            nvml.nvmlSystemGetDriverVersion(driver, NAME_BYTES)
            or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
            or nvml.nvmlDeviceGetName(device, gpu, NAME_BYTES)
        )
    finally:
        nvml.nvmlShutdown()
    if failed:
        raise ProviderError(f"{TENSORRT}: the NVIDIA driver names no GPU (NVML error {failed})")
    return Accelerator(gpu.value.decode(), driver.value.decode(), version)


def engine_folder(accelerator: Accelerator, sha256: str, options: TensorRtOptions, shapes: Shapes) -> Path:
    """Returns the folder for the engines of one network.

    Another GPU, driver, TensorRT, network, precision or batch size has another folder, so TensorRT
    never loads a stale engine.
    """
    machine = "-".join(
        re.sub(r"[^A-Za-z0-9.]+", "_", part)
        for part in (accelerator.gpu, accelerator.driver, accelerator.tensorrt)
    )
    small, large = ("x".join(map(str, size)) for size in (shapes.smallest_px, shapes.largest_px))
    precision = "fp16" if options.fp16 else "fp32"
    how = f"{precision}-{small}-{large}-b{shapes.max_batch}"
    return options.engine_cache / machine / f"{sha256[:DIGEST_CHARS]}-{how}"


def provider_options(
    folder: Path, input_name: str, options: TensorRtOptions, shapes: Shapes
) -> dict[str, str]:
    """Returns ONNX Runtime's options for its TensorRT provider."""
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": str(options.fp16),
        **shapes.profile(input_name),
    }
