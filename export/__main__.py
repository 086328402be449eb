"""`python -m export CHECKPOINT --out DIR`."""

from __future__ import annotations

import typer

from export.command import export

app = typer.Typer(add_completion=False)
app.command()(export)

if __name__ == "__main__":
    app()
