"""Asks a service on one bundle about every probe, and keeps the answers, so that a killed run can continue.

Enrolment is `POST /enroll`, every probe one `POST /identify` with the largest `top_k` and `fmr` at the
point that is judged. The hundred best of some hundred subjects contain every score that a threshold near
FMR .1 % can accept, so TAR and FMR from them are exact; if they are not, `Answer.floor` shows it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel
from rich.console import Console
from rich.progress import track

from benchmarks.backfill import Served
from benchmarks.client import SENDERS, ServiceClient
from benchmarks.table.photos import Subject
from benchmarks.table.probes import Probe
from faces.bundle import MANIFEST_NAME, Bundle
from faces.files import write_whole
from faces.strict import Strict
from service.settings import Settings

TOP_K = 100
T = TypeVar("T")


class Answer(Strict):
    """The service's answer to one probe. `found` False: no face, and the other fields mean nothing.

    `scores`: of the best subjects; `threshold`: of the condition that the service took the probe for.
    """

    key: str
    found: bool
    masked: bool = False
    nir: bool = False
    threshold: float = 0.0
    scores: dict[str, float] = {}

    @property
    def floor(self) -> float:
        """No subject that is not listed scores more than this; -1 if all are listed."""
        return min(self.scores.values()) if len(self.scores) >= TOP_K else -1.0


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers by the key of their probe, and the subjects that could not be enrolled."""

    by_key: dict[str, Answer]
    not_enrolled: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Subjects to enrol and probes to ask then; what earlier rounds enrolled stays."""

    name: str
    enrol: Sequence[Subject]
    probes: Sequence[Probe]
    photos: Sequence[Path] = ()


def ask(bundle: Bundle, rounds: Sequence[Round], *, probes: Path, kept: Path, fmr: float) -> Answers:
    """Runs every round, in order, and returns all answers.

    `kept`: folder of answers. Answers of this bundle and gallery are used again, so remove the folder after a
    change of the service itself. Raises httpx.HTTPError, and AssertionError if the service does not start.
    """
    kept.mkdir(parents=True, exist_ok=True)
    files = [
        _AnswerFile(one, probes, kept / f"{bundle.manifest.name}-{_digest(bundle, rounds[: i + 1], fmr)}")
        for i, one in enumerate(rounds)
    ]
    if not all(file.whole for file in files):
        with tempfile.TemporaryDirectory(prefix="halflight-table-") as place:
            service = Served(Settings(data_dir=Path(place), bundle_dir=bundle.root))
            client = ServiceClient(service.url, None)
            try:
                for file in files:
                    file.enrol(client)
                    file.ask(client, fmr)
            finally:
                client.close()
                service.stop()
    answers = {key: answer for file in files for key, answer in file.answers().items()}
    return Answers(answers, frozenset(name for file in files for name in file.refused()))


def _digest(bundle: Bundle, rounds: Sequence[Round], fmr: float) -> str:
    """Returns a digest of everything but the probe that an answer depends on."""
    digest = hashlib.sha256((bundle.root / MANIFEST_NAME).read_bytes() + f"{fmr:g} {TOP_K}".encode())
    for one in (subject for earlier in rounds for subject in earlier.enrol):
        digest.update(f"{one.name} {one.reference.name}\n".encode())
    return digest.hexdigest()[:16]


class _AnswerFile:
    """One round's answers on disk: a line for each, and the subjects that were refused."""

    def __init__(self, of: Round, folder: Path, stem: Path) -> None:
        self._round = of
        self._lines = stem.with_name(stem.name + ".jsonl")
        self._refused = stem.with_name(stem.name + ".refused.json")
        self._wanted = {p.key: folder / p.made.file for p in of.probes if p.made.file is not None}
        self._wanted |= {path.name: path for path in of.photos}
        self._known = _kept(self._lines)

    @property
    def whole(self) -> bool:
        return self._refused.is_file() and set(self._wanted) <= set(self._known)

    def refused(self) -> list[str]:
        found: list[str] = json.loads(self._refused.read_bytes())
        return found

    def answers(self) -> dict[str, Answer]:
        return {key: self._known[key] for key in self._wanted}

    def enrol(self, client: ServiceClient) -> None:
        """Enrols all subjects, also in a run that continues: its service is a new one."""

        def call(subject: Subject) -> bool:
            return client.enrol(subject.name, subject.reference.data)

        people = self._round.enrol
        with ThreadPoolExecutor(SENDERS) as pool:
            taken = list(_with_progress(pool.map(call, people), f"enrolling {self._round.name}", len(people)))
        refused = [subject.name for subject, one in zip(people, taken, strict=True) if not one]
        write_whole(self._refused, json.dumps(refused).encode())

    def ask(self, client: ServiceClient, fmr: float) -> None:
        """Asks the probes without an answer."""
        left = [key for key in self._wanted if key not in self._known]

        def call(key: str) -> Answer:
            image = self._wanted[key].read_bytes()
            return _answer(key, client.ask("/identify", image, top_k=TOP_K, fmr=fmr))

        with self._lines.open("a", encoding="utf-8") as stream, ThreadPoolExecutor(SENDERS) as pool:
            for answer in _with_progress(pool.map(call, left), f"asking {self._round.name}", len(left)):
                stream.write(answer.model_dump_json() + "\n")
                stream.flush()
                self._known[answer.key] = answer


def _with_progress(calls: Iterable[T], what: str, total: int) -> Iterable[T]:
    return track(calls, what, total, console=Console(stderr=True))


def _kept(file: Path) -> dict[str, Answer]:
    """Reads the answers of an earlier run; removes a line that was cut short, so that it is asked again."""
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
    """The fields of the service's answer that are used."""

    condition: _Condition
    threshold: float
    candidates: list[_Candidate]
