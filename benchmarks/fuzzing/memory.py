"""Remembers which ids the answers of a run gave, and what its successful requests took away.

Schemathesis follows links: it takes an id from one answer and asks for it in the next request. Such an id
must stay as it is. And it takes a 404 for a fault of the service unless it saw a DELETE of the same path: of
a sample that went with its subject, by another path, it does not know.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.errors import InvalidParameter
from service.subjects.free_names import free_name

# Fields of answers that a path can name.
NAMES = frozenset(
    {
        *("subject_id", "subject", "sample_id", "image_id", "space_id", "job_id", "dataset_id", "key_id"),
        *("event_id", "unknown_id", "version", "door", "watcher"),
    }
)
LISTS = {"subjects": "subject", "event_ids": "event_id"}


def key_of(value: object) -> str:
    """An id as text. A name of CompreFace's becomes the id of the subject that it stands for."""
    text = str(value)
    try:
        return free_name(text).subject_id
    except InvalidParameter:
        return text


def ids_of(answer: object) -> Iterator[str]:
    """Every id that an answer in JSON gives."""
    if isinstance(answer, list):
        for each in answer:
            yield from ids_of(each)
    elif isinstance(answer, dict):
        for name, value in answer.items():
            if name in LISTS and isinstance(value, list):
                yield from (key_of(each) for each in value if isinstance(each, str))
            if name in NAMES and isinstance(value, str | int):
                yield key_of(value)
            else:
                yield from ids_of(value)


def samples_of(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Samples, with their subjects, of the answer to an enrolment or of a list of examples."""
    if isinstance(answer.get("image_id"), str) and isinstance(answer.get("subject"), str):
        yield answer["image_id"], key_of(answer["subject"])
    # A merge answers with the number of samples alone.
    samples = answer.get("samples")
    if isinstance(answer.get("subject_id"), str) and isinstance(samples, list):
        for sample in samples:
            if isinstance(sample, dict) and "sample_id" in sample:
                yield sample["sample_id"], key_of(answer["subject_id"])
    for face in answer.get("faces") or ():
        if isinstance(face, dict):
            yield from samples_of(face)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A request that was answered with 2xx, and the JSON of the answer. `path`: as the document has it."""

    method: str
    path: str
    parameters: Mapping[str, Any]
    query: Mapping[str, Any]
    body: object
    answer: object


class Memory:
    """What one run knows; several threads may tell it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: set[str] = set()
        self._taken: set[str] = set()
        self._subject_of: dict[str, str] = {}

    def gave(self, value: object) -> bool:
        """Whether an answer of this run gave this id."""
        return key_of(value) in self._given

    def took(self, value: object) -> bool:
        """Whether a successful request of this run took away what has this id, and none gave it again."""
        return key_of(value) in self._taken

    def note(self, done: Done) -> None:
        """Takes note of a successful request."""
        if not isinstance(done.answer, dict):
            return
        with self._lock:
            if done.method != "DELETE":
                given = set(ids_of(done.answer))
                self._given |= given
                if done.method != "GET":
                    self._taken -= given
                self._subject_of |= samples_of(done.answer)
            self._taken.update(self._gone(done, done.answer))

    def _gone(self, done: Done, answer: Mapping[str, Any]) -> list[str]:
        """What the request took away, or gave another name."""
        last = done.path.rpartition("/")[2]
        if done.method == "DELETE":
            if last.startswith("{"):
                return self._with_samples(key_of(done.parameters[last[1:-1]]))
            # CompreFace's DELETE of the examples of one subject.
            return self._samples(key_of(done.query["subject"])) if "subject" in done.query else []
        if done.path.endswith("/subjects/delete"):
            receipts = [key_of(each["subject_id"]) for each in answer.get("receipts", ())]
            return [one for subject_id in receipts for one in self._with_samples(subject_id)]
        if done.path.endswith("/merge"):
            return self._renamed(key_of(answer["merged"]), key_of(answer["subject_id"]))
        if (done.method, last) == ("PATCH", "{subject_id}"):
            return self._renamed(key_of(done.parameters["subject_id"]), key_of(answer["subject_id"]))
        if (done.method, last) == ("PUT", "{subject}") and isinstance(done.body, dict):
            new = key_of(done.body.get("subject"))
            self._taken.discard(new)
            return self._renamed(key_of(done.parameters["subject"]), new)
        return []

    def _samples(self, subject_id: str) -> list[str]:
        return [sample for sample, owner in self._subject_of.items() if owner == subject_id]

    def _with_samples(self, gone: str) -> list[str]:
        return [gone, *self._samples(gone)]

    def _renamed(self, old: str, new: str) -> list[str]:
        """The samples stay, and are another subject's."""
        if old == new:
            return []
        for sample in self._samples(old):
            self._subject_of[sample] = new
        return [old]
