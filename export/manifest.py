"""Makes the manifest of an exported bundle, with its parity files."""

from __future__ import annotations

from pathlib import Path

from export.card import About
from export.crops import SAMPLES_LICENCE
from export.encoders import Encoders, served_vectors
from export.variants import LEAST_COSINE, Variant
from faces.bundle import Bundle, EncoderSpec, Manifest, ParitySpec, Routing, file_ref
from faces.files import write_array
from faces.types import Pixels, Role
from training.data.network_input import NORMALISATION
from training.networks.backbone import BackboneConfig


def build_manifest(
    base: Bundle,
    place: Path,
    made: Encoders,
    crops: Pixels,
    config: BackboneConfig,
    *,
    name: str,
    version: str,
    variant: Variant,
    about: About,
    routing: Routing = "role",
) -> Manifest:
    """Describes the bundle in `place` without thresholds, and writes its parity files there.

    `base`: gives detector and mask classifier; `crops` uint8 [n, side, side, 3]: a host checks its vectors of
    them.
    """
    refs = {role: file_ref(path) for role, path in made.files.items()}
    write_array(place / "parity-crops.npy", crops)
    vectors = {}
    for role, path in made.files.items():
        shared = path == made.files[Role.PROBE] and path == made.files[Role.REFERENCE]
        file = place / ("parity-vectors.npy" if shared else f"parity-{role.value}.npy")
        write_array(file, served_vectors(path, crops, config.side_px))
        vectors[role] = file_ref(file)
    parity = ParitySpec(
        crops=file_ref(place / "parity-crops.npy"),
        probe=vectors[Role.PROBE],
        reference=vectors[Role.REFERENCE],
        minimum_cosine=LEAST_COSINE[variant],
    )
    taken = [ref.path for ref in base.manifest.detection_files]
    licences = {path: base.manifest.licences.get(path, "not stated by the base bundle") for path in taken}
    licences |= {ref.path: about.licence for ref in refs.values()}
    licences |= {ref.path: SAMPLES_LICENCE for ref in (parity.crops, *vectors.values())}
    return Manifest(
        format=2,
        name=name,
        version=version,
        summary=about.summary,
        licences=licences,
        detector=base.manifest.detector,
        encoder=EncoderSpec(
            probe=refs[Role.PROBE],
            reference=refs[Role.REFERENCE],
            routing=routing,
            alignment=config.alignment,
            columns=None,
            input_px=(config.side_px, config.side_px),
            normalisation=NORMALISATION,
            dimension=config.dimension,
            metric="cosine",
        ),
        mask=base.manifest.mask,
        liveness=base.manifest.liveness,
        calibration=None,
        parity=parity,
    )
