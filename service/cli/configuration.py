"""Creates the settings from command line options and the environment."""

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
# Variables that other modules than `service.settings` read.
OTHER_VARIABLES = (
    *("CACHE", "MODEL_DIR", "KEY", "URL", "TRACEBACK", "BACKUP_PASSPHRASE", "SECRETS_DIR", "FRIGATE_URL"),
)


def settings_from(**given: Any) -> Settings:
    """Creates the settings; an option that is None comes from `HALFLIGHT_*`, else from the default.

    Raises Failure (exit code 2) if a value is invalid or a variable is unknown.
    """
    if lines := _unknown_variables():
        raise Failure(
            "the environment holds settings that do not exist", detail="\n".join(lines), exit_code=2
        )
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        # Only the message, since the value may be a database URL with its password.
        lines = [_describe(fault["loc"], strip_prefix(fault["msg"])) for fault in error.errors()]
    except SettingsError as error:
        lines = [str(error)]
    raise Failure("the settings are wrong", detail="\n".join(lines), exit_code=2)


def _unknown_variables() -> list[str]:
    """Describes each unknown `HALFLIGHT_*` variable; a misspelt limit would silently not hold."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *OTHER_VARIABLES)}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    lines = []
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1)
        lines.append(f"{name}: did you mean {near[0]}?" if near else f"{name}: unset it")
    return lines


def _describe(location: tuple[int | str, ...], message: str) -> str:
    return f"{PREFIX}{str(location[0]).upper()}: {message}" if location else message
