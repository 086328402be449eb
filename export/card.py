"""Writes the model card: what is stated about a network, and what was measured; nothing else."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError

from export.graph import ExportError
from export.parity import Parity
from faces.bundle import Manifest
from faces.files import write_whole
from faces.strict import Strict, strip_prefix

CARD_NAME = "MODEL_CARD.md"
TEMPLATE = "MODEL_CARD.md.j2"
THRESHOLDS = "THRESHOLDS.md.j2"
LIVENESS = "LIVENESS.md.j2"
NOT_STATED = "Not stated by whoever exported it."


class About(Strict):
    """Statements about a network, from a TOML file of these keys, all optional, all plain text.

    `licence`: of the embedding network's weights.
    """

    summary: str = NOT_STATED
    licence: str = NOT_STATED
    data: str = NOT_STATED
    method: str = NOT_STATED
    intended_use: str = NOT_STATED
    limits: str = NOT_STATED


@dataclass(frozen=True, slots=True)
class Measured:
    """One condition of an evaluation report; `rank1`, `tar`: percent with intervals, as text."""

    condition: str
    probes: int
    subjects: int
    rank1: str
    tar: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The measurements in a `report.json` of `python -m training evaluate`."""

    encoder: str
    data: str
    command: str
    date: str
    synthetic: tuple[str, ...]
    conditions: tuple[Measured, ...]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One row of the table of files. `ms_per_crop`: of one CPU thread."""

    name: str
    variant: str
    bytes: int
    minimum_cosine: float
    mean_cosine: float
    ms_per_crop: float
    served: bool


def read_about(path: Path) -> About:
    """Reads the statements. Raises ExportError, which names the key that is wrong."""
    try:
        return About.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ExportError(f"{path.name}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ExportError(
            f"{path.name}: {'.'.join(map(str, first['loc']))}: {strip_prefix(first['msg'])}"
        ) from error
    except ValueError as error:
        raise ExportError(f"{path.name}: {error}") from error


def read_report(path: Path) -> Report:
    """Reads a report. Raises ExportError if it is none of `python -m training evaluate`."""
    try:
        facts = json.loads(path.read_bytes())
        return Report(
            encoder=facts["encoder"],
            data=f"{facts['set_name']}, {facts['split']} split",
            command=facts["command"],
            date=facts["date"],
            synthetic=tuple(facts["synthetic"]),
            conditions=tuple(_measured(one) for one in facts["conditions"]),
        )
    except OSError as error:
        raise ExportError(f"{path.name}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{path.name} is no report.json of `python -m training evaluate`") from error


def _measured(one: Any) -> Measured:
    figures = one["figures"]
    gallery = ", masked references" if one["gallery_masked"] else ""
    return Measured(
        condition=f"{one['condition']}{gallery}",
        probes=figures["probes"],
        subjects=figures["subjects"],
        rank1=_interval(figures["rank1"]),
        tar=tuple(f"{_interval(v['tar'])} at {v['fmr']:g}" for v in figures["verification"]),
    )


def _interval(rate: Any) -> str:
    return f"{100 * rate['value']:.1f} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def write_card(
    path: Path,
    manifest: Manifest,
    about: About,
    *,
    files: Sequence[FileFacts],
    parity: Sequence[Parity],
    reports: Sequence[Report],
    command: str,
    notes: Sequence[str],
) -> None:
    """Writes the card in Markdown. `notes`: remarks on the export, such as a lowered bound."""
    text = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            m=manifest,
            about=about,
            files=files,
            parity=parity,
            reports=reports,
            command=command,
            notes=notes,
        )
    )
    path.write_text(text, encoding="utf-8")


def replace_thresholds(path: Path, manifest: Manifest) -> None:
    """Writes the card's section on thresholds anew. Raises ExportError if the card has none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{path.name}: {error.strerror}") from error
    before, found, rest = text.partition("## Thresholds\n")
    _, after, behind = rest.partition("\n## ")
    if not found or not after:
        raise ExportError(f"{path.name} has no section on thresholds")
    section = _environment().get_template(THRESHOLDS).render(m=manifest)
    write_whole(path, f"{before}{section.rstrip()}\n{after}{behind}".encode())


def renew_card(path: Path, manifest: Manifest) -> None:
    """Writes title, thresholds and licences of a card anew. Raises ExportError if it lacks one of them."""
    replace_thresholds(path, manifest)
    _, newline, text = path.read_text(encoding="utf-8").partition("\n")
    before, found, rest = text.partition("## Licences\n")
    if not newline or not found:
        raise ExportError(f"{path.name} has no section on licences")
    _, after, behind = rest.partition("\n## ")
    rows = "".join(f"| `{name}` | {licence} |\n" for name, licence in manifest.licences.items())
    table = f"\n| file | licence |\n|---|---|\n{rows}"
    whole = f"# {manifest.name} {manifest.version}\n{before}{found}{table}{after}{behind}"
    write_whole(path, whole.encode())


def replace_liveness(path: Path, manifest: Manifest) -> None:
    """Writes the card's section on liveness anew, before the thresholds in a card that has none yet.

    Raises ExportError if the card has no section on thresholds either.
    """
    head, found, tail = path.read_text(encoding="utf-8").partition("## Thresholds\n")
    if not found:
        raise ExportError(f"{path.name} has no section on thresholds")
    before, _, _ = head.partition("## Liveness\n")
    section = _environment().get_template(LIVENESS).render(m=manifest)
    write_whole(path, f"{before}{section.rstrip()}\n\n{found}{tail}".encode())


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("export", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, read by people
    )
