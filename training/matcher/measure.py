"""Measures systems of one or two networks on the probe sets, alone and fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels, Spectrum
from training.data.prepared import PreparedSet
from training.matcher.figures import Figures, Outcomes, outcomes
from training.networks.teacher import cached

Floats = NDArray[np.float32]
Embed = Callable[[Pixels], Floats]


@dataclass(frozen=True, slots=True)
class System:
    """`reference`, `clear`, `probe`: names of networks for references, for visible probes without a mask, and
    for all other probes. `beside`: a second network for everything, with `share` of the squared norm;
    `beside_probe`: another one in its place for those other probes."""

    name: str
    reference: str
    clear: str
    probe: str
    beside: str | None = None
    share: float = 0.0
    beside_probe: str | None = None


def alone(name: str) -> System:
    """One network for everything."""
    return System(name, name, name, name)


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """Unit templates of every crop of a set, by network."""

    prepared: PreparedSet
    of: Mapping[str, Floats]


def embed_set(prepared: PreparedSet, networks: Mapping[str, Embed], folder: Path | None = None) -> Templates:
    """`folder`: keeps each network's templates, so that they are computed once."""
    done: dict[str, Floats] = {}
    for name, embed in networks.items():
        make = partial(_embedded, prepared, embed)
        if folder is None:
            done[name] = make()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            done[name] = cached(folder / f"{prepared.root.name}-{name}.npy", len(prepared.rows), make)
    return Templates(prepared, done)


def _embedded(prepared: PreparedSet, embed: Embed) -> Floats:
    return embed(prepared.crops(range(len(prepared.rows))))


def references(*sets: Templates) -> tuple[Mapping[str, Floats], NDArray[np.str_]]:
    """The gallery of several sets: templates by network, and whose they are."""
    rows = [t.prepared.select(role="gallery", masked=False, spectrum=Spectrum.VIS) for t in sets]
    names = np.array([t.prepared.rows[i].subject for t, part in zip(sets, rows, strict=True) for i in part])
    networks = set.intersection(*(set(t.of) for t in sets))
    of = {n: np.concatenate([t.of[n][part] for t, part in zip(sets, rows, strict=True)]) for n in networks}
    return of, names


def measured(
    system: System, probes: Templates, *galleries: Templates, spectrum: Spectrum, masked: bool
) -> Figures:
    """One condition of a set's probes among the galleries."""
    return judged(system, probes, *galleries, spectrum=spectrum, masked=masked).figures()


def judged(
    system: System, probes: Templates, *galleries: Templates, spectrum: Spectrum, masked: bool
) -> Outcomes:
    """What becomes of each probe of a condition among the galleries."""
    of, owner = references(*galleries)
    prepared = probes.prepared
    rows = prepared.select(role="probe", spectrum=spectrum, masked=masked)
    subject = np.array([prepared.rows[i].subject for i in rows])
    clear = spectrum is Spectrum.VIS and not masked
    name = system.clear if clear else system.probe
    scores = probes.of[name][rows] @ of[system.reference].T
    if system.beside is not None:
        other = system.beside if clear else system.beside_probe or system.beside
        beside = probes.of[other][rows] @ of[system.beside].T
        scores = (1.0 - system.share) * scores + system.share * beside
    failed = [
        r.subject
        for r in prepared.refused
        if r.role == "probe" and r.spectrum is spectrum and r.masked == masked
    ]
    return outcomes(np.asarray(scores, np.float32), subject, owner, failed=np.array(failed, np.str_))
