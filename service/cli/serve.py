"""Implements `halflight serve`: run the service in the foreground."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from service.cli.configuration import settings_from
from service.cli.options import DatabaseUrl, DataDir


@contextmanager
def loading() -> Iterator[None]:
    """Stops the garbage collector while modules load, and exempts what they made from it afterwards.

    Modules are no garbage: walking through them costs a tenth of the time of loading, and again whenever
    the service collects everything.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on [HALFLIGHT_HOST, else 127.0.0.1].")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="[HALFLIGHT_PORT, else 8000]; 0 takes a free one.")
    ] = None,
    data: DataDir = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Model bundle [HALFLIGHT_BUNDLE_DIR, else what `models pull` made]."),
    ] = None,
    database_url: DatabaseUrl = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            help="ONNX Runtime provider such as CUDAExecutionProvider; repeat in order of preference."
        ),
    ] = None,
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Start on the CPU where the provider cannot load.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=0, help="Threads of one forward pass; 0 takes one per core.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the service until Ctrl-C. Every other setting is an environment variable HALFLIGHT_*."""
    settings = settings_from(
        host=host,
        port=port,
        data_dir=data,
        bundle_dir=bundle,
        database_url=database_url,
        providers=tuple(provider) if provider else None,
        allow_fallback=True if allow_fallback else None,
        intra_op_threads=threads,
        log_level=log_level,
    )
    # Imported here, because the inference and index libraries take a second to import.
    with loading():
        from service.server import run

    raise typer.Exit(run(settings))
