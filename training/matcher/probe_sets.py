"""Makes prepared sets of validation people: some select a run, the others only show the gap.

`lfw`: validation people of LFW. Everybody's first photo is enrolled; probes are up to two other photos, each
as it is, masked, in pseudo-NIR and masked in pseudo-NIR. `real`: validation people of `real_masks.zip`; their
photos without a mask are enrolled, those with one are probes, as they are and in pseudo-NIR.

One set for each family of generators and masks: select by `training` alone; `held-out` is for reports.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from faces.align import AlignError, align
from faces.bundle import read
from faces.types import CONDITIONS, Condition, Image, Spectrum
from training.data.lfw import Split, read_lfw
from training.data.prepared import PreparedSet, Refused, Role, Row, SetInfo
from training.data.set_writer import SetWriter
from training.matcher.sources import Shot, real_mask_shots
from training.networks.onnx_runner import BundleRunner
from training.views.conditions import PHOTO, Family, View, ViewMaker
from training.views.found_faces import ALIGNMENT, SIDE_PX, FoundFace, find_face

PROBES = 2
FAMILIES: tuple[Family, ...] = ("training", "held-out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What the sets are made with; see `training.views.set_builder.ViewAssets`."""

    bundle: Path
    models: Path | None
    templates: Path | None


class _ProbeWriter:
    """One family's view maker, and the set that its pictures go to."""

    def __init__(self, out: Path, family: Family, kit: Kit, name: str) -> None:
        self._views = ViewMaker(family, models=kit.models, templates=kit.templates)
        self.runner = BundleRunner(read(kit.bundle), threads=1)
        info = SetInfo(
            name=name,
            alignment=ALIGNMENT,
            side_px=SIDE_PX,
            made_by="python -m training matcher probes",
            synthetic="NIR is pseudo-NIR made from visible light, no real NIR",
        )
        self.writer, self._family = SetWriter(out, info), family

    def enter(
        self,
        found: FoundFace | None,
        source: str,
        subject: str,
        conditions: Iterable[Condition],
        *,
        role: Role,
        masked: bool = False,
    ) -> None:
        """One photo in some conditions. `masked`: a real mask is worn; a refusal counts in each condition."""
        mesh = None
        for number, condition in enumerate(conditions):
            worn = masked or condition.masked
            fits = found is not None
            if found is not None and condition != PHOTO:
                mesh = mesh or self._views.fit(found)
                fits = mesh is not None
            if not fits or found is None:
                refused = Refused(
                    source=source,
                    subject=subject,
                    spectrum=condition.spectrum,
                    masked=worn,
                    code="no_face",
                    detail="no face found",
                    split="validation",
                    role=role,
                )
                self.writer.refuse(refused)
                continue
            view = View(found.image)
            if mesh is not None and condition != PHOTO:
                rng = np.random.default_rng([zlib.crc32(source.encode()), number])
                view = self._views.view(found.image, mesh, condition, rng)
            row = Row(
                source=source,
                subject=subject,
                spectrum=condition.spectrum,
                masked=worn,
                split="validation",
                role=role,
                mask=view.mask,
                generator=view.generator,
            )
            try:
                self.writer.add(row, align(view.image, found.face, ALIGNMENT).pixels)
            except AlignError:
                continue


def lfw_probes(tar: Path, out: Path, family: Family, kit: Kit) -> PreparedSet:
    """Validation people of LFW."""
    probes = _ProbeWriter(out, family, kit, f"lfw-validation-{family}")
    for identity in track(read_lfw(tar, frozenset({Split.VALIDATION})), "probes of LFW"):
        for number, photo in enumerate(identity.photos[: 1 + PROBES]):
            conditions = CONDITIONS if number else (PHOTO,)
            role: Role = "probe" if number else "gallery"
            found = find_face(photo, probes.runner)
            probes.enter(found, photo.name, identity.name, conditions, role=role)
    return probes.writer.close()


def real_probes(archive: Path, out: Path, family: Family, kit: Kit) -> PreparedSet:
    """Validation people with real masks."""
    probes = _ProbeWriter(out, family, kit, f"real-validation-{family}")
    shots = [shot for shot in real_mask_shots(archive) if shot.part == "validation"]
    for shot in track(shots, "probes with real masks"):
        conditions = (PHOTO, Condition(Spectrum.NIR, masked=False)) if shot.masked else (PHOTO,)
        role: Role = "probe" if shot.masked else "gallery"
        found = _find(shot, probes.runner)
        probes.enter(found, shot.source, shot.subject, conditions, role=role, masked=shot.masked)
    return probes.writer.close()


def _find(shot: Shot, runner: BundleRunner) -> FoundFace | None:
    image = Image(shot.pixels, Spectrum.VIS)
    faces = runner.faces(image)
    if not faces:
        return None
    try:
        return FoundFace(image, faces[0], align(image, faces[0], ALIGNMENT))
    except AlignError:
        return None
