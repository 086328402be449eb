"""Settings from the options that were given; everything else comes from the environment."""

from __future__ import annotations

import difflib
import os
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from faces.strict import strip_prefix
from service.cli.output import Failure
from service.settings import Settings

PREFIX = "HALFLIGHT_"
# Read by other parts than Settings.
ELSEWHERE = ("CACHE", "MODEL_DIR", "KEY", "URL", "TRACEBACK")


def settings_from(**given: Any) -> Settings:
    """Options that are None are left to `HALFLIGHT_*` and the defaults. Raises Failure (exit code 2)."""
    if lines := _misspelt():
        raise Failure(
            "the environment holds settings that do not exist", detail="\n".join(lines), exit_code=2
        )
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        # Only the message: the value may be a database URL with its password.
        lines = [_told(fault["loc"], strip_prefix(fault["msg"])) for fault in error.errors()]
    except SettingsError as error:
        lines = [str(error)]
    raise Failure("the settings are wrong", detail="\n".join(lines), exit_code=2)


def _misspelt() -> list[str]:
    """A limit that is misspelt would silently not hold, so it stops the start."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *ELSEWHERE)}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    lines = []
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1)
        lines.append(f"{name}: did you mean {near[0]}?" if near else f"{name}: unset it")
    return lines


def _told(place: tuple[int | str, ...], message: str) -> str:
    return f"{PREFIX}{str(place[0]).upper()}: {message}" if place else message
