"""Runs one ONNX network on the requested execution provider, or raises an error."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray

from faces.bundle import file_sha256
from service.inference.tensorrt import (
    TENSORRT,
    ProviderError,
    Shapes,
    TensorRtOptions,
    engine_folder,
    find_accelerator,
    provider_options,
)

__all__ = ["OnnxSession", "ProviderError"]

CPU = "CPUExecutionProvider"
Provider = str | tuple[str, dict[str, str]]
log = structlog.get_logger("halflight.inference")


class OnnxSession:
    """One network on one provider. One thread at a time may call `run`.

    ONNX Runtime silently falls back to the CPU if CUDA or TensorRT cannot load, and still lists them
    as available. The constructor therefore asks the session which providers run, and raises
    ProviderError if one is missing, unless `allow_fallback`. TensorRT needs `tensorrt` and `shapes`;
    it builds an engine here, which takes minutes, unless the cache holds one.
    """

    def __init__(
        self,
        path: Path,
        *,
        providers: Sequence[str],
        allow_fallback: bool = False,
        intra_op_threads: int = 0,
        tensorrt: TensorRtOptions | None = None,
        shapes: Shapes | None = None,
    ) -> None:
        if not providers:
            raise ProviderError("no execution provider is named; set HALFLIGHT_PROVIDERS to one at least")
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        # Several sessions share the cores: a waiting thread that spins would keep one busy.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # With patterns ONNX Runtime takes one block for each size of batch from its second time on, and the
        # blocks of different sizes do not share: memory went on growing (docs/reliability.md).
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        known = set(ort.get_available_providers())
        unknown = [name for name in providers if name not in known]
        if unknown and not allow_fallback:
            raise ProviderError(
                f"{', '.join(unknown)} is not part of this ONNX Runtime ({', '.join(sorted(known))});"
                " install the `gpu` extra or set HALFLIGHT_PROVIDERS"
            )
        wanted: list[Provider] = []
        for name in (name for name in providers if name in known):
            try:
                wanted.append(_tensorrt_provider(path, tensorrt, shapes) if name == TENSORRT else name)
            except ProviderError:
                if not allow_fallback:
                    raise
        start = time.monotonic()
        self._session = ort.InferenceSession(str(path), options, providers=wanted or [CPU])
        running: list[str] = self._session.get_providers()
        self.provider: str = running[0]
        if TENSORRT in running:
            log.info("TensorRT engine ready", network=path.name, seconds=round(time.monotonic() - start, 1))
        lost = [name for name in providers if name not in running]
        if lost and not allow_fallback:
            raise ProviderError(
                f"{', '.join(lost)} did not load for {path.name}: {self.provider} would run instead;"
                " check the driver, or set HALFLIGHT_ALLOW_FALLBACK=true to accept that"
            )
        inputs = self._session.get_inputs()
        self._input: str = inputs[0].name
        self._outputs: list[str] = [output.name for output in self._session.get_outputs()]
        # Of each input, its sizes; None for one that the file leaves open.
        self.inputs = [tuple(v if isinstance(v, int) else None for v in one.shape) for one in inputs]
        self._rows = self.inputs[0][0] if self.inputs[0] else None

    @property
    def outputs(self) -> Sequence[str]:
        return self._outputs

    def run(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Maps input float32 [n, 3, h, w] to every output by name, each [n, ...].

        A file that was exported for a fixed batch runs as often as it must; zeros fill its last batch.
        """
        rows = self._rows
        if rows is None or len(batch) == rows:
            return self._run(batch)
        parts = []
        for start in range(0, len(batch), rows):
            part = batch[start : start + rows]
            padded = np.zeros((rows, *batch.shape[1:]), batch.dtype)
            padded[: len(part)] = part
            parts.append({name: value[: len(part)] for name, value in self._run(padded).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _run(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        values = self._session.run(self._outputs, {self._input: batch})
        return dict(zip(self._outputs, values, strict=True))


def _tensorrt_provider(path: Path, options: TensorRtOptions | None, shapes: Shapes | None) -> Provider:
    """Creates the engine cache and returns TensorRT with its options.

    Raises ProviderError if TensorRT cannot run.
    """
    if options is None or shapes is None:
        raise ProviderError(f"{TENSORRT} needs a folder for its engines and the sizes of {path.name}")
    accelerator = find_accelerator()
    folder = engine_folder(accelerator, file_sha256(path), options, shapes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProviderError(
            f"{TENSORRT}: its engines cannot be kept ({error.strerror}); set HALFLIGHT_ENGINE_CACHE_DIR"
        ) from error
    if not any(folder.glob("*.engine")):
        log.info("building a TensorRT engine; not ready before that", network=path.name, gpu=accelerator.gpu)
    input_name = ort.InferenceSession(str(path), providers=[CPU]).get_inputs()[0].name
    return TENSORRT, provider_options(folder, input_name, options, shapes)
