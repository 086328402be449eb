"""Described photos with templates of made-up people: a person is a direction, a photo lies near it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faces.types import CONDITIONS, Condition, Role
from service.evaluation.described import Described, Reason, Template
from service.evaluation.labelled import LabelledPhoto

D = 24
VIS, _, NIR, NIR_MASKED = CONDITIONS


@dataclass
class People:
    """`noise`: how far a photo lies from its person; `likeness`: how much all people have in common."""

    count: int
    noise: float = 0.35
    likeness: float = 0.5
    seed: int = 0
    first: int = 0
    made: list[Described] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        common = np.random.default_rng(99).standard_normal(D)
        self._people = self._rng.standard_normal((self.count, D)) + self.likeness * common

    def add(
        self,
        role: Role,
        condition: Condition,
        *,
        each: int = 1,
        camera: str | None = None,
        people: Sequence[int] | None = None,
    ) -> People:
        for person in range(self.count) if people is None else people:
            for _ in range(each):
                vector = self._people[person] + self.noise * self._rng.standard_normal(D)
                unit = (vector / np.linalg.norm(vector)).astype(np.float32)
                self._add(person, role, camera, Template(unit, condition, "masked", 80, (), (0, 0, 9, 9)))
        return self

    def lose(self, role: Role, person: int, code: str = "no_face", camera: str | None = None) -> People:
        self._add(person, role, camera, Reason(code, "made up"))
        return self

    def _add(self, person: int, role: Role, camera: str | None, found: Template | Reason) -> None:
        number = len(self.made)
        photo = LabelledPhoto(
            subject=f"p{self.first + person:03}",
            path=Path(f"{number}.png"),
            name=f"p{self.first + person:03}/{role.value}s/{number}.png",
            role=role,
            camera=camera,
        )
        self.made.append(Described(photo, f"digest-{self.first}-{number}", found))


def usual(count: int = 40, *, seed: int = 0, camera: str | None = None, each: int = 4) -> list[Described]:
    """A clear reference and some masked NIR probes of everybody."""
    people = People(count, seed=seed)
    return people.add(Role.REFERENCE, VIS).add(Role.PROBE, NIR_MASKED, each=each, camera=camera).made
