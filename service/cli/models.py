"""Implements `halflight models`: list, pull, verify and build model files and bundles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from faces.bundle import BundleError
from service.bundles.catalogue import CATALOGUE, EVERY_MODEL, TRUNKS, ModelFile, find_model
from service.bundles.download import ProvisionError, cache_states, model_cache, pull
from service.bundles.reference import assemble, bundle_path, reference_manifest
from service.cli.building import FROM_TRUNK, RECIPES, build, build_paths
from service.cli.output import Failure, print_json, print_line, print_status, print_table
from service.cli.transfer import transfer_progress
from service.settings import builtin_bundle

app = typer.Typer(no_args_is_help=True, help="Model files by pin: list, pull, verify, info.")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
COLUMNS = ("name", "what", "licence", ">bytes", "state")


def _rows() -> list[dict[str, object]]:
    states = cache_states(EVERY_MODEL, model_cache())
    return [
        {
            "name": model.name,
            "what": model.what,
            "licence": model.licence,
            "bytes": model.size,
            "state": states[model.name],
            "file": model.file_name,
            "sha256": model.sha256,
            "origin": model.origin,
            "url": model.url,
        }
        for model in EVERY_MODEL
    ]


def _find(name: str) -> ModelFile:
    try:
        return find_model(name)
    except KeyError as error:
        raise Failure(str(error.args[0]), exit_code=2) from error


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Every file with its licence, size and state in the cache."""
    rows = _rows()
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table(COLUMNS, ([row[name.lstrip(">")] for name in COLUMNS] for row in rows))


@app.command("pull")
def pull_models(names: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Fetch the files that are missing and put the reference bundle together."""
    chosen = [_find(name) for name in names] if names else list(CATALOGUE)
    try:
        with transfer_progress(chosen) as advance:
            pulled = pull(chosen, cache=model_cache(), progress=advance)
        bundle_dir = None if names else assemble()
    except (ProvisionError, BundleError) as error:
        title, _, detail = str(error).partition("\n")
        raise Failure(title, detail=detail) from error
    except OSError as error:
        raise Failure(f"{model_cache()} cannot be written: {error.strerror}") from error
    for file in pulled:
        print_status(f"{file.model.name}: {file.source} ({file.model.licence})")
    if bundle_dir is not None:
        print_status(
            f"bundle {reference_manifest().name} {reference_manifest().version} is ready in {bundle_dir}"
        )


@app.command("verify")
def verify_models() -> None:
    """Check size and SHA-256 of every file in the cache; trunks that were never pulled are no fault."""
    states = cache_states(CATALOGUE, model_cache())
    trunks = cache_states(TRUNKS, model_cache())
    states |= {name: state for name, state in trunks.items() if state != "missing"}
    print_table(("name", "state"), states.items())
    if any(state != "ok" for state in states.values()):
        raise Failure("not every file is whole", hint="`halflight models pull` fetches them again")


@app.command()
def info(name: str, as_json: AsJson = False) -> None:
    """Everything known of one file."""
    model = _find(name)
    row = next(row for row in _rows() if row["name"] == model.name)
    if as_json:
        print_json(row)
        return
    for key, value in row.items():
        print_line(f"{key:8} {value}")


@app.command("import")
def import_model(
    source: Annotated[str, typer.Argument(help="An ONNX file, or a name of `models list`.")],
    preprocessing: Annotated[
        str, typer.Option(help="What the network takes: arcface, arcface-128, arcface-bgr, raw-rgb, raw-bgr.")
    ],
    out: Annotated[Path | None, typer.Option(help="Of the bundle, else beside the reference.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the bundle, else that of the file.")] = None,
    output: Annotated[str | None, typer.Option(help="Of the file's outputs, if it has several.")] = None,
    licence: Annotated[str, typer.Option(help="Of the file; stated in the manifest.")] = "not stated",
    replace: Annotated[bool, typer.Option("--replace", help="Replace the bundle that is there.")] = False,
) -> None:
    """Make a bundle of an ONNX embedder in ArcFace's conventions, with the built-in detector."""
    from service.bundles.importing import Embedder, import_embedder

    file = Path(source)
    try:
        if not file.is_file() and file.suffix != ".onnx":
            model = _find(source)
            (pulled,) = pull([model], cache=model_cache())
            file, licence, name = pulled.path, model.licence, name or model.name
        named = name or re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("._-")[:64]
        embedder = Embedder(
            file=file, name=named, preprocessing=preprocessing, licence=licence, output=output
        )
        target = out or bundle_path(named)
        made = import_embedder(embedder, target, base=builtin_bundle(), replace=replace)
    except (ProvisionError, BundleError) as error:
        title, _, detail = str(error).partition("\n")
        raise Failure(title, detail=detail) from error
    except OSError as error:
        raise Failure(f"the bundle cannot be written: {error.strerror}") from error
    manifest = made.bundle.manifest
    print_status(
        f"bundle {manifest.name}, space {manifest.space_id}, {manifest.encoder.dimension} dimensions, is in"
        f" {target}; SHA-256 of the network {manifest.encoder.probe.sha256}"
    )
    print_status(
        f"rendered photos of one subject have a cosine of {made.same:.2f}, of two {made.other:.2f}: if these"
        " are not far apart, try another --preprocessing"
    )
    print_status(
        "it has no thresholds, and the service refuses it until it has: calibrate it with"
        " `python -m export.calibrate`, or adapt it to masked and NIR probes first with"
        f" `halflight models build matcher --trunk {target}`"
    )


@app.command("build")
def build_model(
    name: Annotated[str, typer.Argument(help=", ".join(RECIPES))],
    learned: Annotated[
        Path | None,
        typer.Option("--set", help="What to learn from: `training prepare`, or `training matcher cache`."),
    ] = None,
    trunk: Annotated[
        Path | None, typer.Option(help="With matcher: the bundle that is adapted (`models import`).")
    ] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="With matcher: learn low-rank updates and the head alone.")
    ] = False,
    standin: Annotated[
        bool, typer.Option("--standin", help="Instead: LFW in pseudo-NIR with synthetic masks.")
    ] = False,
    calibration: Annotated[
        list[Path] | None, typer.Option(help="Prepared set for thresholds, else SET; repeat for more.")
    ] = None,
    lfw: Annotated[Path | None, typer.Option(help="With --standin: the LFW archive.")] = None,
    templates: Annotated[Path | None, typer.Option(help="With --standin: photos of masks.")] = None,
    out: Annotated[Path | None, typer.Option(help="Of the bundle, else beside the reference.")] = None,
    work: Annotated[Path | None, typer.Option(help="Where a killed run goes on, else the cache.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Compile the networks (needs a C++ compiler).")
    ] = False,
    recipe: Annotated[list[str] | None, typer.Option(help="key=value over the recipe.")] = None,
) -> None:
    """Train a bundle out of pulled weights, calibrated; needs the `train` extra. A killed run goes on."""
    options = [] if name == FROM_TRUNK else ["--device", device]
    options += ["--standin"] if standin else []
    options += ["--adapter"] if adapter else []
    options += ["--compiled"] if compiled else []
    for option, value in (("--set", learned), ("--lfw", lfw), ("--templates", templates),
                          ("--iterations", iterations)):  # fmt: skip
        options += [] if value is None else [option, str(value)]
    options += [word for path in calibration or () for word in ("--calibration", str(path))]
    options += [word for text in recipe or () for word in ("--recipe", text)]
    build(name, build_paths(name, out, work), options, trunk=trunk)
