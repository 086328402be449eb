"""Checkpoint -> bundle: graph, parity, thresholds, card, digests, all or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.card import CARD_NAME, About, FileFacts, Report, write_card
from export.crops import SAMPLES_LICENCE, rendered_crops, spread_crops
from export.detection import with_detector
from export.encoders import Encoders, Say, Wanted, expected_vectors, make_encoders
from export.graph import ExportError
from export.operating_points import FMR_POINTS
from export.place import building, check_free
from export.prepared_sets import Done, calibrate, check_support
from export.variants import LEAST_COSINE, Variant
from faces.bundle import Bundle, EncoderSpec, Manifest, ParitySpec, file_ref, read, verify, write_manifest
from faces.files import write_array
from faces.types import Pixels, Role
from training.data.network_input import NORMALISATION
from training.data.prepared import PreparedSet, Split
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.mirrored import Mirrored

# Real crops that parity is also measured on, and crops that fix int8's ranges.
PARITY_CROPS, RANGE_CROPS = 64, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be made. `base`: the bundle whose detector and mask classifier are taken, unless
    `detector`, facts of one of this project's own, replaces both.

    `mirrored`: the template is that of the crop and of its mirror image, at twice the time for each.
    `sets`, `splits`: where thresholds are calibrated; without sets the bundle has none, and the
    service refuses it. `command`: how that was asked for, where it was not `python -m export`.
    """

    checkpoint: Path
    out: Path
    base: Path
    detector: Path | None = None
    name: str
    version: str = "1"
    variant: Variant = "fp32"
    mirrored: bool = False
    sets: Sequence[PreparedSet] = ()
    splits: Sequence[Split] = ("validation",)
    targets: Sequence[float] = FMR_POINTS
    about: About = field(default_factory=About)
    reports: Sequence[Report] = ()
    command: str | None = None
    least_int8: float = LEAST_COSINE["int8"]
    replace: bool = False

    @property
    def call(self) -> str:
        """The command line that asks for this, without the machine's paths."""
        if self.command is not None:
            return self.command
        words = [f"python -m export {self.checkpoint.name} --out DIR"]
        words += [f"--variant {self.variant}"] if self.variant != "fp32" else []
        words += ["--mirrored"] if self.mirrored else []
        words += [f"--least-cosine {self.least_int8:g}"] if self.least_int8 != LEAST_COSINE["int8"] else []
        words += [] if self.detector is None else [f"--detector {self.detector.name}"]
        words += [f"--calibration {one.root.resolve().name}" for one in self.sets]
        words += [f"--split {one}" for one in self.splits] if tuple(self.splits) != ("validation",) else []
        words += [f"--fmr {one:g}" for one in self.targets] if tuple(self.targets) != FMR_POINTS else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Exported:
    """The bundle that was made, and its encoder files beside those they were compared with."""

    manifest: Manifest
    facts: tuple[FileFacts, ...]


def export_bundle(request: Request, *, say: Say, track: Callable[[int], Done]) -> Exported:
    """Make the bundle; on any error nothing is left at `out` but what was there.

    `say` gets each stage; `track` gets the number of crops to embed and gives who is told of progress.
    Raises ExportError, Unsupported, BundleError, DataSetError.
    """
    check_free(request.out, replace=request.replace)
    if request.variant == "int8" and not request.sets:
        raise ExportError("int8 fixes its ranges on crops of a prepared set: give one with --calibration")
    if request.sets:
        check_support(request.sets, request.splits, targets=request.targets)
    net, config = load_network(request.checkpoint)
    if request.mirrored:
        net = Mirrored(net)
    with building(request.out) as place, tempfile.TemporaryDirectory() as scratch:
        base = _base(request, Path(scratch))
        # Crops of known faces, whoever found them: not of the new detector, which may miss one.
        rendered = rendered_crops(read(request.base), config.alignment)
        real = _real_crops(request, config)
        wanted = Wanted(
            variant=request.variant,
            crops=rendered if real is None else np.concatenate([rendered, real]),
            ranges=_range_crops(request, config),
            least_int8=request.least_int8,
        )
        made = make_encoders(net, config.side_px, wanted, scratch=Path(scratch), target=place, say=say)
        for ref in dict.fromkeys(base.manifest.detection_files):
            if (place / ref.path).exists():
                raise ExportError(f"the base bundle's {ref.path} has an encoder's name")
            (place / ref.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base.path(ref), place / ref.path)
        manifest = _manifest(request, config, base, place, made, rendered)
        write_manifest(manifest, place)
        verify(read(place))
        if request.sets:
            say("calibrating thresholds")
            calibration = calibrate(
                place,
                request.sets,
                request.splits,
                command=request.call,
                targets=request.targets,
                track=track,
            )
            manifest = manifest.model_copy(update={"calibration": calibration})
            write_manifest(manifest, place)
        write_card(
            place / CARD_NAME,
            manifest,
            request.about,
            files=made.facts,
            parity=made.parity,
            reports=request.reports,
            command=request.call,
            notes=_notes(request),
        )
        verify(read(place))
    return Exported(manifest, made.facts)


def _base(request: Request, scratch: Path) -> Bundle:
    """Raises BundleError, ExportError."""
    base = read(request.base)
    verify(base)
    if request.detector is None:
        return base
    return with_detector(base, request.detector, scratch / "base", licence=request.about.licence)


def _real_crops(request: Request, config: BackboneConfig) -> Pixels | None:
    if not request.sets:
        return None
    return spread_crops(request.sets, request.splits, config.alignment, PARITY_CROPS)


def _range_crops(request: Request, config: BackboneConfig) -> Pixels | None:
    if request.variant != "int8" or not request.sets:
        return None
    # Not the crops that parity is measured on.
    return spread_crops(request.sets, request.splits, config.alignment, RANGE_CROPS, seed=1)


def _manifest(
    request: Request,
    config: BackboneConfig,
    base: Bundle,
    place: Path,
    made: Encoders,
    rendered: Pixels,
) -> Manifest:
    refs = {role: file_ref(path) for role, path in made.files.items()}
    write_array(place / "parity-crops.npy", rendered)
    vectors = {}
    for role, path in made.files.items():
        shared = path == made.files[Role.PROBE] and path == made.files[Role.REFERENCE]
        name = "parity-vectors.npy" if shared else f"parity-{role.value}.npy"
        write_array(place / name, expected_vectors(path, rendered, config.side_px))
        vectors[role] = file_ref(place / name)
    parity = ParitySpec(
        crops=file_ref(place / "parity-crops.npy"),
        probe=vectors[Role.PROBE],
        reference=vectors[Role.REFERENCE],
        minimum_cosine=LEAST_COSINE[request.variant],
    )
    taken = [ref.path for ref in base.manifest.detection_files]
    licences = {path: base.manifest.licences.get(path, "not stated by the base bundle") for path in taken}
    licences |= {ref.path: request.about.licence for ref in refs.values()}
    licences |= {ref.path: SAMPLES_LICENCE for ref in (parity.crops, *vectors.values())}
    return Manifest(
        format=1,
        name=request.name,
        version=request.version,
        summary=request.about.summary,
        licences=licences,
        detector=base.manifest.detector,
        encoder=EncoderSpec(
            probe=refs[Role.PROBE],
            reference=refs[Role.REFERENCE],
            alignment=config.alignment,
            columns=None,
            input_px=(config.side_px, config.side_px),
            normalisation=NORMALISATION,
            dimension=config.dimension,
            metric="cosine",
        ),
        mask=base.manifest.mask,
        calibration=None,
        parity=parity,
    )


def _notes(request: Request) -> list[str]:
    notes = []
    if request.mirrored:
        notes.append(
            "A template is the sum of the network's unit vectors of a crop and of its mirror image: each crop"
            " costs two passes, which the time below includes."
        )
    if request.variant == "int8" and request.least_int8 < LEAST_COSINE["int8"]:
        notes.append(
            f"This int8 network was accepted at a cosine of {request.least_int8:g} with torch; the usual"
            f" bound is {LEAST_COSINE['int8']:g}."
        )
    return notes
