"""Makes prepared sets of validation people: some select a run, the others only show the gap.

`lfw`: validation people of LFW. Everybody's first photo is enrolled; probes are up to two other photos, each
as it is, masked, in pseudo-NIR and masked in pseudo-NIR. `real`: validation people of `real_masks.zip`; their
photos without a mask are enrolled, those with one are probes, as they are and in pseudo-NIR.

One set for each family of generators and masks: select by `training` alone; `held-out` is for reports.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faces.align import align
from faces.types import CONDITIONS, Condition, Image, Spectrum
from training.data.lfw import Photo, Split, read_lfw
from training.data.prepared import PreparedSet, Refused
from training.data.set_writer import Made
from training.matcher.sources import real_mask_shots
from training.views.conditions import PHOTO, Family, View
from training.views.found_faces import ALIGNMENT, find_face, largest_face
from training.views.row_facts import RowFacts
from training.views.set_builder import ViewAssets, ViewTools, build_set

PROBES = 2
FAMILIES: tuple[Family, ...] = ("training", "held-out")


@dataclass(frozen=True, slots=True, eq=False)
class ProbeJob:
    """One photo in some conditions. `masked`: a real mask is worn; a refusal counts in each condition."""

    facts: RowFacts
    photo: Photo | Image
    conditions: tuple[Condition, ...]
    family: Family
    masked: bool = False

    def run(self, tools: ViewTools) -> list[Made | Refused]:
        """The photo's crop and those of its views, or refusals."""
        maker, mesh = tools.maker(self.family), None
        if isinstance(self.photo, Image):
            found = largest_face(self.photo, tools.detector)
        else:
            found = find_face(self.photo, tools.detector)
        if found is not None and self.conditions != (PHOTO,):
            mesh = maker.fit(found)
        made: list[Made | Refused] = []
        for number, condition in enumerate(self.conditions):
            shown = Condition(condition.spectrum, self.masked or condition.masked)
            if found is None or (mesh is None and condition != PHOTO):
                made.append(self.facts.refused(shown))
                continue
            view = View(found.image)
            if mesh is not None and condition != PHOTO:
                rng = np.random.default_rng([zlib.crc32(self.facts.source.encode()), number])
                view = maker.view(found.image, mesh, condition, rng)
            row = self.facts.row(shown, mask=view.mask, generator=view.generator)
            made.append(Made(row, align(view.image, found.face, ALIGNMENT).pixels))
        return made


def lfw_probes(tar: Path, out: Path, family: Family, assets: ViewAssets) -> PreparedSet:
    """Validation people of LFW."""
    jobs = []
    for identity in read_lfw(tar, frozenset({Split.VALIDATION})):
        for number, photo in enumerate(identity.photos[: 1 + PROBES]):
            facts = RowFacts(
                source=photo.name,
                subject=identity.name,
                split="validation",
                role="probe" if number else "gallery",
            )
            jobs.append(ProbeJob(facts, photo, CONDITIONS if number else (PHOTO,), family))
    return _build(jobs, out, assets, family, name="lfw", label="probes of LFW")


def real_probes(archive: Path, out: Path, family: Family, assets: ViewAssets) -> PreparedSet:
    """Validation people with real masks."""
    jobs = []
    for shot in real_mask_shots(archive):
        if shot.part == "validation":
            facts = RowFacts(
                source=shot.source,
                subject=shot.subject,
                split="validation",
                role="probe" if shot.masked else "gallery",
            )
            conditions = (PHOTO, Condition(Spectrum.NIR, masked=False)) if shot.masked else (PHOTO,)
            image = Image(shot.pixels, Spectrum.VIS)
            jobs.append(ProbeJob(facts, image, conditions, family, masked=shot.masked))
    return _build(jobs, out, assets, family, name="real", label="probes with real masks")


def _build(
    jobs: list[ProbeJob], out: Path, assets: ViewAssets, family: Family, *, name: str, label: str
) -> PreparedSet:
    return build_set(
        jobs,
        out,
        assets,
        name=f"{name}-validation-{family}",
        made_by="python -m training matcher probes",
        synthetic="NIR is pseudo-NIR made from visible light, no real NIR",
        families=(family,),
        label=label,
    )
