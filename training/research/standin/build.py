"""Builds the stand-in's prepared set from LFW photos.

Training and validation subjects pass through one VIS -> NIR generator and one family of masks, test
subjects through others (docs/hsst.md, section 7), so that no network learns the synthesis by heart. A
subject's first photo is the reference, as it is. Probes are made from the others and are detected and
aligned again, as a service does it; a probe without a face is a failure to acquire.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faces.align import align
from faces.types import Condition, Spectrum
from training.data.lfw import Identity, Photo, Split, read_lfw, split_of
from training.data.prepared import PreparedSet, Refused, Role
from training.data.prepared import Split as SplitName
from training.data.set_writer import Made
from training.views.conditions import PHOTO
from training.views.found_faces import ALIGNMENT, find_face, largest_crop
from training.views.row_facts import RowFacts
from training.views.set_builder import ViewAssets, ViewTools, build_set

NIR, NIR_MASKED = Condition(Spectrum.NIR, masked=False), Condition(Spectrum.NIR, masked=True)
MASKS_PER_PHOTO = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is made: photos of each training subject, probes of each other subject.

    `subjects`: how many of each split, 0 for all. `alike`: test subjects alone, who pass through the
    generator and the family of masks of training, as in the paper, which has one camera and one mask engine.
    """

    train_photos: int = 4
    probes: int = 3
    subjects: int = 0
    seed: int = 0
    alike: bool = False


@dataclass(frozen=True, slots=True)
class PhotoJob:
    """One photo. A training photo gives crops as it is and in pseudo-NIR, another one is a reference or
    gives probes."""

    photo: Photo
    subject: str
    split: SplitName
    role: Role
    seed: int
    alike: bool = False

    def run(self, tools: ViewTools) -> list[Made | Refused]:
        """The crops of the photo, or what was refused."""
        facts = RowFacts(source=self.photo.name, subject=self.subject, split=self.split, role=self.role)
        rng = np.random.default_rng([self.seed, zlib.crc32(self.photo.name.encode())])
        found = find_face(self.photo, tools.detector)
        if found is None:
            return [facts.refused(PHOTO)]
        made: list[Made | Refused] = []
        if self.role != "probe":
            made.append(Made(facts.row(PHOTO), found.crop.pixels))
        if self.role == "gallery":
            return made
        learned = self.role == "none"
        conditions = [NIR, *[NIR_MASKED] * (MASKS_PER_PHOTO if learned else 1)]
        maker = tools.maker("held-out" if self.split == "test" and not self.alike else "training")
        mesh = maker.fit(found)
        if mesh is None:
            return made + [facts.refused(condition) for condition in conditions]
        for condition in conditions:
            view = maker.view(found.image, mesh, condition, rng)
            crop = (
                align(view.image, found.face, ALIGNMENT).pixels
                if learned
                else largest_crop(view.image, tools.detector)
            )
            row = facts.row(condition, mask=view.mask, generator=view.generator)
            made.append(facts.refused(condition) if crop is None else Made(row, crop))
        return made


def plan_jobs(identities: list[Identity], plan: Plan) -> list[PhotoJob]:
    """Plans the photos of all subjects with two or more, in the order of their names."""
    jobs, taken = [], dict.fromkeys(Split, 0)
    for one in identities:
        split = split_of(one.name)
        if plan.alike and split is not Split.TEST:
            continue
        if len(one.photos) < 2 or (plan.subjects and taken[split] >= plan.subjects):
            continue
        taken[split] += 1
        if split is Split.TRAIN:
            parts: list[tuple[Photo, Role]] = [(photo, "none") for photo in one.photos[: plan.train_photos]]
        else:
            parts = [(one.photos[0], "gallery")]
            parts += [(photo, "probe") for photo in one.photos[1 : 1 + plan.probes]]
        jobs += [PhotoJob(photo, one.name, split.value, role, plan.seed, plan.alike) for photo, role in parts]
    return jobs


def build(tar: Path, out: Path, assets: ViewAssets, *, plan: Plan, workers: int = 2) -> PreparedSet:
    """Makes the whole set, with a progress bar; the same for any `workers`.

    Raises DataSetError, BundleError or SynthesisError if a file is missing.
    """
    return build_set(
        plan_jobs(read_lfw(tar, frozenset(Split)), plan),
        out,
        assets,
        name="stand-in-alike" if plan.alike else "stand-in",
        made_by="python -m training standin build" + (" --alike" if plan.alike else ""),
        synthetic="NIR is pseudo-NIR made from visible light, masks are synthetic: no real NIR",
        families=("training",) if plan.alike else ("training", "held-out"),
        workers=workers,
    )
