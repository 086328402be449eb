"""How often two photos count as one person's: of the same person, of strangers, and of rendered people.

    python -m benchmarks.agreement ../shared/data/lfw.tar --split validation
    python -m benchmarks.agreement ../shared/data/lfw.tar --split test

Compares the reference templates of the first two photos of LFW people, and those of every rendered person of
the samples, as `service.enrolment.mismatch` does: by the rule of the settings, and at false match rates of
their own. Of each photo the largest face counts, so a photo that shows somebody else more closely counts
against the rule. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.backfill import SAMPLES
from faces.align import align
from faces.bundle import Bundle, open_cohort, read
from faces.image import DecodeLimits, decode
from faces.preprocess import encoder_input
from faces.types import Condition, Role, Spectrum
from service.enrolment.mismatch import Agreement, agreement, agreement_thresholds
from service.inference.engine import Engine, EngineOptions
from service.settings import Settings
from training.data.lfw import Split, read_lfw, split_of

Floats = NDArray[np.float32]
RATES = (0.2, 0.05, 0.01, 0.001, 0.0001)
CLEAR = Condition(Spectrum.VIS, masked=False)
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=50_000_000)


def templates(engine: Engine, bundle: Bundle, photos: Iterable[bytes]) -> list[Floats | None]:
    """The reference template of the largest face of each photo; None without a face."""
    spec, found = bundle.manifest.encoder, list[Floats | None]()
    for photo in photos:
        image = decode(photo, limits=LIMITS, spectrum=Spectrum.VIS)
        faces = engine.detector.run([engine.detector.prepare(image)])[0].faces
        if not faces:
            found.append(None)
            continue
        tensor = encoder_input(align(image, faces[0], spec.alignment), spec)
        found.append(engine.encoder.run([(Role.REFERENCE, tensor)])[0])
    return found


def wilson(count: int, of: int) -> str:
    z, share = 1.96, count / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return f"{count} of {of} ({100 * max(0.0, centre - half):.1f} to {100 * (centre + half):.1f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tar", type=Path, help="lfw.tar")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--people", type=int, default=298)
    asked, settings = parser.parse_args(), Settings()
    bundle = read(settings.bundle_dir)
    options = EngineOptions(
        providers=settings.providers, allow_fallback=False, intra_op_threads=0, max_batch=8, max_queue=8
    )
    engine, wanted = Engine.load(bundle, options), Split[asked.split.upper()]
    people = [one for one in read_lfw(asked.tar, frozenset({wanted})) if len(one.photos) > 1]
    people = [one for one in people if split_of(one.name) is wanted][: asked.people]
    pairs = [templates(engine, bundle, (photo.data for photo in one.photos[:2])) for one in people]
    both = np.array([pair for pair in pairs if pair[0] is not None and pair[1] is not None], np.float32)
    paths = sorted(SAMPLES.glob("s[0-9][0-9]/vis_*.jpg"))
    rendered = np.array(templates(engine, bundle, (path.read_bytes() for path in paths)), np.float32)
    who = np.array([path.parent.name for path in paths])
    calibration, cohort = bundle.manifest.calibration, open_cohort(bundle)
    if calibration is None:
        raise SystemExit("the bundle has no calibration")
    own = Agreement(settings.mismatch_fmr, settings.mismatch_fnmr)
    print(f"{len(both)} people of {asked.split}, {bundle.manifest.name}")
    print("| rule | threshold | same person refused | strangers let in | rendered strangers let in |")
    print("|---|---|---|---|---|")
    for name, rule in (("the setting", own), *((f"FMR {rate:g}", Agreement(rate, 0.0)) for rate in RATES)):
        thresholds = agreement_thresholds(calibration, [CLEAR], rule)
        margins = agreement(cohort, thresholds, both[:, 0], both[:, 1])
        drawn = agreement(cohort, thresholds, rendered, rendered)
        same = wilson(int((np.diag(margins) < 0).sum()), len(both))
        strangers = 100 * float((margins[~np.eye(len(both), dtype=bool)] >= 0).mean())
        others = 100 * float((np.maximum(drawn, drawn.T)[who[:, None] != who[None]] >= 0).mean())
        print(f"| {name} | {min(thresholds.values()):.3f} | {same} | {strangers:.2f} % | {others:.0f} % |")


if __name__ == "__main__":
    main()
