"""Labels photos by the reference detector: sure faces, doubtful faces, and masks."""

from __future__ import annotations

from pathlib import Path

from faces.bundle import Bundle, read
from faces.types import Face, Image
from training.detector.pictures import LabelledFace
from training.networks.onnx_runner import BundleRunner

# Between these scores a detection is doubtful: training ignores it.
SURE, DOUBTFUL = 0.6, 0.3
# Beyond these, the probability of the reference mask classifier becomes a label.
SURELY_MASKED, SURELY_BARE = 0.9, 0.1
# The reference detector hardly finds faces smaller than this.
SMALLEST_PX = 9.0


class Labeller:
    """Runs the reference bundle's detector at a low threshold, and its mask classifier."""

    def __init__(self, bundle: Path) -> None:
        opened = read(bundle)
        low = opened.manifest.detector.model_copy(update={"score_threshold": DOUBTFUL})
        manifest = opened.manifest.model_copy(update={"detector": low})
        self._runner = BundleRunner(Bundle(manifest, opened.root), threads=1)

    def faces(self, image: Image) -> tuple[Face, ...]:
        """Returns sure and doubtful faces, largest first."""
        return self._runner.faces(image)

    def label_unmasked(self, image: Image) -> tuple[LabelledFace, ...]:
        """Labels a photo in which nobody wears a mask."""
        return tuple(LabelledFace.of(face, masked=False, sure=_sure(face)) for face in self.faces(image))

    def label_masked(self, image: Image) -> tuple[LabelledFace, ...]:
        """Labels a photo whose largest sure face is known to wear a mask.

        If no face is sure, the largest doubtful one is taken.
        """
        found = self.faces(image)
        first = next((face for face in found if face.score >= SURE), found[0] if found else None)
        return tuple(
            LabelledFace.of(face, masked=True, sure=True) if face is first else self._label_other(image, face)
            for face in found
        )

    def _label_other(self, image: Image, face: Face) -> LabelledFace:
        probability = self._runner.masked(image, face) if _sure(face) else 0.5
        masked = None if SURELY_BARE < probability < SURELY_MASKED else probability >= SURELY_MASKED
        return LabelledFace.of(face, masked=masked, sure=_sure(face))


def _sure(face: Face) -> bool:
    return face.score >= SURE and min(face.box.width, face.box.height) >= SMALLEST_PX
