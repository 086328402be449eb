"""Implements `halflight models`: list, pull, verify and build model files and bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from faces.bundle import BundleError
from service.bundles.catalogue import CATALOGUE, ModelFile, find_model
from service.bundles.download import ProvisionError, cache_states, model_cache, pull
from service.bundles.reference import assemble, reference_manifest
from service.cli.building import RECIPES, build, build_paths
from service.cli.output import Failure, print_json, print_line, print_status, print_table, stderr_console

app = typer.Typer(no_args_is_help=True, help="Model files by pin: list, pull, verify, info.")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
COLUMNS = ("name", "what", "licence", ">bytes", "state")


def _rows() -> list[dict[str, object]]:
    states = cache_states(CATALOGUE, model_cache())
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
        for model in CATALOGUE
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
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    console = stderr_console()
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
            tasks = {model.name: bars.add_task(model.name, total=model.size) for model in chosen}

            def advance(model: ModelFile, byte_count: int) -> None:
                bars.advance(tasks[model.name], byte_count)

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
    """Check size and SHA-256 of every file in the cache."""
    states = cache_states(CATALOGUE, model_cache())
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


@app.command("build")
def build_model(
    name: Annotated[str, typer.Argument(help=", ".join(RECIPES))],
    learned: Annotated[
        Path | None, typer.Option("--set", help="Prepared set to learn from (`python -m training prepare`).")
    ] = None,
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
    options = ["--device", device] + (["--standin"] if standin else [])
    options += ["--compiled"] if compiled else []
    for option, value in (("--set", learned), ("--lfw", lfw), ("--templates", templates),
                          ("--iterations", iterations)):  # fmt: skip
        options += [] if value is None else [option, str(value)]
    options += [word for path in calibration or () for word in ("--calibration", str(path))]
    options += [word for text in recipe or () for word in ("--recipe", text)]
    build(name, build_paths(name, out, work), options)
