"""Exports a checkpoint as a bundle: graph, parity, thresholds, card and digests, all or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from export.card import CARD_NAME, About, FileFacts, Report, write_card
from export.crops import rendered_crops, sample_crops
from export.detection import with_detector
from export.encoders import EncoderOptions, ReportProgress, make_encoders
from export.fuse import Network, check_pair, fused
from export.graph import ExportError
from export.kept_templates import OnEmbedded
from export.manifest import build_manifest
from export.operating_points import FMR_POINTS
from export.place import check_free
from export.prepared_sets import calibrate, check_support
from export.variants import LEAST_COSINE, Variant
from faces.bundle import Bundle, Manifest, read, verify, write_manifest
from faces.place import building
from faces.types import Pixels, Role
from training.data.prepared import PreparedSet, Split
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.mirrored import Mirrored

# Real crops that parity is also measured on, and crops that fix int8's ranges.
PARITY_CROPS, RANGE_CROPS = 64, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """`second`: checkpoint of a network whose templates have `share` of the squared norm of the fused ones,
    which have `dimension` values at most."""

    second: Path
    share: float
    dimension: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to export, and how.

    `reference`: the checkpoint of references and clear visible probes, if `checkpoint` is for masked and NIR
    probes alone. `fusion`: a network that is fused with either.

    `base`: the bundle that gives detector and mask classifier, unless `detector`, the facts of one of this
    project's own, replaces both. `mirrored`: a template is made of the crop and its mirror image, in twice
    the time. `sets`, `splits`: thresholds are calibrated on them; without sets the bundle has none, and the
    service refuses it. `command`: the command line for the card, if it was not `python -m export`.
    """

    checkpoint: Path
    reference: Path | None = None
    fusion: Fusion | None = None
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
        """Returns the command line of the request, without paths of the machine."""
        if self.command is not None:
            return self.command
        words = [f"python -m export {self.checkpoint.name} --out DIR"]
        words += [] if self.reference is None else [f"--reference {self.reference.name}"]
        if self.fusion is not None:
            words += [f"--fuse {self.fusion.second.name} --share {self.fusion.share:g}"]
            words += [f"--dimension {self.fusion.dimension}"]
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
    """The manifest of the bundle, and facts of its encoder files and of those they were compared with."""

    manifest: Manifest
    facts: tuple[FileFacts, ...]


def export_bundle(
    request: Request, *, report_progress: ReportProgress, track: Callable[[int], OnEmbedded]
) -> Exported:
    """Makes the bundle. After an error `out` is as it was before.

    `report_progress` gets the name of each stage; `track` gets the number of crops to embed and returns a
    function that gets the number embedded at each step. Raises ExportError, Unsupported, BundleError or
    DataSetError.
    """
    check_free(request.out, replace=request.replace)
    if request.variant == "int8" and not request.sets:
        raise ExportError("int8 fixes its ranges on crops of a prepared set: give one with --calibration")
    if request.sets:
        check_support(request.sets, request.splits, targets=request.targets)
    loaded = _load(request)
    with building(request.out) as place, tempfile.TemporaryDirectory() as scratch:
        base = _base(request, Path(scratch))
        # Found by the base's detector: a new one may miss a face.
        rendered = rendered_crops(read(request.base), loaded[Role.PROBE][1].alignment)
        nets, config = _networks(request, loaded, rendered)
        real = _real_crops(request, config)
        options = EncoderOptions(
            variant=request.variant,
            crops=rendered if real is None else np.concatenate([rendered, real]),
            ranges=_range_crops(request, config),
            least_int8=request.least_int8,
        )
        made = make_encoders(
            nets,
            config.side_px,
            options,
            scratch=Path(scratch),
            target=place,
            report_progress=report_progress,
        )
        for ref in dict.fromkeys(base.manifest.detection_files):
            if (place / ref.path).exists():
                raise ExportError(f"the base bundle's {ref.path} has an encoder's name")
            (place / ref.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base.path(ref), place / ref.path)
        manifest = build_manifest(
            base,
            place,
            made,
            rendered,
            config,
            name=request.name,
            version=request.version,
            variant=request.variant,
            about=request.about,
            routing="role" if request.reference is None else "condition",
        )
        write_manifest(manifest, place)
        verify(read(place))
        if request.sets:
            report_progress("calibrating thresholds")
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


def _load(request: Request) -> dict[Role, Network]:
    """The network of each role, one object if they share it. Raises DataSetError, ExportError."""
    if request.mirrored and request.fusion is not None:
        raise ExportError("a fused network is mirrored already: leave out --mirrored")
    probe = load_network(request.checkpoint)
    if request.reference is None:
        return dict.fromkeys(Role, probe)
    reference = load_network(request.reference)
    check_pair(probe[1], reference[1])
    if probe[1].dimension != reference[1].dimension:
        raise ExportError(
            f"{request.reference.name} makes {reference[1].dimension} dimensions, {request.checkpoint.name}"
            f" makes {probe[1].dimension}: they are not of one space"
        )
    return {Role.PROBE: probe, Role.REFERENCE: reference}


def _networks(
    request: Request, loaded: Mapping[Role, Network], rendered: Pixels
) -> tuple[Mapping[Role, nn.Module], BackboneConfig]:
    """What is exported for each role, and what it takes and gives. Raises DataSetError, ExportError."""
    if request.fusion is not None:
        second = load_network(request.fusion.second)
        share, dimension = request.fusion.share, request.fusion.dimension
        return fused(loaded, second, rendered, share=share, dimension=dimension)
    config = loaded[Role.PROBE][1]
    if not request.mirrored:
        return {role: net for role, (net, _) in loaded.items()}, config
    done = {id(net): Mirrored(net) for net, _ in loaded.values()}
    return {role: done[id(net)] for role, (net, _) in loaded.items()}, config


def _base(request: Request, scratch: Path) -> Bundle:
    """Returns the base bundle, with the request's detector if it has one. Raises BundleError, ExportError."""
    base = read(request.base)
    verify(base)
    if request.detector is None:
        return base
    return with_detector(base, request.detector, scratch / "base", licence=request.about.licence)


def _real_crops(request: Request, config: BackboneConfig) -> Pixels | None:
    if not request.sets:
        return None
    return sample_crops(request.sets, request.splits, config.alignment, PARITY_CROPS)


def _range_crops(request: Request, config: BackboneConfig) -> Pixels | None:
    if request.variant != "int8" or not request.sets:
        return None
    # Another seed: not the crops that parity is measured on.
    return sample_crops(request.sets, request.splits, config.alignment, RANGE_CROPS, seed=1)


def _notes(request: Request) -> list[str]:
    notes = []
    if request.fusion is not None:
        notes.append(
            "A template is the weighted concatenation of two networks' templates, of which"
            f" {request.fusion.second.name} has {request.fusion.share:g} of the squared norm. Each of both is"
            " the sum of the unit vectors of a crop and of its mirror image, which the time below includes."
        )
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
