"""Thresholds of a bundle, from LFW train and validation identities, one for each condition of probes.

    python -m export.calibrate BUNDLE --lfw ../shared/data/lfw.tar --out MANIFEST

The whole way, detection included: references are unmasked visible-light photos, one for each
identity; probes are another photo where there is one, as it is and for_references into pseudo-NIR, each with
and without a drawn mask. The test split is never touched; for a network that was trained on LFW say
`--split validation`. `python -m export --calibration SET` calibrates on a prepared set instead.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from export.operating_points import FMR_POINTS, Mated, Unsupported, operating_points, strictest
from faces.bundle import Bundle, BundleError, manifest_text, read, verify
from faces.calibration import Calibration
from faces.cohort_spec import CohortSpec
from faces.image import DecodeLimits, decode
from faces.rates.tail import Impostors
from faces.types import CONDITIONS, PAIRS, Condition, Image, Pair, Spectrum
from training.data.lfw import Identity, Split, read_lfw
from training.networks.onnx_runner import BundleRunner
from training.synthesis.simple import masked_vis, pseudo_nir

LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
DEFAULT_FMR = 1e-4
DUPLICATE_FMR = 1e-6
Template = NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """Templates of one identity: its reference, and its probe in each condition.

    `mated`: reference and probe are two photos.
    """

    reference: Template
    probes: dict[Condition, Template]
    mated: bool


def probe_images(image: Image, runner: BundleRunner, seed: int) -> dict[Condition, Image]:
    """Returns a photo in each condition; the masked ones only if a face was found to put the mask on."""
    rng = np.random.default_rng(seed)
    found = runner.faces(image)
    made = {
        CONDITIONS[0]: image,
        Condition(Spectrum.NIR, masked=False): Image(pseudo_nir(image.pixels, rng), Spectrum.NIR),
    }
    if found:
        points = found[0].landmarks
        vis = masked_vis(image.pixels, points, rng)
        nir = pseudo_nir(image.pixels, rng, landmarks=points)
        made[Condition(Spectrum.VIS, masked=True)] = Image(vis, Spectrum.VIS)
        made[Condition(Spectrum.NIR, masked=True)] = Image(nir, Spectrum.NIR)
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The comparisons of one pair of conditions."""

    impostors: Impostors
    mated: Mated


@dataclass(frozen=True, slots=True)
class Runners:
    """The bundle's networks for each role; one object if the roles share an encoder."""

    probe: BundleRunner
    reference: BundleRunner


def open_runners(bundle: Bundle) -> Runners:
    probe, spec = BundleRunner(bundle, threads=1), bundle.manifest.encoder
    if spec.probe.sha256 == spec.reference.sha256:
        return Runners(probe, probe)
    # A runner embeds with the network of probes, so references get a bundle where that is theirs.
    for_references = bundle.manifest.model_copy(
        update={"encoder": spec.model_copy(update={"probe": spec.reference})}
    )
    return Runners(probe, BundleRunner(Bundle(for_references, bundle.root), threads=1))


def identity_templates(identity: Identity, runners: Runners, seed: int) -> Templates:
    """Embeds the first photo as the reference, the second (or else the first) as the probe."""
    photos = [decode(photo.data, limits=LIMITS, spectrum=Spectrum.VIS) for photo in identity.photos[:2]]
    images = probe_images(photos[-1], runners.probe, seed)
    probes = {c: runners.probe.template(image, masked=c.masked) for c, image in images.items()}
    return Templates(runners.reference.template(photos[0]), probes, len(photos) > 1)


def measured(subjects: Sequence[Templates], pair: Pair) -> Measured | None:
    """Every probe of one condition against every reference; None for references in other conditions."""
    if pair.reference != CONDITIONS[0]:
        return None
    enrolled = [one for one in subjects if one.reference is not None]
    references = np.stack([one.reference for one in enrolled if one.reference is not None])
    rows = [(place, one.probes.get(pair.probe), one.mated) for place, one in enumerate(enrolled)]
    found = [(place, probe, mated) for place, probe, mated in rows if probe is not None]
    if not found:
        return None
    probes = np.stack([probe for _, probe, _ in found])
    own = np.array([place for place, _, _ in found], np.intp)
    scores = np.einsum("ij,ij->i", probes, references[own])
    mates = np.array([mated for _, _, mated in found], bool)
    failed = sum(mated for _, probe, mated in rows if probe is None)
    impostors = Impostors(probes, references, own, (None,) * len(references))
    return Measured(impostors, Mated(scores[mates], failed))


def make_calibration(
    measure: Callable[[Pair], Measured | None],
    *,
    data: str,
    synthetic: str,
    command: str,
    targets: Sequence[float] = FMR_POINTS,
    report_progress: Callable[[str], None] = lambda _: None,
    others: Calibration | None = None,
    cohort: CohortSpec | None = None,
) -> Calibration:
    """Sets thresholds for every pair of conditions that `measure` has comparisons of.

    The default and the duplicate FMR are 1e-4 and 1e-5, or the strictest that all these pairs support. A pair
    that supports no threshold stays uncalibrated. Raises Unsupported if that is one with clear visible
    references.

    `others`: the pairs without comparisons keep its points, and the two FMRs stay its own where every pair
    has them. Then no pair is dropped: raises Unsupported for any that has too few people.

    `cohort`: that which gave the scores, of `others` as well; None for cosines.
    """
    if others is not None and others.cohort != cohort:
        raise ValueError("the points of other pairs are for scores by another cohort")
    points = []
    for pair in PAIRS:
        report_progress(f"calibrating {pair}")
        found = measure(pair)
        if found is None and others is not None:
            points += [one for one in others.pairs if one.pair == pair]
            continue
        try:
            if found is None:
                raise Unsupported(f"there are no probes of {pair.probe} to calibrate with")
            points.append(operating_points(pair, found.impostors, found.mated, targets=targets))
        except Unsupported:
            if others is not None or pair.reference == CONDITIONS[0]:
                raise
    common = set.intersection(*({point.fmr for point in one.points} for one in points))

    def shared(known: float | None, least: float) -> float:
        if known is not None and known in common:
            return known
        return strictest(points, but_not_below=least)

    return Calibration(
        data=data if others is None else f"{data}; other pairs: {others.data}",
        synthetic=synthetic if others is None else f"{synthetic}; other pairs: {others.synthetic}",
        command=command,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        default_fmr=shared(None if others is None else others.default_fmr, DEFAULT_FMR),
        duplicate_fmr=shared(None if others is None else others.duplicate_fmr, DUPLICATE_FMR),
        pairs=tuple(points),
        cohort=cohort,
    )


def lines_of(calibration: Calibration) -> list[str]:
    """The table as text: one line for each pair, and one for each of its points."""
    lines = []
    for points in calibration.pairs:
        lines.append(f"{points.pair}: {points.subjects} people, {points.mated} mated comparisons")
        for point in points.points:
            missed = "" if point.fnmr is None else f", FNMR {point.fnmr:.4f}"
            how = "" if point.method == "observed" else f", {point.method}"
            lines.append(
                f"  FMR {point.fmr:g} (at most {point.fmr_upper:g}): threshold {point.threshold:.4f}"
                f" set by {point.set_by}{missed}{how}"
            )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m export.calibrate", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the manifest is written")
    parser.add_argument("--split", choices=["train", "validation"], help="one of the two alone")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    try:
        bundle = read(args.bundle)
        verify(bundle)
        splits = [Split(args.split)] if args.split else [Split.TRAIN, Split.VALIDATION]
        identities = read_lfw(args.lfw, frozenset(splits))
    except (BundleError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    runners = open_runners(bundle)
    with ThreadPoolExecutor(args.threads) as pool:
        work = pool.map(lambda item: identity_templates(item[1], runners, item[0]), enumerate(identities))
        subjects = list(track(work, "embedding", total=len(identities)))
    named = " and ".join(split.value for split in splits)
    chosen = f" --split {args.split}" if args.split else ""
    try:
        calibration = make_calibration(
            lambda pair: measured(subjects, pair),
            data=f"LFW deep-funneled, {len(identities)} {named} identities",
            synthetic="NIR is pseudo-NIR made from visible light, masks are drawn: no real NIR",
            command=f"python -m export.calibrate BUNDLE --lfw lfw.tar{chosen} --out MANIFEST",
        )
    except Unsupported as error:
        sys.stderr.write(f"{error}\n")
        return 2
    done = bundle.manifest.model_copy(update={"calibration": calibration})
    args.out.write_bytes(manifest_text(done))
    for line in lines_of(calibration):
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
