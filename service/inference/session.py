"""ONNX Runtime behind one small class: the provider that was asked for, or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


class ProviderError(RuntimeError):
    """A requested execution provider did not load. The text says which one runs instead."""


class OnnxSession:
    """One network on one provider. `run` may be called from any single thread at a time.

    ONNX Runtime falls back to the CPU without a word when CUDA or TensorRT cannot load, and its
    list of available providers names them all the same; so what really runs is asked of the
    session, and a difference raises ProviderError unless `allow_fallback`.
    """

    def __init__(
        self,
        path: Path,
        *,
        providers: Sequence[str],
        allow_fallback: bool = False,
        intra_op_threads: int = 0,
    ) -> None:
        if not providers:
            raise ProviderError("no execution provider is named; set HALFLIGHT_PROVIDERS to one at least")
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        # Several sessions share the cores: a thread that spins while it waits takes them away.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        known = set(ort.get_available_providers())
        unknown = [name for name in providers if name not in known]
        if unknown and not allow_fallback:
            raise ProviderError(
                f"{', '.join(unknown)} is not part of this ONNX Runtime ({', '.join(sorted(known))});"
                " install the `gpu` extra or set HALFLIGHT_PROVIDERS"
            )
        wanted = [name for name in providers if name in known] or ["CPUExecutionProvider"]
        self._session = ort.InferenceSession(str(path), options, providers=wanted)
        self.provider: str = self._session.get_providers()[0]
        if self.provider != providers[0] and not allow_fallback:
            raise ProviderError(
                f"{providers[0]} did not load for {path.name}: {self.provider} would run instead;"
                " check the driver, or set HALFLIGHT_ALLOW_FALLBACK=true to accept that"
            )
        self._input: str = self._session.get_inputs()[0].name
        self._outputs: list[str] = [output.name for output in self._session.get_outputs()]

    def run(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Input float32 [n, 3, h, w] -> every output by name, each [n, ...]."""
        values = self._session.run(self._outputs, {self._input: batch})
        return dict(zip(self._outputs, values, strict=True))
