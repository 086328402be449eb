"""What the reference detector says of a photo, as labels: sure faces, doubtful ones, and masks."""

from __future__ import annotations

from pathlib import Path

from faces.bundle import Bundle, read
from faces.types import Face, Image
from training.detector.pictures import Known
from training.networks.onnx_runner import BundleRunner

# Between these the reference detector is not sure: such places teach nothing.
SURE, DOUBTFUL = 0.6, 0.3
# The reference mask classifier's answer is taken as a label beyond these.
SURELY_MASKED, SURELY_BARE = 0.9, 0.1
# Faces smaller than this are as good as invisible to it.
SMALLEST_PX = 9.0


class Labeller:
    """The reference bundle's detector at a low threshold, and its mask classifier."""

    def __init__(self, bundle: Path) -> None:
        opened = read(bundle)
        low = opened.manifest.detector.model_copy(update={"score_threshold": DOUBTFUL})
        manifest = opened.manifest.model_copy(update={"detector": low})
        self._runner = BundleRunner(Bundle(manifest, opened.root), threads=1)

    def faces(self, image: Image) -> tuple[Face, ...]:
        """Sure and doubtful faces, largest first."""
        return self._runner.faces(image)

    def bare(self, image: Image) -> tuple[Known, ...]:
        """Labels of a photo where nobody wears a mask: LFW is older than masks in the street."""
        return tuple(Known.of(face, masked=False, sure=_sure(face)) for face in self.faces(image))

    def worn(self, image: Image) -> tuple[Known, ...]:
        """Labels of a photo whose largest sure face is known to wear a mask.

        Where none is sure, the largest doubtful one is it.
        """
        found = self.faces(image)
        first = next((face for face in found if face.score >= SURE), found[0] if found else None)
        return tuple(
            Known.of(face, masked=True, sure=True) if face is first else self._beside(image, face)
            for face in found
        )

    def _beside(self, image: Image, face: Face) -> Known:
        probability = self._runner.masked(image, face) if _sure(face) else 0.5
        masked = None if SURELY_BARE < probability < SURELY_MASKED else probability >= SURELY_MASKED
        return Known.of(face, masked=masked, sure=_sure(face))


def _sure(face: Face) -> bool:
    return face.score >= SURE and min(face.box.width, face.box.height) >= SMALLEST_PX
