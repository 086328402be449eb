"""Defines the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from service.settings import TurnChoice

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option("--url", envvar="HALFLIGHT_URL", help="Address of the service.")]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="HALFLIGHT_KEY", help="API key; better in the environment than here."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, one object a line.")]
Fmr = Annotated[float | None, typer.Option(help="Decide at this calibrated false match rate, such as 1e-3.")]
Threshold = Annotated[float | None, typer.Option(min=-1, max=1, help="Decide at this score instead.")]
ProbeSpectrum = Annotated[
    Literal["auto", "nir", "vis"], typer.Option(help="Of the probe; auto recognises it from the pixels.")
]
Camera = Annotated[
    str | None,
    typer.Option(help="Id of the camera that took it: its own thresholds decide, if installed."),
]
AskedTurn = Annotated[
    TurnChoice | None,
    typer.Option(
        "--turn", help="Degrees by which the picture must be turned clockwise, where that is known."
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data", help="The service's data directory [HALFLIGHT_DATA_DIR, else ./data]."),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="Database instead of SQLite in the data directory [HALFLIGHT_DATABASE_URL].",
    ),
]

ConsentDate = Annotated[
    str | None, typer.Option(metavar="YYYY-MM-DD", help="Day on which the subject consented.")
]
ConsentReference = Annotated[
    str | None, typer.Option(help="Where the consent is written down; needs --consent-date.")
]


def check_consent(date: str | None, reference: str | None) -> None:
    """Raises BadParameter for a reference to a consent of no day."""
    if reference is not None and date is None:
        raise typer.BadParameter("--consent-reference needs --consent-date")
