"""Real photos of masked faces over HTTP: is a face found, and is it seen to wear a mask?

    halflight serve --data /tmp/masked &
    python -m benchmarks.masked_photos http://127.0.0.1:8000 ../shared/data/masked_photos \\
        --lfw ../shared/data/lfw.tar

Held-out half: file numbers from 0450. `/identify` is asked, so the whole way is measured; the mask state
is that of the largest face. With --lfw the unmasked side is measured too, on the test identities' first
photos: a classifier that always says "masked" would be perfect without it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.client import ServiceClient, lfw_test_pairs, send

FIRST_HELD_OUT = 450


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("base", help="address of a running service")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--training-half", action="store_true")
    parser.add_argument("--lfw", type=Path)
    parser.add_argument("--key")
    args = parser.parse_args()
    files = sorted(path for path in args.photos.glob("*.*") if path.stem.isdigit())
    chosen = [path for path in files if (int(path.stem) < FIRST_HELD_OUT) == args.training_half]
    client = ServiceClient(args.base, args.key)

    def ask(image: bytes) -> list[dict[str, Any]]:
        return client.ask("/identify", image, top_k=1)

    report("masked", send("masked photos", ask, [path.read_bytes() for path in chosen]), masked=True)
    if args.lfw is not None:
        plain = [first for first, _ in lfw_test_pairs(args.lfw).values()]
        report("unmasked", send("unmasked photos", ask, plain), masked=False)


def report(name: str, answers: list[list[dict[str, Any]]], *, masked: bool) -> None:
    found = [results[0]["condition"] for results in answers if results]
    right = sum(condition["masked"] == masked for condition in found)
    print(f"{name}: {len(answers)} photos, face found {100 * len(found) / len(answers):.1f} %,", end=" ")
    print(f"mask state right in {100 * right / max(1, len(found)):.1f} % of those")


if __name__ == "__main__":
    main()
