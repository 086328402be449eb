"""`halflight models`: pinned files, their licences, and the bundle they make."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from faces.bundle import BundleError
from service.cli.console import FAILED, emit_json, fail, out, talk, told
from service.models.catalogue import CATALOGUE, ModelFile, find
from service.models.provision import ProvisionError, model_cache, pull, verify
from service.models.reference import assemble, recipe

app = typer.Typer(no_args_is_help=True, help="Model files by pin: list, pull, verify, info.")
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


def _rows() -> list[dict[str, object]]:
    states = verify(CATALOGUE, model_cache())
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


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Every file with its licence, size and state in the cache."""
    rows = _rows()
    if as_json:
        emit_json(rows)
        return
    table = Table("name", "what", "licence", "bytes", "state")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "what", "licence", "bytes", "state")))
    out.print(table)


@app.command("pull")
def pull_models(names: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Fetch the files that are missing and put the reference bundle together."""
    with told(KeyError, ProvisionError, BundleError, OSError):
        chosen = [find(name) for name in names] if names else list(CATALOGUE)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, console=talk, transient=True) as bars:
            tasks = {model.name: bars.add_task(model.name, total=model.size) for model in chosen}

            def progress(model: ModelFile, more: int) -> None:
                bars.advance(tasks[model.name], more)

            got = pull(chosen, cache=model_cache(), progress=progress)
        for one in got:
            talk.print(f"{one.model.name}: {one.source} ({one.model.licence})", markup=False)
        if not names:
            where = assemble()
            talk.print(f"bundle {recipe().name} {recipe().version} is ready in {where}", markup=False)


@app.command("verify")
def verify_models() -> None:
    """Check size and SHA-256 of every file in the cache."""
    states = verify(CATALOGUE, model_cache())
    for name, state in states.items():
        out.print(f"{name}: {state}", markup=False)
    if any(state != "ok" for state in states.values()):
        fail("not every file is whole", todo="`halflight models pull` fetches them again.")


@app.command()
def info(name: str, as_json: AsJson = False) -> None:
    """Everything known of one file."""
    try:
        model = find(name)
    except KeyError as error:
        talk.print(str(error.args[0]), markup=False)
        raise SystemExit(FAILED) from error
    row = next(row for row in _rows() if row["name"] == model.name)
    if as_json:
        emit_json(row)
        return
    for key, value in row.items():
        out.print(f"{key:8} {value}", markup=False)
