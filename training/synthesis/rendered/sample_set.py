"""Makes two prepared sets of the committed rendered samples, which need no face model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from faces.align import ALIGNMENTS, align
from faces.image import DecodeLimits, decode
from faces.types import Spectrum
from training.data.prepared import PreparedSet, Role, Row, SetInfo, Split
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.synthesis.rendered.family import Detector
from training.synthesis.rendered.pictures import GENERATOR
from training.synthesis.rendered.samples import INDEX_FILE, KINDS, Kind

SAMPLES = Path(__file__).parents[3] / "service" / "samples"
ALIGNMENT = "arcface-112"
LIMITS = DecodeLimits(max_bytes=1 << 20, max_pixels=1 << 20)


def sample_sets(
    out: Path, detector: Detector, *, train: int = 8, folder: Path = SAMPLES
) -> tuple[PreparedSet, PreparedSet]:
    """Returns the first `train` subjects as a training set, and the others as a test set.

    Raises DataSetError if the samples are missing, or a detector finds no face in one of them.
    """
    index = folder / INDEX_FILE
    if not index.is_file():
        raise DataSetError(f"no samples in {folder.name}: run this from a checkout of the project")
    names = [str(subject["subject_id"]) for subject in json.loads(index.read_text())["subjects"]]
    parts: tuple[tuple[Split, list[str]], ...] = (("train", names[:train]), ("test", names[train:]))
    train_set, test_set = (_part(out / split, folder, detector, split, chosen) for split, chosen in parts)
    return train_set, test_set


def _part(out: Path, folder: Path, detector: Detector, split: Split, names: list[str]) -> PreparedSet:
    info = SetInfo(
        name=f"samples-{split}",
        alignment=ALIGNMENT,
        side_px=ALIGNMENTS[ALIGNMENT].side_px,
        made_by="python -m training smoke",
        synthetic="3D-rendered faces, no real person",
    )
    writer = SetWriter(out, info)
    for name in names:
        for kind in KINDS:
            for path in sorted((folder / name).glob(f"{kind}_*.jpg")):
                _add_sample(writer, path, detector, split, kind)
    return writer.close()


def _add_sample(writer: SetWriter, path: Path, detector: Detector, split: Split, kind: Kind) -> None:
    spectrum = Spectrum.VIS if kind == "vis" else Spectrum.NIR
    image = decode(path.read_bytes(), limits=LIMITS, spectrum=spectrum)
    found = detector.faces(image)
    if not found:
        raise DataSetError(f"no face found in sample {path.parent.name}/{path.name}")
    role: Role = "none" if split == "train" else "gallery" if kind == "vis" else "probe"
    row = Row(
        source=f"{path.parent.name}/{path.name}",
        subject=path.parent.name,
        spectrum=spectrum,
        masked=kind != "vis",
        split=split,
        role=role,
        mask="rendered" if kind != "vis" else None,
        generator=GENERATOR,
    )
    writer.add(row, np.ascontiguousarray(align(image, found[0], ALIGNMENT).pixels))
