"""Defines the command line `halflight` and its exit codes."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from service.cli import (
    audit,
    backup,
    bundle,
    demo,
    doors,
    enrol,
    erase,
    evaluate,
    events,
    frigate,
    gallery,
    keys,
    models,
    recognise,
    serve,
    subjects,
    thresholds,
    unknowns,
    watch,
)
from service.cli.output import Failure, print_failure, print_line

TRACEBACK = "HALFLIGHT_TRACEBACK"

app = typer.Typer(
    name="halflight",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("enroll")(enrol.enroll)
app.command("identify")(recognise.identify)
app.command("verify")(recognise.verify)
app.command("events")(events.events)
app.command("correct")(events.correct)
app.command("frigate")(frigate.frigate)
app.command("watch")(watch.watch)
app.command("evaluate")(evaluate.evaluate)
app.command("erase")(erase.erase)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("backup-key")(backup.backup_key)
app.add_typer(subjects.app, name="subjects")
app.add_typer(unknowns.app, name="unknowns")
app.add_typer(thresholds.app, name="thresholds")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(doors.app, name="doors")
app.add_typer(models.app, name="models")
app.add_typer(gallery.app, name="gallery")
app.add_typer(bundle.app, name="bundle")


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"halflight {version('halflight')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Match masked near-infrared faces against visible-light enrolment photos."""


def main() -> None:
    """Runs a command. Exit codes: 0 done, 1 failed or refused, 2 used wrongly, 130 stopped by Ctrl-C."""
    try:
        app(prog_name="halflight")
    except Failure as failure:
        print_failure(failure)
        sys.exit(failure.exit_code)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        # The text of an unforeseen exception may hold secrets.
        print_failure(
            Failure(
                f"halflight failed in a way nobody foresaw ({type(error).__name__})",
                hint=f"set {TRACEBACK}=1 and run it again to see where, then report it",
            )
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
