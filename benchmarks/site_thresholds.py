"""A site's own thresholds, over HTTP from photos to decisions, judged on people who did not set them.

    python -m benchmarks.site_thresholds PICTURES --facekit ../shared/data/ict_facekit --out site.json

Renders two groups of people with ICT FaceKit: each person one visible photo and two masked near-infrared
ones. The first group is a labelled folder: `halflight evaluate` measures it at a service with the built-in
bundle, and `halflight thresholds install` installs what it found for the camera. The other people are
enrolled there, each by the visible photo, and identified by the masked ones, before and after. Every
candidate is listed, so each comparison of different people is seen, and the service's own decision about it.

**All faces are synthetic**, and resemble each other more than people do. PICTURES keeps the pictures: the
same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.client import ServiceClient, send
from benchmarks.enrolment import served, write_json
from faces.rates.intervals import Interval, clopper_pearson
from faces.rates.resampling import percentiles, weights
from training.detector.report import markdown_table
from training.synthesis.rendered.model import load_model
from training.synthesis.rendered.pictures import Job, Views, plan, read_facts, render_jobs

CAMERA, VIEWS = "door-1", Views(vis=1, nir=0, nir_masked=2)
REFERENCE, PROBES = "vis_1.jpg", ("nir_masked_1.jpg", "nir_masked_2.jpg")
VISIBLE, MASKED = {"spectrum": "vis", "masked": False}, {"spectrum": "nir", "masked": True}
# The most candidates that an answer lists: so many people may be held out.
MOST = 100


@dataclass(frozen=True, slots=True)
class Answered:
    """What the service decided about one probe. `accepted`: the people whom it would let pass; `listed`: how
    many it compared; none of both if it found no face."""

    person: int
    accepted: tuple[int, ...]
    listed: int
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to decide. `upper`: the bound of the FMR that is stated; `observed`: the FMR of the held-out
    people, with an interval over people; `fnmr`: their probes that are turned away, also because no face or
    no mask was seen."""

    decided_by: str
    fmr: float
    upper: float
    threshold: float
    comparisons: int
    false_matches: int
    observed: Interval
    fnmr: float

    @property
    def holds(self) -> bool:
        """Whether the observed FMR lies within what is stated."""
        return self.observed.value <= self.upper

    @property
    def cells(self) -> tuple[str, ...]:
        low, high = self.observed.low, self.observed.high
        return (
            *(self.decided_by, f"{self.fmr:g}", f"{self.upper:.2g}", f"{self.threshold:.4f}"),
            f"{self.false_matches} of {self.comparisons}",
            f"{self.observed.value:.2g} [{low:.2g}, {high:.2g}]",
            "yes" if self.holds else "**no**",
            f"{self.fnmr:.1%}",
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """`coverage`: what the first group's photos support, as the report says it."""

    synthetic: str
    people: int
    held_out: int
    seed: int
    coverage: tuple[str, ...]
    rows: tuple[Row, ...]

    def table(self) -> str:
        head = (
            *("decided by", "stated FMR", "at most", "threshold", "false matches", "observed FMR"),
            *("within what is stated", "FNMR"),
        )
        return markdown_table(head, [row.cells for row in self.rows])


def judged(decided_by: str, fmr: float, upper: float, people: int, answers: Sequence[Answered]) -> Row:
    """Counts false matches and false non-matches. Raises ValueError if a comparison is missing, or if two
    probes were decided by different thresholds."""
    with_face = [one for one in answers if one.listed]
    if missing := [one.person for one in with_face if one.listed != people]:
        raise ValueError(f"{len(missing)} answers do not list all {people} people")
    thresholds = {one.threshold for one in with_face if one.threshold is not None}
    if len(thresholds) != 1:
        raise ValueError(f"one threshold was expected, and there are {sorted(thresholds)}")
    probes = np.bincount([one.person for one in with_face], minlength=people)
    wrong = [(one.person, other) for one in with_face for other in one.accepted if other != one.person]
    refused = sum(one.person not in one.accepted for one in answers)
    return Row(
        decided_by=decided_by,
        fmr=fmr,
        upper=upper,
        threshold=thresholds.pop(),
        comparisons=len(with_face) * (people - 1),
        false_matches=len(wrong),
        observed=_rate(wrong, probes),
        fnmr=refused / len(answers),
    )


def _rate(wrong: Sequence[tuple[int, int]], probes: np.ndarray) -> Interval:
    """The share of the comparisons that are false matches; the bootstrap draws people, of whom each has one
    reference and `probes` probes. Without a false match the upper end is that of one trial a person."""
    people = len(probes)
    if not wrong:
        return clopper_pearson(0, people)
    probe, reference = np.array(wrong, np.intp).T
    rates = []
    for drawn in [np.ones(people, np.int64), *weights(people)]:
        made = int(drawn @ probes) * int(drawn.sum()) - int(drawn**2 @ probes)
        rates.append(int(drawn[probe] @ drawn[reference]) / made if made else np.nan)
    return percentiles(rates[0], np.array(rates[1:]))


def rendered(root: Path, facekit: Path, *, subjects: int, seed: int, workers: int) -> list[Job]:
    """The pictures of a group of people, rendered as far as they are missing."""
    model = load_model(facekit)
    jobs = plan(root, model, subjects=subjects, views=VIEWS, seed=seed, size_px=144)
    missing = [job for job in jobs if read_facts(job) is None]
    rendering = render_jobs(missing, model, workers=workers)
    console = Console(stderr=True)
    for _ in track(rendering, f"rendering {root.name}", len(missing), console=console, transient=True):
        pass
    return jobs


def lay_out(jobs: Sequence[Job], to: Path) -> None:
    """The folder that `halflight evaluate` takes."""
    for job in jobs:
        for name, folder in ((REFERENCE, "references"), *((name, f"probes/{CAMERA}") for name in PROBES)):
            place = to / job.folder.name / folder
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(job.folder / name, place / name)


def command(*words: str | Path) -> None:
    """Runs `halflight`. Raises subprocess.CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", "service.cli.main", *map(str, words)], check=True)


def asked(client: ServiceClient, jobs: Sequence[Job], **options: Any) -> list[Answered]:
    """Identifies every probe of the held-out people, all of whom are enrolled."""
    place = {job.folder.name: number for number, job in enumerate(jobs)}

    def identify(what: tuple[int, Path]) -> Answered:
        person, path = what
        (*results,) = client.ask(
            "/identify", path.read_bytes(), top_k=MOST, spectrum="nir", faces="largest", **options
        )
        if not results:
            return Answered(person, (), 0)
        (result,) = results
        candidates = result["candidates"]
        if not result["condition"]["masked"]:
            # Another pair of conditions has another threshold: it is no probe of this pair.
            return Answered(person, (), 0)
        accepted = tuple(place[one["subject_id"]] for one in candidates if one["decision"] == "match")
        return Answered(person, accepted, len(candidates), candidates[0]["threshold"])

    probes = [(number, job.folder / name) for number, job in enumerate(jobs) for name in PROBES]
    return send("identifying", identify, probes)


def measure(client: ServiceClient, site: Sequence[Job], others: Sequence[Job], *, seed: int) -> Measured:
    """Measures the site, judges the bundle's thresholds by the other people, installs, and judges again."""
    for job in others:
        photo = (job.folder / REFERENCE).read_bytes()
        made = client.enrolment(job.folder.name, photo, duplicates="ignore")
        if made.code is not None:
            raise ValueError(f"{job.folder.name} is refused: {made.code}")
    with tempfile.TemporaryDirectory(prefix="halflight-site-") as place:
        folder, report = Path(place) / "site", Path(place) / "report"
        lay_out(site, folder)
        command("evaluate", folder, "--to", report, "--service", client.url, "--no-pictures")
        found = json.loads((report / "evaluation.json").read_text(encoding="utf-8"))
        table = json.loads((report / "thresholds.json").read_text(encoding="utf-8"))
        (camera,) = (one for one in table["cameras"] if one["camera"] == CAMERA)
        # A few masks may have been taken for none, which is another pair.
        (pair,) = (one for one in camera["pairs"] if (one["reference"], one["probe"]) == (VISIBLE, MASKED))
        rows = []
        for point in pair["points"]:
            answers = asked(client, others, camera=CAMERA, fmr=point["fmr"])
            stated = _stated(client, others[0], point["fmr"])
            rows.append(judged("the bundle's", point["fmr"], stated, len(others), answers))
        command(
            "thresholds", "install", report / "thresholds.json", "--note", "rendered", "--url", client.url
        )
    for point in pair["points"]:
        answers = asked(client, others, camera=CAMERA, fmr=point["fmr"])
        row = judged(f"those of {CAMERA}", point["fmr"], point["fmr_upper"], len(others), answers)
        if row.threshold != point["threshold"]:
            raise ValueError(f"{row.threshold} decides, and {point['threshold']} was installed")
        rows.append(row)
    made_of = "faces rendered with ICT FaceKit, no real person"
    return Measured(made_of, len(site), len(others), seed, tuple(found["coverage"]), tuple(rows))


def _stated(client: ServiceClient, job: Job, fmr: float) -> float:
    """The bound that an answer states."""
    photo = (job.folder / PROBES[0]).read_bytes()
    (result,) = client.ask("/identify", photo, spectrum="nir", camera=CAMERA, fmr=fmr)
    return float(result["calibration"]["fmr_upper"])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("pictures", type=Path, help="keeps the rendered pictures")
    parser.add_argument("--facekit", type=Path, required=True, help="the ICT FaceKit folder")
    parser.add_argument("--people", type=int, default=48, help="who set the thresholds")
    parser.add_argument("--held-out", type=int, default=48, help="who judge them, 100 at most")
    parser.add_argument("--seed", type=int, default=11, help="the next one is that of the held-out people")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a file for the figures (.json)")
    args = parser.parse_args(words)
    if not 10 <= args.held_out <= MOST:
        parser.error(f"between 10 and {MOST} people can be held out")
    groups = [
        rendered(args.pictures / name, args.facekit, subjects=count, seed=seed, workers=args.workers)
        for name, count, seed in (
            ("site", args.people, args.seed),
            ("held-out", args.held_out, args.seed + 1),
        )
    ]
    with served(None) as client:
        found = measure(client, *groups, seed=args.seed)
    said = (
        f"python -m benchmarks.site_thresholds PICTURES --facekit ict_facekit --people {args.people} "
        f"--held-out {args.held_out} --seed {args.seed}"
    )
    write_json(args.out, said, found)
    print(found.table(), end="")


if __name__ == "__main__":
    main()
