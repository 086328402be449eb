"""`python -m training tools`: the networks that are public, but not as ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from faces.bundle import BundleError
from training.synthesis.assets import CANONICAL_FACE, SynthesisError, cache_directory, find_file
from training.views.public_tools import (
    MASK_ADDRESS,
    MASK_NAME,
    TRUNK_NAME,
    Made,
    mask_network,
    mesh_network,
    trunk_network,
)
from training.views.trunk_bundle import NAME, trunk_bundle


def tools(
    out: Annotated[Path | None, typer.Option(help="folder of the networks, else the cache")] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="a wheel of mediapipe 0.10.21, else pip downloads it")
    ] = None,
    trunk: Annotated[
        bool, typer.Option("--trunk", help="also the trunk of `models build`, from the Open Model Zoo")
    ] = False,
    openvino_ir: Annotated[
        Path | None, typer.Option(help="folder of its .xml and .bin, else they are downloaded")
    ] = None,
    mask_net: Annotated[
        Path | None, typer.Option(help=f"the file of {MASK_ADDRESS}; only the old reference bundle needs it")
    ] = None,
) -> None:
    """Make the face mesh (and the trunk) of public files; every source or result is pinned by its digest."""
    console, errors = Console(), Console(stderr=True)
    place = out or cache_directory()
    failed = False

    def attempt(what: str, step: Callable[[], str]) -> None:
        nonlocal failed
        try:
            console.print(f"{what}: {step()}", markup=False, soft_wrap=True)
        except (SynthesisError, BundleError, OSError) as error:
            errors.print(f"{what}: {error}", markup=False, soft_wrap=True)
            failed = True

    say = lambda text: errors.print(text, markup=False, soft_wrap=True)  # noqa: E731
    attempt("face mesh", lambda: _told(mesh_network(place, wheel=wheel, say=say)))
    attempt("face model", lambda: str(find_file(CANONICAL_FACE, place)))
    if trunk or openvino_ir is not None:
        attempt("trunk", lambda: _trunk(place, openvino_ir))
    if mask_net is not None:
        attempt(MASK_NAME, lambda: _told(mask_network(place, mask_net)))
    if failed:
        raise typer.Exit(1)


def _told(made: Made) -> str:
    return f"{made.path}{'' if made.pinned else ' (not to the byte the file this project measured with)'}"


def _trunk(place: Path, openvino_ir: Path | None) -> str:
    made = trunk_network(place, representation=openvino_ir)
    bundle = cache_directory().parent / "bundles" / NAME
    lowest = trunk_bundle(made.path, bundle)
    return f"{_told(made)}; bundle {bundle}, cosines with the measured {TRUNK_NAME} from {lowest:.6f}"
