"""Builds a prepared set of all LFW photos, aligned: what the trunk is pre-trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.data.lfw import Photo, Split, read_lfw, split_of
from training.data.prepared import PreparedSet, Refused
from training.data.prepared import Split as SplitName
from training.data.set_writer import Made
from training.views.conditions import PHOTO
from training.views.found_faces import find_face
from training.views.row_facts import RowFacts
from training.views.set_builder import ViewAssets, ViewTools, build_set


@dataclass(frozen=True, slots=True)
class AlignJob:
    """One photo of a subject."""

    photo: Photo
    subject: str

    def run(self, tools: ViewTools) -> list[Made | Refused]:
        """The crop of the largest face, or a refusal."""
        split: SplitName = split_of(self.subject).value
        facts = RowFacts(source=self.photo.name, subject=self.subject, split=split)
        found = find_face(self.photo, tools.detector)
        return [facts.refused(PHOTO) if found is None else Made(facts.row(PHOTO), found.crop.pixels)]


def align_photos(tar: Path, bundle: Path, out: Path, *, workers: int = 2) -> PreparedSet:
    """Aligns the largest face of every LFW photo; the split is the fixed one by identity.

    Raises DataSetError or BundleError if a file is missing.
    """
    identities = read_lfw(tar, frozenset(Split))
    return build_set(
        [AlignJob(photo, one.name) for one in identities for photo in one.photos],
        out,
        ViewAssets(bundle=bundle),
        name="lfw-vis",
        made_by="python -m training standin photos",
        workers=workers,
        label="aligning",
    )
