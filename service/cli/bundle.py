"""Implements `halflight bundle`: inspect, verify, compare and sign bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faces.bundle import Bundle, BundleError, EncoderSpec, FileRef, Manifest, read
from faces.bundle import verify as verify_digests
from faces.calibration import Calibration
from faces.routing import is_single
from service.cli.options import Json
from service.cli.output import GOOD, Failure, print_json, print_line, print_status, print_table

if TYPE_CHECKING:
    from service.inference.parity import ParityResult

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A bundle's directory.")]
Directories = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Bundles' directories.")]
PublicKey = Annotated[
    Path | None, typer.Option("--key", help="Ed25519 public key (PEM) whose signature must be there.")
]
Provider = Annotated[
    str, typer.Option("--provider", help="ONNX Runtime provider to replay the parity crops on.")
]
DIFFERENT = 1
POINT_COLUMNS = (
    *("reference", "probe", ">FMR", ">at most", ">threshold"),
    *(">FNMR", "method", "set by"),
)

app = typer.Typer(no_args_is_help=True, help="Bundles: inspect, verify, compare, sign.")


def _read(directory: Path) -> Bundle:
    try:
        return read(directory)
    except BundleError as error:
        raise Failure(
            str(error), hint="a bundle is a directory with a manifest.json and the files it names"
        ) from error


@app.command()
def inspect(directories: Directories, as_json: Json = False) -> None:
    """Print what the manifests say; no file besides them is read."""
    from service.bundles.registry import manifest_digest

    for directory in directories:
        bundle = _read(directory)
        if as_json:
            known = {"space_id": bundle.manifest.space_id, "digest": manifest_digest(bundle)}
            print_json(known | {"manifest": bundle.manifest.model_dump(mode="json")})
            continue
        for name, value in (_summarise(bundle.manifest) | {"digest": manifest_digest(bundle)}).items():
            print_line(f"{name:12} {value}")
        rows = (_file_row(bundle.manifest, ref) for ref in bundle.manifest.files)
        print_table(("file", ">bytes", "sha256", "licence"), rows)
        if bundle.manifest.calibration is not None:
            print_table(POINT_COLUMNS, _operating_points(bundle.manifest))


@app.command()
def verify(
    directories: Directories, key: PublicKey = None, provider: Provider = "CPUExecutionProvider"
) -> None:
    """Check every digest, the signature where a key is given, and replay the parity crops."""
    for directory in directories:
        bundle = _read(directory)
        parity = _verify_bundle(bundle, key, provider)
        parts = [f"{len(bundle.manifest.files)} files match their digests"]
        if key is not None:
            parts.append("the signature is this key's")
        if parity is None:
            parts.append("it has no parity crops")
        else:
            least = min(parity.minimum_cosine.values())
            parts.append(f"{parity.crops} parity crops on {parity.provider}: cosine {least:.6f} at least")
        print_status(f"{bundle.manifest.name} {bundle.manifest.version}: {'; '.join(parts)}", GOOD)


@app.command()
def diff(one: Directory, other: Directory, as_json: Json = False) -> None:
    """Say whether two bundles make one space, and what differs. Exit code 1 where anything does."""
    first, second = _read(one).manifest, _read(other).manifest
    same = first.space_id == second.space_id
    rows = list(_differences(first.model_dump(mode="json"), second.model_dump(mode="json")))
    if as_json:
        spaces = {"one_space": same, "space_ids": [first.space_id, second.space_id]}
        print_json(spaces | {"differences": [{"what": w, "one": a, "other": b} for w, a, b in rows]})
    else:
        print_status(_compare_spaces(first, second))
        print_table(("what", "one", "other"), rows)
    if rows:
        raise typer.Exit(DIFFERENT)


@app.command()
def sign(
    directory: Directory,
    key: Annotated[Path, typer.Option("--key", help="Ed25519 private key (PEM, not encrypted).")],
) -> None:
    """Verify the digests, then sign the manifest: writes manifest.sig beside it."""
    from service.bundles import signing

    bundle = _read(directory)
    try:
        verify_digests(bundle)
        signing.sign(bundle, key)
    except (BundleError, signing.SigningKeyError) as error:
        raise Failure(str(error), hint="`openssl genpkey -algorithm ed25519` makes a key") from error
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}") from error
    print_status(f"{bundle.manifest.name} {bundle.manifest.version} is signed", GOOD)


def _verify_bundle(bundle: Bundle, key: Path | None, provider: str) -> ParityResult | None:
    from service.bundles import signing
    from service.inference.engine import Engine, EngineOptions
    from service.inference.parity import ParityError, check_parity
    from service.inference.session import ProviderError

    try:
        verify_digests(bundle)
        if key is not None:
            signing.verify_signature(bundle, key)
        if bundle.manifest.parity is None:
            return None
        options = EngineOptions(
            providers=(provider,), allow_fallback=False, intra_op_threads=0, max_batch=8, max_queue=8
        )
        return check_parity(bundle, Engine.load(bundle, options))
    except (BundleError, ParityError, ProviderError, signing.SigningKeyError) as error:
        raise Failure(str(error), hint="fetch or export the bundle again") from error


def _summarise(manifest: Manifest) -> dict[str, object]:
    encoder, calibration = manifest.encoder, manifest.calibration
    return {
        "name": manifest.name,
        "version": manifest.version,
        "summary": manifest.summary,
        "space": manifest.space_id,
        "encoders": _describe_encoders(encoder),
        "template": f"{encoder.dimension} dimensions, {encoder.metric}",
        "crop": f"{encoder.alignment}, columns {encoder.columns or 'all'}, to {encoder.input_px}",
        "thresholds": f"{calibration.data} ({calibration.date})" if calibration else "none: calibrate it",
        "scores": _describe_scores(calibration),
        "parity": f"cosine {manifest.parity.minimum_cosine:g}" if manifest.parity else "none",
    }


def _describe_scores(calibration: Calibration | None) -> str:
    if calibration is None or calibration.cohort is None:
        return "cosines"
    cohort = calibration.cohort
    return (
        f"relative to a cohort ({cohort.id}, the {cohort.nearest} nearest, weight {cohort.weight:g}):"
        f" {cohort.data}"
    )


def _describe_encoders(encoder: EncoderSpec) -> str:
    if is_single(encoder):
        return "one for probes and references"
    if encoder.routing == "condition":
        return "one for references and clear visible probes, one for masked and NIR probes"
    return "one for probes, one for references"


def _file_row(manifest: Manifest, ref: FileRef) -> tuple[object, ...]:
    return ref.path, ref.bytes, ref.sha256, manifest.licences.get(ref.path, "")


def _operating_points(manifest: Manifest) -> list[tuple[object, ...]]:
    calibration = manifest.calibration
    assert calibration is not None  # noqa: S101 - checked by the caller
    return [
        (
            *(str(points.reference), str(points.probe), f"{point.fmr:g}", f"{point.fmr_upper:.2g}"),
            f"{point.threshold:.4f}",
            *("-" if point.fnmr is None else f"{point.fnmr:.4f}", point.method, point.set_by),
        )
        for points in calibration.pairs
        for point in points.points
    ]


def _compare_spaces(first: Manifest, second: Manifest) -> str:
    if first.space_id == second.space_id:
        return f"one space, {first.space_id}: registering one over the other needs no backfill"
    return f"two spaces, {first.space_id} and {second.space_id}: templates of one mean nothing in the other"


def _differences(one: Any, other: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Returns every leaf that differs: its path in the manifest and both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(name for name in other if name not in one)]
        parts = [(name, one.get(name), other.get(name)) for name in names]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [(str(i), a, b) for i, (a, b) in enumerate(zip(one, other, strict=True))]
    else:
        return [] if one == other else [(path, one, other)]
    return [row for name, a, b in parts for row in _differences(a, b, f"{path}.{name}" if path else name)]
