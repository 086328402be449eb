"""LFW test identities over HTTP: the probe as it is, grey, pseudo-NIR, and each of them masked.

    halflight serve --data /tmp/lfw &
    python -m benchmarks.lfw http://127.0.0.1:8000 ../shared/data/lfw.tar

Enrols the first photo of every test identity with two or more and identifies the second. Masks are
drawn over the landmarks that the service reports for the plain probe. A failed probe stays in the
denominator as a miss. All but the plain probes are synthetic: say so wherever the figures are quoted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.client import ServiceClient, lfw_test_pairs, send
from faces.image import DecodeLimits, decode
from training.synthesis.simple import masked_vis, pseudo_nir

VARIANTS = ("plain", "grey", "masked", "grey, masked", "pseudo-NIR", "pseudo-NIR, masked")
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
SEED = 2026


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the service answered to one probe.

    `first`: the best subject is right; `matched`: and it is decided a match at the default FMR; `masked`,
    `nir`: the condition that the service took the probe for.
    """

    found: bool = False
    first: bool = False
    matched: bool = False
    masked: bool = False
    nir: bool = False


def variants(image: bytes, seen: dict[str, Any] | None, number: int) -> dict[str, bytes]:
    """Returns the probe in every variant, as PNG; without a mask if the service found no face (`seen`)."""
    pixels = decode(image, limits=LIMITS).pixels
    marks = None if seen is None else [(float(x), float(y)) for x, y in seen["landmarks"]]

    def rng() -> np.random.Generator:
        # The same mask in every variant of one probe.
        return np.random.default_rng([SEED, number])

    worn = pixels if marks is None else masked_vis(pixels, marks, rng())
    made = (
        image,
        png(grey(pixels)),
        png(worn),
        png(grey(worn)),
        png(pseudo_nir(pixels, rng())),
        png(pseudo_nir(pixels, rng(), landmarks=marks)),
    )
    return dict(zip(VARIANTS, made, strict=True))


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns luma in three equal channels."""
    made: NDArray[np.uint8] = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return made


def png(pixels: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def outcome(client: ServiceClient, name: str, image: bytes) -> Outcome:
    """Identifies one probe."""
    results = client.ask("/identify", image, top_k=1)
    if not results:
        return Outcome()
    best = results[0]["candidates"][:1]
    right = bool(best) and best[0]["subject_id"] == name
    condition = results[0]["condition"]
    return Outcome(
        True,
        right,
        right and best[0]["decision"] == "match",
        condition["masked"],
        condition["spectrum"] == "nir",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("base", help="address of a running service with an empty gallery")
    parser.add_argument("tar", type=Path, help="lfw.tar")
    parser.add_argument("--key")
    args = parser.parse_args()
    pairs = lfw_test_pairs(args.tar)
    client, names = ServiceClient(args.base, args.key), list(pairs)
    enrolled = send("enrolling", lambda name: client.enrol(name, pairs[name][0]), names)
    seen = send("detecting", lambda name: client.ask("/detect", pairs[name][1])[:1], names)
    probes = [
        variants(pairs[name][1], found[0] if found else None, i)
        for i, (name, found) in enumerate(zip(names, seen, strict=True))
    ]
    print(f"{len(names)} identities, failure to enrol {100 - percent(enrolled):.1f} %")
    print(f"{'probe, %':18}{'no face':>9}{'rank-1':>9}{'TPIR':>9}{'masked':>9}{'NIR':>9}")
    for variant in VARIANTS:
        asked = list(zip(names, (made[variant] for made in probes), strict=True))
        got = send(variant, lambda pair: outcome(client, *pair), asked)
        shown = (
            100 - percent([one.found for one in got]),
            percent([one.first for one in got]),
            percent([one.matched for one in got]),
            percent([one.masked for one in got]),
            percent([one.nir for one in got]),
        )
        print(f"{variant:18}" + "".join(f"{value:9.1f}" for value in shown))


def percent(flags: list[bool]) -> float:
    return 100 * sum(flags) / len(flags)


if __name__ == "__main__":
    main()
