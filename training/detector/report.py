"""Formats the comparison as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from faces.rates.intervals import Interval
from faces.types import CONDITIONS
from training.detector.collect import KINDS
from training.detector.evaluate import MaskedPhotoRates, Row
from training.detector.pictures import Kind


def format_share(value: Interval) -> str:
    """Formats a share in percent with its interval."""
    return f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def condition_table(compared: Mapping[Kind, Sequence[Row]]) -> str:
    """Returns a table with a line for each candidate and condition."""
    head = (
        "picture",
        "detector",
        "recall at the working threshold",
        "false positives a picture there",
        "recall in mosaics at 1 false positive a picture",
        "landmarks against the mesh, % of the eyes' distance",
        "landmarks against the reference on the photo, %",
        "mask state right",
        "means the first detector's face",
    )
    names = {KINDS[condition]: str(condition) for condition in CONDITIONS}
    rows = [
        (
            names[kind],
            row.candidate,
            f"{format_share(row.working.recall)}",
            f"{row.working.false_per_picture:.3f}",
            f"{format_share(row.mosaic.recall)} of {row.mosaic.faces}",
            format_share(row.landmarks.mesh),
            format_share(row.landmarks.photo),
            format_share(row.state),
            format_share(row.meant),
        )
        for kind, found in compared.items()
        for row in found
    ]
    return markdown_table(head, rows)


def masked_photo_table(tried: Sequence[MaskedPhotoRates], empty: Mapping[str, float]) -> str:
    """Returns the table of real photos of masked faces and of scenes without faces."""
    head = ("detector", "photos", "face found", "mask state right", "false positives a scene without faces")
    rows = [
        (
            one.candidate,
            str(one.photos),
            format_share(one.found),
            format_share(one.state),
            f"{empty[one.candidate]:.2f}",
        )
        for one in tried
    ]
    return markdown_table(head, rows)
