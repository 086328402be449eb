"""Settings from the options that were given; everything else comes from the environment."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from service.cli.output import Failure
from service.settings import Settings


def settings_from(**given: Any) -> Settings:
    """Options that are None are left to `HALFLIGHT_*` and the defaults. Raises Failure (exit code 2)."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        # Only the message: the value may be a database URL with its password.
        lines = [_told(fault["loc"], fault["msg"]) for fault in error.errors()]
    except SettingsError as error:
        lines = [str(error)]
    raise Failure("the settings are wrong", detail="\n".join(lines), exit_code=2)


def _told(place: tuple[int | str, ...], message: str) -> str:
    return f"HALFLIGHT_{str(place[0]).upper()}: {message}" if place else message
