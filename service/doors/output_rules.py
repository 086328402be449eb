"""What the file of doors may say about outputs: what opens the door once a rule allows it."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from faces.strict import Strict

Bits = Literal[26, 34]
BAUDS = (9600, 19200, 38400, 57600, 115200)
Baud = Literal[9600, 19200, 38400, 57600, 115200]
HEADER = r"^[A-Za-z0-9-]{1,64}$"


class _Part(Strict):
    model_config = ConfigDict(strict=True)


class HttpCall(_Part):
    """One fixed request. `header`, `secret_file`: a header whose value is the content of a file, which lies
    beside this one unless its path is absolute. 2xx within `timeout_ms` is success; redirects are not
    followed, and nothing is tried again."""

    kind: Literal["http"]
    url: str
    method: Literal["GET", "POST", "PUT"] = "POST"
    header: Annotated[str, Field(pattern=HEADER)] | None = None
    secret_file: Annotated[str, Field(min_length=1)] | None = None
    timeout_ms: Annotated[int, Field(ge=50, le=10_000)] = 1000

    @field_validator("url")
    @classmethod
    def _fixed(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the address is http://HOST/PATH or https://HOST/PATH")
        if parts.username or parts.password or parts.fragment:
            raise ValueError("the address has no user, no password and no fragment: use `header`")
        return url

    @model_validator(mode="after")
    def _secret_has_a_header(self) -> Self:
        if (self.header is None) != (self.secret_file is None):
            raise ValueError("`header` and `secret_file` belong together: give both or neither")
        return self


class CommandCall(_Part):
    """A program that gets the number on its standard input: one line of 0 and 1. Exit code 0 is success."""

    kind: Literal["command"]
    command: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]

    @field_validator("command")
    @classmethod
    def _absolute(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if not command[0].startswith("/"):
            raise ValueError("name the program by its absolute path")
        return command


class SerialCall(_Part):
    """A serial line that gets the number as one line of 0 and 1."""

    kind: Literal["serial"]
    device: Annotated[str, Field(pattern="^/.+")]
    baud: Baud = 9600


class _Card(_Part):
    """The number of a card, from a metadata field of the subject. `facility`: of the site; absent: the field
    holds FACILITY:NUMBER."""

    bits: Bits = 26
    card_field: Annotated[str, Field(min_length=1)] = "card"
    facility: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _facility_fits(self) -> Self:
        most = 255 if self.bits == 26 else 65_535
        if self.facility is not None and self.facility > most:
            raise ValueError(f"the facility of {self.bits} bits is {most} at most")
        return self


class WiegandOutput(_Card):
    """A Wiegand number, handed to a program, a serial line or an address (as JSON: bits, number)."""

    kind: Literal["wiegand"]
    hand_to: Annotated[CommandCall | SerialCall | HttpCall, Field(discriminator="kind")]


class OsdpOutput(_Card):
    """A reader on an OSDP line that presents the card to a control panel. `key_file`: the key of its secure
    channel, 32 hexadecimal digits; `insecure = true` instead goes without."""

    kind: Literal["osdp"]
    device: Annotated[str, Field(pattern="^/.+")]
    baud: Baud = 9600
    address: Annotated[int, Field(ge=0, le=126)] = 0
    key_file: Annotated[str, Field(min_length=1)] | None = None
    insecure: Literal[True] | None = None

    @model_validator(mode="after")
    def _secured(self) -> Self:
        if (self.key_file is None) == (self.insecure is None):
            raise ValueError("give `key_file` for the secure channel, or write `insecure = true`")
        return self


AnyOutput = Annotated[HttpCall | WiegandOutput | OsdpOutput, Field(discriminator="kind")]
