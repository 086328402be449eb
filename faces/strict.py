"""What every document of ours is checked by: the one base of strict, frozen pydantic models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """An unknown key, or a number that is none, is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def said(message: str) -> str:
    """The message of one of our own checks, without what pydantic puts before it."""
    return message.removeprefix("Value error, ")
