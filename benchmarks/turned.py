"""Photos turned by quarter turns without EXIF: enrolled, then the upright photo verified against them.

    python -m benchmarks.turned ../shared/data/lfw.tar --out turned.json

Starts a service with the built-in bundle, enrols the first photo of LFW test people as it is and turned by
90, 180 and 270 degrees, each as a subject of its own, and verifies the upright photo at the default FMR. A
photo that is refused is counted with the code of the refusal.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.client import ServiceClient, send
from benchmarks.enrolment import counted, served, write_json
from faces.image import DecodeLimits, decode
from training.data.lfw import Split, read_lfw
from training.detector.report import markdown_table

TURNS = (0, 90, 180, 270)
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
# As cameras save them.
JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Trial:
    """One photo, turned clockwise by `turn` degrees. `code`: of the refusal, None if it was enrolled.

    `rotation`: what the answer says the photo must be turned by; `score`: of the upright photo against it.
    """

    subject: str
    turn: int
    code: str | None
    rotation: int | None = None
    verified: bool = False
    score: float | None = None

    @property
    def right(self) -> bool:
        """Whether the answer's rotation undoes the turn."""
        return self.rotation is not None and (self.rotation + self.turn) % 360 == 0


@dataclass(frozen=True, slots=True)
class TurnedPhotos:
    trials: tuple[Trial, ...]

    def table(self) -> str:
        rows = []
        for turn in TURNS:
            mine = [one for one in self.trials if one.turn == turn]
            enrolled = [one for one in mine if one.code is None]
            rows.append(
                (
                    f"{turn} degrees",
                    f"{len(enrolled)} of {len(mine)}",
                    f"{sum(one.right for one in enrolled)} of {len(enrolled)}",
                    f"{sum(one.verified for one in enrolled)} of {len(enrolled)}",
                    counted(one.code for one in mine if one.code is not None),
                )
            )
        head = ("turned by", "enrolled", "right `rotation`", "upright photo verifies", "refused")
        return markdown_table(head, rows)


def turned(photo: bytes, turn: int) -> bytes:
    """Returns a photo turned clockwise, as a JPEG without EXIF. Raises ImageError for bytes that are none."""
    pixels = np.rot90(decode(photo, limits=LIMITS).pixels, -turn // 90)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels), options)[1].tobytes()


def ask(client: ServiceClient, name: str, photo: bytes, turn: int) -> Trial:
    """Enrols one turned photo, verifies the upright one, and erases the subject."""
    subject = f"{name}@{turn}"
    answer = client.enrolment(subject, turned(photo, turn), duplicates="ignore")
    if answer.sample is None:
        return Trial(subject, turn, answer.code)
    found = client.verify(subject, turned(photo, 0))
    client.erase(subject)
    verified = found["decision"] == "match"
    return Trial(subject, turn, None, answer.sample["face"]["rotation"], verified, found["score"])


def measure(client: ServiceClient, photos: Sequence[tuple[str, bytes]]) -> TurnedPhotos:
    asked = [(name, photo, turn) for name, photo in photos for turn in TURNS]
    return TurnedPhotos(tuple(send("turned photos", lambda one: ask(client, *one), asked)))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("tar", type=Path, help="lfw.tar")
    parser.add_argument("--bundle", type=Path, help="another bundle than the built-in one")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--out", type=Path, help="a file for the figures (.json)")
    args = parser.parse_args(words)
    people = read_lfw(args.tar, frozenset({Split.TEST}))[: args.people]
    with served(args.bundle) as client:
        found = measure(client, [(one.name, one.photos[0].data) for one in people])
    write_json(args.out, f"python -m benchmarks.turned lfw.tar --people {args.people}", found)
    print(f"{len(people)} LFW test people\n\n{found.table()}", end="")


if __name__ == "__main__":
    main()
