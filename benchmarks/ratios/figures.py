"""The form in which every part of `make bench` states its figures, in a file and in a table."""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

FORMAT = 1
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
HEAD = "| what | this | beside it | ratio | aim | |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: what was measured, how much, and of what."""

    name: str
    value: float
    unit: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"{self.name} is no figure: {self.value}")

    def __str__(self) -> str:
        return f"{shown(self.value)} {self.unit} ({self.name})"


@dataclass(frozen=True, slots=True)
class Aim:
    """What the project wants: `of` the ratio or of `this` side, `least` or `most` so much."""

    of: Literal["ratio", "this"]
    bound: Literal["least", "most"]
    value: float

    def __str__(self) -> str:
        figure = "" if self.of == "ratio" else " (this)"
        return f"{'≥' if self.bound == 'least' else '≤'} {shown(self.value)}{figure}"


@dataclass(frozen=True, slots=True)
class Figure:
    """Two sides that one run measured in turn, and their ratio.

    `way`: `this/other`, or `other/this` where less of the unit is better and the ratio says how many times
    better this side is. Raises ValueError if the side that is divided by is zero.
    """

    what: str
    this: Side
    other: Side
    way: Literal["this/other", "other/this"]
    aim: Aim | None = None

    def __post_init__(self) -> None:
        if (self.other if self.way == "this/other" else self.this).value == 0:
            raise ValueError(f"{self.what}: nothing can be divided by zero")

    @property
    def ratio(self) -> float:
        this, other = self.this.value, self.other.value
        return this / other if self.way == "this/other" else other / this

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None where there is none."""
        if self.aim is None:
            return None
        value = self.ratio if self.aim.of == "ratio" else self.this.value
        return value >= self.aim.value if self.aim.bound == "least" else value <= self.aim.value

    def row(self) -> str:
        met = {None: "", True: "reached", False: "**missed**"}[self.met]
        ratio = f"{shown(self.ratio)} ({self.way})"
        return f"| {self.what} | {self.this} | {self.other} | {ratio} | {self.aim or ''} | {met} |"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "met": self.met}

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Figure:
        """Raises KeyError, TypeError, ValueError if `found` is no figure, or its ratio is not its sides'."""
        aim = None if found["aim"] is None else Aim(**found["aim"])
        made = cls(found["what"], Side(**found["this"]), Side(**found["other"]), found["way"], aim)
        if (made.ratio, made.met) != (found["ratio"], found["met"]):
            raise ValueError(f"{made.what}: the ratio is not that of its sides")
        return made


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when a part ran. `load_before`, `load_after`: load averages of the last minute."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    began: str
    load_before: float
    load_after: float

    def __str__(self) -> str:
        return (
            f"{self.began[:16].replace('T', ' ')} UTC, {self.processor}, {self.cores} hyperthreads,"
            f" {self.memory_gb:.0f} GB, {self.system}; load average {self.load_before:.1f} before and"
            f" {self.load_after:.1f} after"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of the run found. `size`: `full` or `toy`; `how`: what to know beside the rows."""

    name: str
    size: str
    how: str
    machine: Machine
    figures: tuple[Figure, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "how": self.how,
            "machine": asdict(self.machine),
            "figures": [figure.as_json() for figure in self.figures],
        }

    @classmethod
    def of(cls, name: str, found: Mapping[str, Any]) -> Part:
        """Raises KeyError, TypeError, ValueError if `found` is no part."""
        figures = tuple(Figure.of(one) for one in found["figures"])
        return cls(name, found["size"], found["how"], Machine(**found["machine"]), figures)

    def table(self) -> str:
        rows = "\n".join(figure.row() for figure in self.figures)
        toy = "**Toy size: no figure of anything.** " if self.size != "full" else ""
        return f"### make bench: {self.name}\n\n{toy}{self.how} {self.machine}.\n\n{HEAD}\n{rows}\n"


def shown(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def here(began: datetime, load_before: float) -> Machine:
    """The machine that this process runs on; the part ends now."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}"
    name = found[1].strip() if found else platform.machine()
    at = began.astimezone(UTC).isoformat(timespec="seconds")
    return Machine(name, os.cpu_count() or 1, memory, system, at, load_before, os.getloadavg()[0])


def read_parts(file: Path) -> dict[str, Part]:
    """The parts of earlier runs; none where there is no file. Raises ValueError if it is another file."""
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"{file.name} has format {found['format']}, not {FORMAT}")
        return {name: Part.of(name, part) for name, part in found["parts"].items()}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file.name} holds no figures of `make bench`") from error


def write_parts(parts: Sequence[Part], file: Path) -> None:
    found = {"format": FORMAT, "parts": {part.name: part.as_json() for part in parts}}
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tables(parts: Sequence[Part], page: Path) -> None:
    """Puts the tables between the two marks of a page. Raises ValueError if it has not each once."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page.name} does not have the marks {BEGIN} and {END} once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    tables = "\n".join(part.table() for part in parts)
    page.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")
