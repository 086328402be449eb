"""Makes probes of every condition, once, in a folder; every bundle is asked about the same.

Each probe is a file of pixels. Each photo has a file of facts, which is written last, so that a killed run
can continue.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.lfw import png
from benchmarks.table.photos import Subject
from faces.bundle import read
from faces.files import write_whole
from faces.strict import Strict
from faces.types import CONDITIONS, Condition, Spectrum
from training.data.lfw import Photo
from training.views.conditions import PHOTO
from training.views.found_faces import find_face
from training.views.set_builder import ViewAssets, ViewTools, run_jobs


class ProbeFile(Strict):
    """One probe.

    `file`: within the folder, None if it could not be made, and `why`; such a probe is a failure to acquire
    for every bundle. `mask`, `generator`: what it was made with.
    """

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


@dataclass(frozen=True, slots=True)
class ProbeJob:
    """One photo, in its condition as it is; its probes and their facts are written to `out`."""

    photo: Photo
    out: Path
    shown: Condition = PHOTO

    @property
    def facts(self) -> Path:
        """The file that is written last."""
        return self.out / f"{self._stem}.json"

    @property
    def _stem(self) -> str:
        """By name and content: another photo under the same name is another probe."""
        return hashlib.sha256(self.photo.name.encode() + b"\0" + self.photo.data).hexdigest()[:20]

    def run(self, tools: ViewTools) -> None:
        """Writes the photo as it is; of a photo without a mask all conditions, of a visible one with a mask
        pseudo-NIR."""
        made = self._in_all(tools) if self.shown == PHOTO else self._worn(tools)
        facts = PhotoFacts(source=self.photo.name, probes=tuple(made))
        write_whole(self.facts, facts.model_dump_json().encode())

    def _worn(self, tools: ViewTools) -> list[ProbeFile]:
        name = f"{self._stem}-{self.shown}.bin"
        write_whole(self.out / name, self.photo.data)
        made = [ProbeFile(spectrum=self.shown.spectrum, masked=self.shown.masked, file=name)]
        if self.shown.spectrum is Spectrum.VIS:
            maker, found = tools.maker("held-out"), find_face(self.photo, tools.detector)
            mesh = None if found is None else maker.fit(found)
            if found is None or mesh is None:
                made.append(ProbeFile(spectrum=Spectrum.NIR, masked=True, file=None, why="no face or mesh"))
            else:
                rng = np.random.default_rng(zlib.crc32(self.photo.name.encode()))
                view = maker.view(found.image, mesh, Condition(Spectrum.NIR, masked=False), rng)
                name = f"{self._stem}-nir.bin"
                write_whole(self.out / name, png(view.image.pixels))
                made.append(
                    ProbeFile(spectrum=Spectrum.NIR, masked=True, file=name, generator=view.generator)
                )
        return made

    def _in_all(self, tools: ViewTools) -> list[ProbeFile]:
        found = find_face(self.photo, tools.detector)
        views = {} if found is None else tools.maker("held-out").views(found, self.photo.name)
        why = "no face found" if found is None else "no mesh fits the face"
        made = []
        for condition in CONDITIONS:
            view = views.get(condition)
            state = {"spectrum": condition.spectrum, "masked": condition.masked}
            name = f"{self._stem}-{condition}.bin"
            if condition == PHOTO:
                # As it is: a bundle may find a face where this one's detector found none.
                write_whole(self.out / name, self.photo.data)
                made.append(ProbeFile(file=name, **state))
            elif view is None:
                made.append(ProbeFile(file=None, why=why, **state))
            else:
                write_whole(self.out / name, png(view.image.pixels))
                made.append(ProbeFile(file=name, mask=view.mask, generator=view.generator, **state))
        return made


def make(subjects: Sequence[Subject], out: Path, assets: ViewAssets, *, workers: int = 2) -> list[Probe]:
    """Makes the probes of all subjects in all conditions, with a progress bar; keeps what is in `out`.

    Raises BundleError, SynthesisError or OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    read(assets.bundle)
    jobs = {photo: ProbeJob(photo, out, one.shown) for one in subjects for photo in one.probes}
    missing = [job for job in jobs.values() if not job.facts.is_file()]
    if missing:
        for _ in run_jobs(
            missing,
            assets,
            families=("held-out",),
            workers=workers,
            label="making probes",
            console=Console(stderr=True),
        ):
            pass
    return [
        Probe(one.name, one.group, photo.name, made)
        for one in subjects
        for photo in one.probes
        for made in PhotoFacts.model_validate_json(jobs[photo].facts.read_bytes()).probes
    ]
