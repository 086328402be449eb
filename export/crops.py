"""Collects the crops for parity and for int8: rendered ones for the bundle, real ones that stay here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.graph import ExportError
from faces.align import AlignError, align
from faces.bundle import Bundle
from faces.formats import ImageError
from faces.image import DecodeLimits, decode
from faces.types import Pixels, Spectrum
from training.data.prepared import PreparedSet, Split
from training.networks.onnx_runner import BundleRunner
from training.synthesis.assets import CHECKOUT

# The rendered subjects that come with the service (`CREDITS.md` there): no real person.
SAMPLES = CHECKOUT / "service" / "samples"
SAMPLES_LICENCE = "Apache-2.0; rendered from ICT FaceKit's face model (MIT)"
VIEWS = {"vis_1.jpg": Spectrum.VIS, "nir_masked_1.jpg": Spectrum.NIR}
RENDERED_SUBJECTS = 7
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)


def rendered_crops(base: Bundle, alignment: str, *, samples: Path = SAMPLES) -> Pixels:
    """Returns uint8 [n, side, side, 3]: subjects in visible light, and masked in near-infrared.

    The detector of `base` finds the faces. Raises ExportError if the samples are not there.
    """
    runner = BundleRunner(base)
    crops = []
    for folder in sorted(path for path in samples.glob("s*") if path.is_dir())[:RENDERED_SUBJECTS]:
        for name, spectrum in VIEWS.items():
            try:
                image = decode((folder / name).read_bytes(), limits=LIMITS, spectrum=spectrum)
                found = runner.faces(image)
                crops += [align(image, found[0], alignment).pixels] if found else []
            except (OSError, ImageError, AlignError) as error:
                raise ExportError(f"the rendered sample {folder.name}/{name} cannot be used") from error
    if not crops:
        raise ExportError(f"no face in the rendered samples ({samples.name}): parity needs some")
    return np.stack(crops)


def sample_crops(
    sets: Sequence[PreparedSet], splits: Sequence[Split], alignment: str, count: int, *, seed: int = 0
) -> Pixels:
    """Draws up to `count` crops, uint8 [n, side, side, 3], from the sets of this alignment, in equal parts.

    Raises ExportError if the splits have none.
    """
    rng = np.random.default_rng(seed)
    taken = []
    for prepared in sets:
        rows = [i for i, row in enumerate(prepared.rows) if row.split in splits]
        if prepared.info.alignment == alignment and rows:
            share = min(len(rows), -(-count // len(sets)))
            taken.append(prepared.crops(np.sort(rng.choice(rows, share, replace=False))))
    if not taken:
        raise ExportError(f"no crop on {alignment} in the split {' or '.join(splits)} of these sets")
    return np.concatenate(taken)[:count]
