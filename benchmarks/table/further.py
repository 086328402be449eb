"""Further people of the table: test people with real masks, and rendered subjects.

Those with real masks are searched among themselves and LFW's test people, rendered subjects among
themselves. Each has one reference. Their TAR is at the threshold that FMR .1 % of these comparisons sets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table.answers import Answers, Round, ask
from benchmarks.table.figures import bootstrap_weights, rank1, scored, tar_at
from benchmarks.table.photos import Subject
from benchmarks.table.probes import Probe
from benchmarks.table.rows import FurtherRow, Rate
from faces.bundle import Bundle
from faces.rates.rank1 import success_rate
from faces.types import Condition, Spectrum
from training.data.lfw import Photo
from training.data.prepared import read_prepared
from training.matcher.sources import OpenArchive

REAL_MASKS, RENDERED = "real masks", "rendered"
MASKED = Condition(Spectrum.VIS, masked=True)
MASKED_NIR = Condition(Spectrum.NIR, masked=True)
FMR = 1e-3


def real_mask_subjects(archive: Path, *, limit: int = 0) -> list[Subject]:
    """Test people of `real_masks.zip` with a photo without a mask, which is their reference.

    `limit`: so many people (0: all). Raises DataSetError if the archive is not there or is another one.
    """
    plain: dict[str, Photo] = {}
    worn: dict[str, list[Photo]] = defaultdict(list)
    with OpenArchive(archive) as opened:
        for row in opened.rows:
            if row["split"] != "test":
                continue
            photo = Photo(row["path"], opened.data(row["path"]))
            if row["masked"] == "1":
                worn[row["subject"]].append(photo)
            else:
                plain.setdefault(row["subject"], photo)
    people = [name for name in sorted(worn) if name in plain][: limit or None]
    # Names may have letters that an identifier may not have.
    return [
        Subject(f"real.{number}", REAL_MASKS, plain[name], tuple(worn[name]), MASKED)
        for number, name in enumerate(people)
    ]


def rendered_subjects(folder: Path, *, limit: int = 0) -> list[Subject]:
    """Test subjects of `training rendered-family`: a visible reference, masked NIR probes.

    Raises DataSetError if the folder holds no such set.
    """
    prepared = read_prepared(folder)
    plain: dict[str, Photo] = {}
    worn: dict[str, list[Photo]] = defaultdict(list)
    for row in prepared.rows:
        photo = Photo(row.source, (folder / row.source).read_bytes())
        if row.spectrum is Spectrum.VIS:
            plain.setdefault(row.subject, photo)
        elif row.masked:
            worn[row.subject].append(photo)
    names = [name for name in sorted(worn) if name in plain][: limit or None]
    return [Subject(name, RENDERED, plain[name], tuple(worn[name]), MASKED_NIR) for name in names]


def further_rounds(
    bundle: Bundle,
    beside: Sequence[Subject],
    subjects: Sequence[Subject],
    probes: Sequence[Probe],
    *,
    work: Path,
    fmr: float,
) -> list[FurtherRow]:
    """Asks about `subjects`, enrolled beside others, in a service of its own; a row for each condition."""
    if not subjects:
        return []
    name = subjects[0].group
    rounds = [Round(name=name, enrol=[*beside, *subjects], probes=probes)]
    answers = ask(bundle, rounds, probes=work / "probes", kept=work / "answers", fmr=fmr)
    everybody = [one.name for one in (*beside, *subjects)]
    conditions = sorted({probe.made.condition for probe in probes}, key=str)
    return [_row(name, condition, probes, answers, everybody, len(subjects)) for condition in conditions]


def _row(
    name: str,
    condition: Condition,
    probes: Sequence[Probe],
    answers: Answers,
    everybody: Sequence[str],
    people: int,
) -> FurtherRow:
    mine = [probe for probe in probes if probe.made.condition == condition]
    data = scored(mine, answers, everybody)
    tar = tar_at(data, FMR, bootstrap_weights(len(everybody)))
    return FurtherRow(
        people=name,
        condition=str(condition),
        subjects=people,
        references=len(everybody) - len(answers.not_enrolled),
        probes=len(mine),
        rank1=Rate(success_rate(rank1(mine, answers, everybody))),
        tar=Rate(tar.interval, exact=tar.exact),
    )
