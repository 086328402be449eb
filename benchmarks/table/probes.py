"""Probes of every condition, made once into a folder and asked of every bundle.

One file of pixels for each probe, one of facts for each photo, written last: a killed run goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.lfw import png
from benchmarks.table.photos import Subject
from faces.bundle import read
from faces.files import write_whole
from faces.strict import Strict
from faces.types import CONDITIONS, Condition, Spectrum
from training.data.lfw import Photo
from training.engine.worker_pool import worker_pool
from training.networks.onnx_runner import BundleRunner
from training.views.conditions import PHOTO, Studio
from training.views.found_faces import find


class ProbeFile(Strict):
    """`file`: within the folder; None where it could not be made, and `why`. Such a probe is a failure to
    acquire of every bundle alike. `mask`, `generator`: what it was made with."""

    spectrum: Spectrum
    masked: bool
    file: str | None
    why: str | None = None
    mask: str | None = None
    generator: str | None = None

    @property
    def condition(self) -> Condition:
        return Condition(self.spectrum, self.masked)


class PhotoFacts(Strict):
    """Every probe of one photo."""

    source: str
    probes: tuple[ProbeFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """`bundle`: its detector finds the faces that masks are put on; `models`: folder of the face mesh's
    files; `templates`: folder of mask photos, the held-out ones are worn."""

    bundle: Path
    models: Path | None
    templates: Path


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of one subject, ready to be sent."""

    subject: str
    group: str
    source: str
    made: ProbeFile

    @property
    def key(self) -> str:
        return f"{self.subject} {self.source} {self.made.condition}"


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    runner: BundleRunner
    studio: Studio
    out: Path


_PARTS: list[_Parts] = []


def make(subjects: Sequence[Subject], out: Path, tools: Tools, *, workers: int = 2) -> list[Probe]:
    """Probes of all subjects in all conditions, with a progress bar; what is in `out` is left alone.

    Raises BundleError, SynthesisError, OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    read(tools.bundle)
    photos = [photo for one in subjects for photo in one.probes]
    missing = [photo for photo in photos if not _facts(out, photo).is_file()]
    if missing:
        # Errors of a folder belong here, not into a worker that dies of them.
        Studio("held-out", models=tools.models, templates=tools.templates)
        with worker_pool(workers, _open, tools, out) as pool:
            done = pool.map(_work, missing, chunksize=4)
            for _ in track(done, "making probes", len(missing), console=Console(stderr=True)):
                pass
    return [
        Probe(one.name, one.group, photo.name, made)
        for one in subjects
        for photo in one.probes
        for made in PhotoFacts.model_validate_json(_facts(out, photo).read_bytes()).probes
    ]


def _open(tools: Tools, out: Path) -> None:
    """In each worker process, once."""
    studio = Studio("held-out", models=tools.models, templates=tools.templates)
    _PARTS.append(_Parts(BundleRunner(read(tools.bundle), threads=1), studio, out))


def _stem(photo: Photo) -> str:
    """By name and content: another photo under the same name is another probe."""
    return hashlib.sha256(photo.name.encode() + b"\0" + photo.data).hexdigest()[:20]


def _facts(out: Path, photo: Photo) -> Path:
    return out / f"{_stem(photo)}.json"


def _work(photo: Photo) -> None:
    parts = _PARTS[0]
    found = find(photo, parts.runner)
    views = {} if found is None else parts.studio.views(found, photo.name)
    why = "no face found" if found is None else "no mesh fits the face"
    made = []
    for condition in CONDITIONS:
        view = views.get(condition)
        state = {"spectrum": condition.spectrum, "masked": condition.masked}
        name = f"{_stem(photo)}-{condition}.bin"
        if condition == PHOTO:
            # As it is: a bundle may find a face where this one's detector found none.
            write_whole(parts.out / name, photo.data)
            made.append(ProbeFile(file=name, **state))
        elif view is None:
            made.append(ProbeFile(file=None, why=why, **state))
        else:
            write_whole(parts.out / name, png(view.image.pixels))
            made.append(ProbeFile(file=name, mask=view.mask, generator=view.generator, **state))
    facts = PhotoFacts(source=photo.name, probes=tuple(made))
    write_whole(_facts(parts.out, photo), facts.model_dump_json().encode())
