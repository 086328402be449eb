"""What to watch, read from TOML and checked before anything starts."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

NAME = "[A-Za-z0-9._:@-]{1,64}"
KINDS = ("rtsp", "onvif", "file", "folder", "v4l2")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigError(ValueError):
    """The file is no configuration; the text names the line, the key, or both."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class _Source(_Strict):
    """What every source has. `name`: the camera of its decisions.

    `fps`: frames a second that are looked at; `motion`: the share of changed pixels that opens the gate.
    `min_quality`: of a good frame, 0 to 100 as the service measures it. `early`: good frames after which a
    track is sent for the first time; `enough`: after which it is sent for good; `frames`: the best of them
    that are sent. `lost_s`: a track ends so long after its last face; longer than others take to come to the
    same place, and two people become one track. `again_after_s`: the same person within so many seconds is
    not reported again. `turn`: a camera hangs as it hangs, and `auto` takes four times as long without faces.
    """

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    spectrum: Literal["auto", "nir", "vis"] = "auto"
    turn: Literal["auto", 0, 90, 180, 270] = 0
    fmr: Annotated[float, Field(gt=0, lt=1)] | None = None
    agree: Annotated[int, Field(ge=1, le=16)] | None = None
    fps: Annotated[float, Field(gt=0, le=60)] = 5.0
    motion: Annotated[float, Field(ge=0, lt=1)] = 0.002
    min_quality: Annotated[int, Field(ge=0, le=100)] = 20
    early: Annotated[int, Field(ge=1, le=16)] = 3
    enough: Annotated[int, Field(ge=1, le=1000)] = 24
    frames: Annotated[int, Field(ge=1, le=16)] = 8
    lost_s: Annotated[float, Field(gt=0, le=60)] = 0.8
    again_after_s: Annotated[float, Field(ge=0, le=3600)] = 30.0

    @model_validator(mode="after")
    def _in_order(self) -> _Source:
        if not self.early <= self.enough:
            raise ValueError("`early` is at most `enough`")
        if self.agree is not None and self.agree > self.frames:
            raise ValueError("`agree` is at most `frames`: no more are sent")
        return self


class _Named(_Source):
    """A source on the network. `url` may name variables of the environment, such as
    rtsp://user:${GATE_PASSWORD}@host/stream."""

    url: str
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        for name in VARIABLE.findall(url):
            if name not in os.environ:
                raise ValueError(f"the variable {name} is not set")
        return url


class RtspSource(_Named):
    """A stream. `url`: rtsp:// or rtsps://."""

    kind: Literal["rtsp"]
    transport: Literal["tcp", "udp"] = "tcp"

    @field_validator("url")
    @classmethod
    def _scheme(cls, url: str) -> str:
        if not re.match(r"rtsps?://[^/]", url):
            raise ValueError("an address begins with rtsp:// or rtsps://")
        return url

    @property
    def address(self) -> str:
        """The address with its password: for the connection alone, never to be shown."""
        return VARIABLE.sub(lambda found: os.environ[found[1]], self.url)


class OnvifSource(_Named):
    """Snapshots of a camera, `fps` a second at most. `url`: of its device service, such as
    http://user:${GATE_PASSWORD}@host/onvif/device_service. `profile`: the token of a media profile, by
    default the camera's first."""

    kind: Literal["onvif"]
    profile: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    @field_validator("url")
    @classmethod
    def _scheme(cls, url: str) -> str:
        if not re.match(r"https?://[^/]", url):
            raise ValueError("an address begins with http:// or https://")
        try:
            found = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError("no address") from error
        if not found.host:
            raise ValueError("an address has a host")
        return url

    @property
    def address(self) -> httpx.URL:
        """The address with its password, which may hold any character: never to be shown."""

        def value(found: re.Match[str]) -> str:
            return quote(os.environ[found[1]], safe="")

        return httpx.URL(VARIABLE.sub(value, self.url))


class FileSource(_Source):
    """A recorded video. `began_at`: when; without it, what the file's modification time says."""

    kind: Literal["file"]
    path: Path
    began_at: datetime | None = None

    @field_validator("path", mode="before")
    @classmethod
    def _path(cls, given: object) -> object:
        return Path(given) if isinstance(given, str) else given

    @field_validator("began_at")
    @classmethod
    def _zoned(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            raise ValueError("a time needs a zone, such as 2027-01-31T12:00:00Z")
        return moment


class FolderSource(_Source):
    """Images in one folder, in the order of their names, each a frame of one camera. `follow`: wait for more;
    a file is read once it has not changed for `settle_s`. `interval_s`: between two frames."""

    kind: Literal["folder"]
    path: Path
    follow: bool = False
    interval_s: Annotated[float, Field(gt=0, le=3600)] = 0.2
    settle_s: Annotated[float, Field(ge=0, le=60)] = 0.5

    @field_validator("path", mode="before")
    @classmethod
    def _path(cls, given: object) -> object:
        return Path(given) if isinstance(given, str) else given


class V4l2Source(_Source):
    """A camera of this machine. `device`: such as /dev/video0, or a name below /dev/v4l/by-id that stays.

    `pixel_format`: of grey levels; `auto` takes them from a camera that offers nothing else, or if
    `spectrum` is nir, and leaves the others to FFmpeg, as `input_format` does too. `white`: the level that
    becomes 255, by default the largest. `size`: such as 1280x720, by default what the camera is set to;
    `rate`: frames a second that the camera is asked for.
    """

    kind: Literal["v4l2"]
    device: Annotated[str, Field(pattern="^/dev/")]
    pixel_format: Literal["auto", "GREY", "Y10", "Y10P", "Y12", "Y12P", "Y14", "Y16", "Y16BE"] = "auto"
    white: Annotated[int, Field(ge=1, le=65535)] | None = None
    size: Annotated[str, Field(pattern="^[0-9]{2,5}x[0-9]{2,5}$")] | None = None
    rate: Annotated[int, Field(ge=1, le=1000)] | None = None
    input_format: str | None = None

    @model_validator(mode="after")
    def _one_reader(self) -> V4l2Source:
        if self.pixel_format == "auto":
            if self.white is not None:
                raise ValueError("`white` needs a `pixel_format`: levels of what is meant")
        elif self.input_format is not None:
            raise ValueError("`input_format` is for FFmpeg, which does not read `pixel_format`")
        elif self.white is not None and self.white >= 1 << _bits(self.pixel_format):
            raise ValueError(f"{self.pixel_format} has no level {self.white}")
        return self

    @property
    def pixels_asked(self) -> tuple[int, int] | None:
        """Width and height, if the file says them."""
        if self.size is None:
            return None
        width, _, height = self.size.partition("x")
        return int(width), int(height)


def _bits(pixel_format: str) -> int:
    """Of a level: the name holds them."""
    return 8 if pixel_format == "GREY" else int(re.sub("[^0-9]", "", pixel_format))


Source = Annotated[
    RtspSource | OnvifSource | FileSource | FolderSource | V4l2Source, Field(discriminator="kind")
]


def _host_name() -> str:
    """The name of this machine, as far as a watcher may have it."""
    return re.sub("[^A-Za-z0-9._:@-]", "-", socket.gethostname())[:64] or "watcher"


class WatchConfig(_Strict):
    """`name`: of this watcher in the console; by default that of the machine. `spool`: where tracks wait that
    are decided to be sent, `spool_mib` at most. `status`: a file that tells every second how it goes.
    `metrics_port`: for Prometheus, on loopback unless `metrics_host` says another address."""

    name: Annotated[str, Field(pattern=f"^{NAME}$")] = Field(default_factory=_host_name)
    spool: Path
    spool_mib: Annotated[int, Field(ge=1, le=1 << 20)] = 64
    status: Path | None = None
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    metrics_host: str = "127.0.0.1"
    source: Annotated[tuple[Source, ...], Field(min_length=1, strict=False)]

    @field_validator("spool", "status", mode="before")
    @classmethod
    def _path(cls, given: object) -> object:
        return Path(given) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _own_names(self) -> WatchConfig:
        names = [one.name for one in self.source]
        if double := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two sources are called {', '.join(sorted(double))}")
        return self


def load_config(path: Path) -> WatchConfig:
    """Reads what to watch; paths in it are relative to the file. Raises ConfigError, OSError."""
    try:
        text = path.read_text(encoding="utf-8")
        read = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError("the file is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(error)) from error
    for table in (read, *(one for one in read.get("source", ()) if isinstance(one, dict))):
        for key in ("spool", "status", "path"):
            if isinstance(table.get(key), str):
                table[key] = str(path.parent / Path(table[key]).expanduser())
    try:
        return WatchConfig.model_validate(read)
    except ValidationError as error:
        raise ConfigError("; ".join(_said(one, text) for one in error.errors()[:5])) from error


def _said(error: Any, text: str) -> str:
    """One fault with its key, and the line of it where it can be found."""
    where = [part for part in error["loc"] if part not in KINDS]
    key = ".".join(str(part) for part in where) or "the file"
    number = next((part for part in where if isinstance(part, int)), None)
    line = _line(text, number, where[-1] if where and isinstance(where[-1], str) else None)
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{key}{'' if line is None else f' (line {line})'}: {said}"


def _line(text: str, number: int | None, key: str | None) -> int | None:
    """The line of a key in the table of source `number`, from 0; of the table itself if it lacks the key."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*\[\[\s*source\s*\]\]", line)]
    if number is None:
        first, last = 0, starts[0] if starts else len(lines)
    elif number < len(starts):
        first, last = starts[number], [*starts, len(lines)][number + 1]
    else:
        return None
    if key is not None:
        for i in range(first, last):
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", lines[i]):
                return i + 1
    return None if number is None else first + 1
