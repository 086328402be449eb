"""`halflight`: the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from service.cli import keys, models
from service.cli.console import fail
from service.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Match masked near-infrared faces against visible-light enrolment photos.",
)
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Where the database lies.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Model bundle directory.")] = None,
    database_url: Annotated[str | None, typer.Option(help="PostgreSQL instead of SQLite.")] = None,
) -> None:
    """Serve over HTTP; one line on stdout says when it is ready."""
    from service.serving import run

    asked: dict[str, Any] = {
        "host": host,
        "port": port,
        "data_dir": data,
        "bundle_dir": bundle,
        "database_url": database_url,
    }
    try:
        settings = Settings(**{name: value for name, value in asked.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}")
    raise typer.Exit(run(settings))


def main() -> None:
    """Entry point of the `halflight` command."""
    app()


if __name__ == "__main__":
    main()
