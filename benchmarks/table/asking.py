"""A service on one bundle, and what it answers to every probe: kept in a file, so that a killed run goes on.

Enrolment is `POST /enroll`, every probe one `POST /identify` with the largest `top_k` and `fmr` at the
point that is judged. The hundred best of some hundred subjects hold every score that a threshold near
FMR .1 % can accept, so TAR and FMR from them are exact; where they are not, `Answer.floor` shows it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import track

from benchmarks.backfill import Served
from benchmarks.served import SENDERS
from benchmarks.served import Probe as Client
from benchmarks.table.photos import Subject
from benchmarks.table.probes import Probe
from faces.bundle import MANIFEST_NAME, Bundle
from service.settings import Settings

TOP_K = 100


class Answer(BaseModel):
    """What the service said of one probe. `found` False: no face, the other fields say nothing.

    `scores`: of the best subjects; `threshold`: that of the condition it was taken for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    found: bool
    masked: bool = False
    nir: bool = False
    threshold: float = 0.0
    scores: dict[str, float] = {}

    @property
    def floor(self) -> float:
        """No subject that is not listed scores more; -1 where all are listed."""
        return min(self.scores.values()) if len(self.scores) >= TOP_K else -1.0


@dataclass(frozen=True, slots=True)
class Said:
    """Answers by key, and the subjects that could not be enrolled."""

    answers: dict[str, Answer]
    not_enrolled: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Who is enrolled before these probes are asked; what earlier rounds enrolled stays."""

    name: str
    enrol: Sequence[Subject]
    probes: Sequence[Probe]
    photos: Sequence[Path] = ()


def ask(bundle: Bundle, rounds: Sequence[Round], *, probes: Path, kept: Path, fmr: float) -> Said:
    """Every round, in order. `kept`: folder of answers; those of this bundle and gallery are used again.

    Raises httpx.HTTPError, and AssertionError where the service does not start.
    """
    kept.mkdir(parents=True, exist_ok=True)
    answers: dict[str, Answer] = {}
    refused: set[str] = set()
    enrolled: list[Subject] = []
    with tempfile.TemporaryDirectory(prefix="halflight-table-") as place:
        service = Served(Settings(data_dir=Path(place), bundle_dir=bundle.root))
        try:
            client = Client(service.url, None)
            for one in rounds:
                refused |= _enrol(client, one)
                enrolled += one.enrol
                file = kept / f"{bundle.manifest.name}-{_digest(bundle, enrolled, fmr)}.jsonl"
                answers |= _asked(client, one, probes, file, fmr)
        finally:
            service.stop()
    return Said(answers, frozenset(refused))


def _digest(bundle: Bundle, enrolled: Sequence[Subject], fmr: float) -> str:
    """Of everything that an answer depends on, but the probe."""
    digest = hashlib.sha256((bundle.root / MANIFEST_NAME).read_bytes() + f"{fmr:g} {TOP_K}".encode())
    for one in enrolled:
        digest.update(f"{one.name} {one.reference.name}\n".encode())
    return digest.hexdigest()[:16]


def _enrol(client: Client, one: Round) -> set[str]:
    """The subjects that were refused."""

    def call(subject: Subject) -> bool:
        return client.enrol(subject.name, subject.reference.data)

    with ThreadPoolExecutor(SENDERS) as pool:
        done = pool.map(call, one.enrol)
        bar = track(done, f"enrolling {one.name}", len(one.enrol), console=Console(stderr=True))
        return {subject.name for subject, taken in zip(one.enrol, bar, strict=True) if not taken}


def _asked(client: Client, one: Round, folder: Path, file: Path, fmr: float) -> dict[str, Answer]:
    known = _kept(file)
    wanted = {p.key: folder / p.made.file for p in one.probes if p.made.file is not None}
    wanted |= {path.name: path for path in one.photos}
    left = [key for key in wanted if key not in known]

    def call(key: str) -> Answer:
        return _answer(key, client.ask("/identify", wanted[key].read_bytes(), top_k=TOP_K, fmr=fmr))

    with file.open("a", encoding="utf-8") as stream, ThreadPoolExecutor(SENDERS) as pool:
        done = pool.map(call, left)
        for answer in track(done, f"asking {one.name}", len(left), console=Console(stderr=True)):
            stream.write(answer.model_dump_json() + "\n")
            stream.flush()
            known[answer.key] = answer
    return {key: known[key] for key in wanted}


def _kept(file: Path) -> dict[str, Answer]:
    """What an earlier run was answered; a line that was cut short is asked again."""
    if not file.is_file():
        return {}
    lines = file.read_bytes().split(b"\n")
    whole = [Answer.model_validate_json(line) for line in lines[:-1]]
    if lines[-1]:
        file.write_bytes(b"".join(line + b"\n" for line in lines[:-1]))
    return {answer.key: answer for answer in whole}


def _answer(key: str, results: list[dict[str, object]]) -> Answer:
    if not results:
        return Answer(key=key, found=False)
    told = _Result.model_validate(results[0])
    return Answer(
        key=key,
        found=True,
        masked=told.condition.masked,
        nir=told.condition.spectrum == "nir",
        threshold=told.threshold,
        scores={one.subject_id: one.score for one in told.candidates},
    )


class _Condition(BaseModel):
    spectrum: str
    masked: bool


class _Candidate(BaseModel):
    subject_id: str
    score: float


class _Result(BaseModel):
    """The part of the answer that counts here."""

    condition: _Condition
    threshold: float
    candidates: list[_Candidate]
