"""Runs the recipes of `halflight models build`, which train a bundle in a child process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faces.bundle import BundleError, read, verify
from service.bundles.catalogue import CATALOGUE
from service.bundles.download import ProvisionError, model_cache, pull
from service.bundles.reference import assemble, bundle_path
from service.cli.output import Failure, print_status
from service.errors import TrainingUnavailable
from service.settings import Settings, cache_root

# Maps the name of a recipe to the module that builds it.
RECIPES = {"reference-hsst": "export.reference_hsst", "matcher": "export.trunk_matcher"}
# This one starts from a bundle that the caller names, and pulls nothing.
FROM_TRUNK = "matcher"
# The bundle that `python -m training tools --trunk` makes.
TRUNK = "trunk-0095"
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPaths:
    """`out`: directory of the bundle. `work`: directory that a killed run resumes from."""

    out: Path
    work: Path


def build_paths(name: str, out: Path | None, work: Path | None) -> BuildPaths:
    """Returns the given directories, by default beside the other bundles and in the cache."""
    root = cache_root()
    return BuildPaths(out=out or root / "bundles" / name, work=work or root / "building" / name)


def build(name: str, paths: BuildPaths, options: Sequence[str], *, trunk: Path | None = None) -> None:
    """Pulls missing weights unless there is a `trunk`, trains, exports, and calibrates with a set.

    Raises Failure if a step fails.
    """
    if name not in RECIPES:
        raise Failure(f"there is no recipe {name!r}", detail=f"there are: {', '.join(RECIPES)}", exit_code=2)
    if (name == FROM_TRUNK) != (trunk is not None):
        raise Failure(
            f"--trunk BUNDLE goes with the recipe {FROM_TRUNK}, and with no other",
            hint="`halflight models import` makes such a bundle",
            exit_code=2,
        )
    python = _training_python()
    command = [str(python), "-m", RECIPES[name], *options, "--out", str(paths.out), "--work", str(paths.work)]
    command += ["--base", str(find_base())] if trunk is None else ["--trunk", str(trunk)]
    try:
        code = subprocess.run(command, check=False).returncode  # noqa: S603 - a fixed module, checked options
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code in (INTERRUPTED, -2):
        raise Failure("stopped", hint="the same command goes on where it was", exit_code=INTERRUPTED)
    if code:
        raise Failure(f"{name} was not built: the reason stands above", exit_code=max(1, code))
    print_status(f"bundle {name} is ready in {paths.out}")


def find_base(directories: Sequence[Path] | None = None) -> Path:
    """Returns the reference bundle, with what is missing of it pulled, or else the trunk's. Raises Failure.

    Two of the reference's files have no public download; `python -m training tools --trunk` makes a bundle
    of the same embedder and the built-in detector. `directories`: as in `pull`.
    """
    trunk = bundle_path(TRUNK)
    try:
        pull(CATALOGUE, cache=model_cache(), directories=directories)
        return assemble()
    except (ProvisionError, BundleError) as error:
        if _is_whole(trunk):
            print_status(f"the reference bundle cannot be had: it starts from {TRUNK}, in {trunk}")
            return trunk
        title, _, detail = str(error).partition("\n")
        hint = f"`python -m training tools --trunk` makes {TRUNK} of public files, to start from instead"
        raise Failure(title, detail=detail, hint=hint) from error
    except OSError as error:
        raise Failure(f"{model_cache()} cannot be written: {error.strerror}") from error


def _is_whole(directory: Path) -> bool:
    try:
        verify(read(directory))
    except BundleError:
        return False
    return True


def _training_python() -> Path:
    """Returns the interpreter that trains. Raises Failure, which names the extra, if it lacks torch."""
    # It loads the database's libraries, which no command but this one of `models` needs.
    from service.retraining.environment import missing_modules

    python = Settings().train_python
    try:
        missing = missing_modules(python)
    except TrainingUnavailable as error:
        raise Failure(str(error)) from error
    if missing:
        raise Failure(
            f"the interpreter that trains lacks {', '.join(missing)}",
            hint="install the `train` extra (`pip install halflight[train]`, in a checkout `make train`),"
            f" or name an interpreter that has it in HALFLIGHT_TRAIN_PYTHON{_interpreter_note(python)}",
        )
    return python


def _interpreter_note(python: Path) -> str:
    return "" if "HALFLIGHT_TRAIN_PYTHON" not in os.environ else f" (now {python.name})"
