"""LFW test identities over HTTP, with the probe as it is, grey, masked, or grey and masked.

    halflight serve --data /tmp/lfw &
    python -m benchmarks.lfw http://127.0.0.1:8000 ../shared/data/lfw.tar

Enrols the first photo of every test identity with two or more and identifies the second
(PROTOCOLS: the split is by the SHA-1 of the name). Masks are drawn over the landmarks that the
service itself reports. A failed probe stays in the denominator as a miss. Grey and masked probes
are synthetic: say so wherever the figures are quoted.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from faces.types import Box, Face
from training.data.lfw import Split, read_lfw
from training.synthesis.simple import simple_mask, pseudo_nir

VARIANTS = ("plain", "grey", "masked", "grey-masked")
SENDERS = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe: whether it was answered, its best subject, and what the service took it for."""

    answered: bool
    first: bool = False
    matched: bool = False
    masked: bool = False
    spectrum: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("base")
    parser.add_argument("tar", type=Path)
    parser.add_argument("--key")
    args = parser.parse_args()
