"""Checks that the encoders of a bundle reproduce the vectors of its parity crops on this provider."""

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
    """A network gives other vectors here than at export. The text names the cosine."""


@dataclass(frozen=True, slots=True)
class ParityResult:
    """The smallest cosine of each role over `crops` parity crops."""

    crops: int
    provider: str
    minimum_cosine: Mapping[Role, float]


def check_parity(bundle: Bundle, engine: Engine) -> ParityResult | None:
    """Embeds the parity crops and compares the vectors; returns None if the bundle has none. Blocks.

    Call it after `Engine.load` and before `Engine.start`: a session serves one thread at a time.
    Raises ParityError if a cosine is too small, BundleError if the crops do not fit the bundle.
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
    return ParityResult(len(inputs), engine.provider, found)
