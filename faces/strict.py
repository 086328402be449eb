"""Defines the base class of every pydantic model of the project, strict and frozen, and types of JSON that
mean what an OpenAPI document says of them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

# pydantic would also take a number, as seconds since 1970, which the OpenAPI document does not promise.
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Strict(BaseModel):
    """Refuses unknown keys, NaN and infinities; instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def strip_prefix(message: str) -> str:
    """Removes the prefix that pydantic puts before the message of a validator of ours."""
    return message.removeprefix("Value error, ")


def _iso(value: object) -> object:
    """Raises ValueError for what does not begin as ISO 8601 writes a date."""
    if isinstance(value, datetime) or (isinstance(value, str) and ISO_DATE.match(value)):
        return value
    raise ValueError("write a time as ISO 8601 does, such as 2027-01-31T12:00:00Z")


def _number(value: object) -> object:
    """Raises ValueError for true and for text; 70.0 is an integer in JSON."""
    if isinstance(value, bool | str):
        raise ValueError("give a number")  # noqa: TRY004 - pydantic makes a refusal of this
    return value


# pydantic would also take true or "1" for 1, and "yes" for true, which the OpenAPI document does not promise.
# Behind its bounds, which the document would lose otherwise: Annotated[int, Field(ge=1), INTEGER].
INTEGER = BeforeValidator(_number)
Number = Annotated[float, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Moment = Annotated[datetime, BeforeValidator(_iso)]
ZonedMoment = Annotated[AwareDatetime, BeforeValidator(_iso)]
