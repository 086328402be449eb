"""A bundle's parity crops through its encoders, on the provider that will serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from faces.bundle import Bundle
from faces.parity import cosines, read_parity
from faces.preprocess import encoder_input
from faces.types import Role
from service.inference.engine import Engine

CROPS_AT_ONCE = 8


class ParityError(RuntimeError):
    """A network gives other vectors here than where it was exported. The text has the number."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found: the smallest cosine of each role, over so many crops."""

    crops: int
    provider: str
    minimum_cosine: Mapping[Role, float]


def replay(bundle: Bundle, engine: Engine) -> Replay | None:
    """Embed the parity crops and compare; None where the bundle has none. Blocking.

    Call it after `Engine.load` and before `Engine.start`: a session serves one thread at a time.
    Raises ParityError, and BundleError where the crops do not fit the bundle.
    """
    stored = read_parity(bundle)
    spec = bundle.manifest.parity
    if stored is None or spec is None:
        return None
    inputs = [encoder_input(crop, bundle.manifest.encoder) for crop in stored.aligned()]
    found: dict[Role, float] = {}
    for role in Role:
        rows = []
        for start in range(0, len(inputs), CROPS_AT_ONCE):
            rows += engine.encoder.run([(role, tensor) for tensor in inputs[start : start + CROPS_AT_ONCE]])
        found[role] = float(cosines(np.stack(rows), stored.expected[role]).min())
    worst = min(found, key=lambda role: found[role])
    if found[worst] < spec.minimum_cosine:
        raise ParityError(
            f"bundle {bundle.manifest.name}: the {worst.value} encoder on {engine.provider} gives a cosine of"
            f" {found[worst]:.6f} with the vectors of its export, and {spec.minimum_cosine:g} is the least"
            " allowed: another build of the provider, or the CPU, may run it right"
        )
    return Replay(len(inputs), engine.provider, found)
