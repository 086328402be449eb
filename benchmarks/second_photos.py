"""Honest people in a large gallery: a bulk run, second photos, and a stranger's photo for each subject.

    python -m benchmarks.second_photos ../shared/data/lfw.tar --out second-photos.json

Starts a service with the built-in bundle and enrols LFW people with one photo each, the duplicate check on
as it is by default: test people, and validation people where those do not suffice. Then it enrols a second
photo of some test people, and the second photo of somebody else under each of them, who is in the gallery
too: once as by default, and once with `duplicates=ignore`, where the subject's own templates alone tell. A
sample that is stored is erased again, so that each photo meets the gallery of the bulk run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import ServiceClient, send
from benchmarks.enrolment import counted, served, write_json
from training.data.lfw import Identity, Split, read_lfw, split_of
from training.detector.report import markdown_table

# What says that a photo is another person's.
OTHER_PERSON = ("duplicate_face", "subject_mismatch")


@dataclass(frozen=True, slots=True)
class Trial:
    """One photo sent under `subject`. `code`: of the refusal, None if it was stored."""

    subject: str
    photo: str
    code: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """Photos that were sent in one way, and those whose subject the bulk run had refused."""

    name: str
    trials: tuple[Trial, ...]
    not_enrolled: int = 0

    def count(self, *codes: str | None) -> int:
        return sum(one.code in codes for one in self.trials)

    @property
    def row(self) -> tuple[str, ...]:
        others = [one.code for one in self.trials if one.code not in (None, *OTHER_PERSON)]
        return (
            self.name,
            str(len(self.trials)),
            str(self.count(None)),
            *(str(self.count(code)) for code in OTHER_PERSON),
            counted(code for code in others if code is not None),
            str(self.not_enrolled),
        )


@dataclass(frozen=True, slots=True)
class SecondPhotos:
    steps: tuple[Step, ...]

    def table(self) -> str:
        codes = [f"`{code}`" for code in OTHER_PERSON]
        head = ("photos", "sent", "stored", *codes, "otherwise refused", "left out: not enrolled")
        return markdown_table(head, [step.row for step in self.steps])


def bulk(client: ServiceClient, people: Sequence[Identity]) -> Step:
    """Enrols the first photo of everybody."""

    def enrol(one: Identity) -> Trial:
        photo = one.photos[0]
        return Trial(one.name, photo.name, client.enrolment(one.name, photo.data).code)

    return Step("bulk run, one photo of each", tuple(send("bulk run", enrol, people)))


def add(
    client: ServiceClient,
    name: str,
    pairs: Sequence[tuple[Identity, Identity]],
    enrolled: frozenset[str],
    **form: str,
) -> Step:
    """Sends the second photo of the second of a pair under the first, if that is enrolled."""

    def enrol(pair: tuple[Identity, Identity]) -> Trial:
        subject, shown = pair[0].name, pair[1].photos[1]
        answer = client.enrolment(subject, shown.data, **form)
        if answer.sample is not None:
            client.erase_sample(subject, answer.sample["sample_id"])
        return Trial(subject, shown.name, answer.code)

    asked = [pair for pair in pairs if pair[0].name in enrolled]
    return Step(name, tuple(send(name, enrol, asked)), len(pairs) - len(asked))


def measure(client: ServiceClient, people: Sequence[Identity], *, seconds: int) -> SecondPhotos:
    """Runs all steps; `seconds`: so many of the people with two photos or more get a second one."""
    first = bulk(client, people)
    enrolled = frozenset(one.subject for one in first.trials if one.code is None)
    chosen = [one for one in people if len(one.photos) > 1 and split_of(one.name) is Split.TEST][:seconds]
    own = [(one, one) for one in chosen]
    strangers = list(zip(chosen, [*chosen[1:], *chosen[:1]], strict=True))
    return SecondPhotos(
        (
            first,
            add(client, "second photos", own, enrolled),
            add(client, "a stranger's photo", strangers, enrolled),
            add(client, "a stranger's photo, `duplicates=ignore`", strangers, enrolled, duplicates="ignore"),
        )
    )


def chosen_people(tar: Path, count: int) -> list[Identity]:
    """Reads test people, then validation people. Raises OSError, ValueError if there are fewer."""
    found = read_lfw(tar, frozenset({Split.TEST, Split.VALIDATION}))
    ordered = sorted(found, key=lambda one: split_of(one.name) is not Split.TEST)
    if len(ordered) < count:
        raise ValueError(f"{tar.name} has {len(ordered)} people of these splits, not {count}")
    return ordered[:count]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("tar", type=Path, help="lfw.tar")
    parser.add_argument("--bundle", type=Path, help="another bundle than the built-in one")
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--seconds", type=int, default=298, help="people with a second photo")
    parser.add_argument("--out", type=Path, help="a file for the figures (.json)")
    args = parser.parse_args(words)
    people = chosen_people(args.tar, args.people)
    with served(args.bundle) as client:
        found = measure(client, people, seconds=args.seconds)
    command = f"python -m benchmarks.second_photos lfw.tar --people {args.people} --seconds {args.seconds}"
    write_json(args.out, command, found)
    print(found.table(), end="")


if __name__ == "__main__":
    main()
