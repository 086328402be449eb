"""The comparison as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from faces.types import CONDITIONS
from training.detector.collect import KINDS
from training.detector.evaluate import Row, Worn
from training.detector.pictures import Kind
from training.evaluation.intervals import Interval


def share(value: Interval) -> str:
    """In percent with its interval."""
    return f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def conditions(compared: Mapping[Kind, Sequence[Row]]) -> str:
    """A line for each candidate and condition."""
    head = (
        "picture",
        "detector",
        "recall at the working threshold",
        "false positives a picture there",
        "recall in mosaics at 1 false positive a picture",
        "landmarks against the mesh, % of the eyes' distance",
        "landmarks against the reference on the photo, %",
        "mask state right",
    )
    names = {KINDS[condition]: str(condition) for condition in CONDITIONS}
    rows = [
        (
            names[kind],
            row.candidate,
            f"{share(row.working.recall)}",
            f"{row.working.wrong_each:.3f}",
            f"{share(row.mosaic.recall)} of {row.mosaic.faces}",
            share(row.landmarks.mesh),
            share(row.landmarks.photo),
            share(row.state),
        )
        for kind, found in compared.items()
        for row in found
    ]
    return table(head, rows)


def worn_photos(tried: Sequence[Worn], empty: Mapping[str, float]) -> str:
    """Real photos of masked faces, and scenes without faces."""
    head = ("detector", "photos", "face found", "mask state right", "false positives a scene without faces")
    rows = [
        (one.candidate, str(one.photos), share(one.found), share(one.state), f"{empty[one.candidate]:.2f}")
        for one in tried
    ]
    return table(head, rows)
