"""What votes over a track do to the false match rate: frames of one person are no independent tries.

    python -m training.synthesis.rendered --out PEOPLE --facekit DIR --subjects 26 --seed 12
    python -m benchmarks.votes --people PEOPLE [--frames 8] [--bundle DIR]

Every person walks through a near-infrared clip with a mask, as in `benchmarks.watch`, and so many
frames of each are embedded as probes; their visible-light photos are references. Each ordered pair of two
people is one track against one subject. At thresholds where a single frame matches a stranger at a stated
rate, measured on the same pairs, it prints how many tracks have that many frames which match: the FMR of a
track for `agree` of 1, 2, 3. Beside it stands what independent frames would give. The people are rendered;
nobody exists.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from math import comb
from pathlib import Path

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import subject_bootstrap
from service.settings import builtin_bundle
from tests.conftest import Service
from tests.service.watch.clip import FPS, LEAD_S, Walker, frames

RATES = (0.05, 0.02, 0.01)
SECONDS = 3.0
AGREE = (1, 2, 3)
Floats = NDArray[np.float32]


def embedded(client: httpx.Client, data: bytes, role: str) -> Floats | None:
    """The template of the largest face; None if there is none."""
    asked = {"role": role, "spectrum": "nir" if role == "probe" else "vis", "turn": "0"}
    answer = client.post("/embed", params=asked, files={"image": ("p", data, "image/jpeg")})
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        return None
    found = answer.raise_for_status().json()["results"][0]["embedding"]
    return np.asarray(found, np.float32)


def track_of(folder: Path, count: int, seed: int) -> list[bytes]:
    """`count` frames of one person who crosses the picture, as JPEG."""
    walker = Walker(folder.name, tuple(sorted(folder.glob("nir_masked_*.jpg"))), seed % 2 == 0)
    made = list(frames([walker], seconds=SECONDS, pause_s=0, seed=seed))[int(LEAD_S * FPS) :]
    chosen = np.linspace(0, len(made) - 1, count).astype(int)
    return [cv2.imencode(".jpg", made[i], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for i in chosen]


def independent(rate: float, agree: int, count: int) -> float:
    """The probability of at least `agree` matches of `count` independent frames."""
    return sum(comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(agree, count + 1))


def report(tracks: list[Floats], references: list[Floats], count: int) -> None:
    """Prints the rates. A subject's score is that of its best photo."""
    n = len(tracks)
    scores = np.stack([[(tracks[i] @ references[j].T).max(axis=1) for j in range(n)] for i in range(n)])
    others = ~np.eye(n, dtype=bool)
    singles = np.sort(scores[others].ravel())[::-1]
    print(f"{n} rendered people, {others.sum()} tracks against a stranger, {singles.size} frames of them")
    print("| single frames | agree | tracks | 95 % interval, over people | independent frames |")
    print("|---|---|---|---|---|")
    for rate in RATES:
        matches = (scores > singles[int(rate * singles.size)]).sum(axis=2)
        for agree in AGREE:
            wrong = (matches >= agree) & others

            def share(weights: NDArray[np.int64], wrong: NDArray[np.bool_] = wrong) -> float:
                pairs = np.outer(weights, weights)
                return float((pairs * wrong).sum() / (pairs * others).sum())

            found = subject_bootstrap(share, n).in_percent()
            interval = f"{found.low:.2f} to {found.high:.2f} %"
            alone = f"{100 * independent(rate, agree, count):.2f} %"
            print(f"| {100 * rate:g} % | {agree} | {found.value:.2f} % | {interval} | {alone} |")
        own = matches[np.eye(n, dtype=bool)]
        right = ", ".join(f"{100 * float((own >= agree).mean()):.0f} %" for agree in AGREE)
        single = 100 * float(own.sum()) / (n * count)
        print(f"  of their own: {single:.0f} % of frames match, and of tracks {right} for agree 1, 2, 3")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True, action="append")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--bundle", type=Path, default=builtin_bundle())
    given = parser.parse_args(arguments)
    folders = sorted(one for room in given.people for one in room.iterdir() if one.is_dir())
    references: list[Floats] = []
    tracks: list[Floats] = []
    with tempfile.TemporaryDirectory() as made:
        service = Service(Path(made) / "data", {"HALFLIGHT_BUNDLE_DIR": str(given.bundle)}).start()
        try:
            with service.client() as client:
                for seed, folder in enumerate(folders):
                    photos = [one.read_bytes() for one in sorted(folder.glob("vis_*.jpg"))]
                    known = [embedded(client, one, "reference") for one in photos]
                    seen = [embedded(client, one, "probe") for one in track_of(folder, given.frames, seed)]
                    found = [one for one in seen if one is not None]
                    if len(found) < given.frames:
                        print(f"left out, since not every frame shows its face: {folder.name}")
                        continue
                    references.append(np.stack([one for one in known if one is not None]))
                    tracks.append(np.stack(found))
        finally:
            service.stop()
    report(tracks, references, given.frames)
    return 0


if __name__ == "__main__":
    sys.exit(main())
