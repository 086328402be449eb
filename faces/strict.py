"""Defines the base class of every pydantic model of the project: strict and frozen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Refuses unknown keys, NaN and infinities; instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def strip_prefix(message: str) -> str:
    """Removes the prefix that pydantic puts before the message of a validator of ours."""
    return message.removeprefix("Value error, ")
