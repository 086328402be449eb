"""Leaves out training people who look like validation or test people: archives share celebrities.

Otherwise a test subject could be in training under another name. A person is left out if the cosine of the
trunk's mean template to a validation or test person exceeds `NEAR`; leaving out too many does no harm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.bundle import read
from faces.files import write_whole
from faces.image import DecodeLimits, decode
from faces.types import Image, Spectrum
from training.data.lfw import Split, read_lfw
from training.matcher.sources import OpenArchive
from training.matcher.store import Store
from training.networks.onnx_runner import BundleRunner

EXCLUDED = "excluded.txt"
NEAR = 0.6
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
Floats = NDArray[np.float32]


def watched(lfw: Path, real_masks: Path | None, bundle: Path) -> Iterator[tuple[str, Floats]]:
    """One visible photo of each person that is selected by or tested on, and its unit template."""
    runner = BundleRunner(read(bundle), threads=1)
    for identity in read_lfw(lfw, frozenset({Split.VALIDATION, Split.TEST})):
        image = decode(identity.photos[0].data, limits=LIMITS, spectrum=Spectrum.VIS)
        template = runner.template(image)
        if template is not None:
            yield f"lfw/{identity.name}", template
    if real_masks is None:
        return
    with OpenArchive(real_masks) as opened:
        for row in opened.rows:
            if row["split"] != "train" and row["masked"] == "0":
                template = runner.template(Image(opened.pixels(row["path"]), Spectrum.VIS))
                if template is not None:
                    yield f"real/{row['subject']}", template


def exclude(store: Store, teacher: Floats, people: list[tuple[str, Floats]]) -> list[str]:
    """Write and return the training subjects that are left out, each with whom it is like and how much."""
    names, tested = [name for name, _ in people], np.stack([row for _, row in people])
    photos: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(store.photos):
        if row.part == "train" and row.reference:
            photos[row.subject].append(i)
    lines = []
    for subject, rows in photos.items():
        mean = teacher[rows].sum(0)
        scores = tested @ (mean / max(float(np.linalg.norm(mean)), 1e-6))
        if float(scores.max()) > NEAR:
            lines.append(f"{subject}\t{names[int(scores.argmax())]}\t{float(scores.max()):.3f}")
    write_whole(store.root / EXCLUDED, "".join(line + "\n" for line in lines).encode())
    return lines


def excluded(root: Path) -> frozenset[str]:
    """Subjects that `exclude` left out of this cache; nobody where it was not run."""
    path = root / EXCLUDED
    if not path.is_file():
        return frozenset()
    return frozenset(line.split("\t")[0] for line in path.read_text().splitlines())
