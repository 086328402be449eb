"""The course of a request, as a generator of steps that a shell carries out: no input, no output.

`Client` and `AsyncClient` differ only in how they read, send and wait. When to try again, where a list goes
on and how a stream is taken up again stands here and in `operations.py`, once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx
from pydantic import ValidationError

from halflight.client.errors import TimedOut, UnexpectedAnswer, Unreachable, is_problem, refusal
from halflight.client.photos import Photo
from halflight.client.requests import Request
from halflight.client.retry import Attempts, Retry, retry_after_s
from halflight.client.types import Answer


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request. Returns the whole response, or the error of the connection."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request and keep its response open, in place of an earlier one. Returns as `Send` does; the body
    of a response that is no success has been read."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """Read on in the open response. Returns bytes, None at its end, or the error of the connection."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand a value to the caller."""

    value: Any


@dataclass(frozen=True, slots=True)
class Load:
    """Read a photo. Returns its bytes."""

    photo: Photo


Step: TypeAlias = Load | Send | Open | Read | Wait | Emit
T = TypeVar("T")
A = TypeVar("A", bound=Answer)
Steps: TypeAlias = Generator[Step, Any, T]
Got: TypeAlias = httpx.Response | httpx.TransportError


def ask(request: Request, kind: type[A], retry: Retry) -> Steps[A]:
    """Sends a request, again if that is safe and useful. Raises ClientError."""
    response = yield from answered(request, retry)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        said = f"the answer to {request.method} {request.path.split('/')[1]} lacks or spoils `{where}`"
    raise UnexpectedAnswer(said, status=response.status_code)


def answered(request: Request, retry: Retry) -> Steps[httpx.Response]:
    """The same, for a body that is no JSON."""
    attempts = Attempts(retry, request.repeat)
    while True:
        got: Got = yield Send(request)
        if (wait_s := attempts.wait_s(got)) is None:
            return checked(got, request.also)
        yield Wait(wait_s)


def checked(got: Got, also: frozenset[int]) -> httpx.Response:
    """Returns a response that answers what was asked. Raises ClientError for anything else.

    The errors have no `__cause__`: that of httpx holds the request, with the key and the pictures.
    """
    if isinstance(got, httpx.TimeoutException):
        raise TimedOut(f"the service did not answer in time ({type(got).__name__})")
    if isinstance(got, httpx.TransportError):
        raise Unreachable(f"no answer of the service: {got or type(got).__name__}")
    if got.is_success or got.status_code in also:
        return got
    try:
        body = got.json()
    except ValueError:
        body = None
    if is_problem(body):
        raise refusal(body, retry_after_s=retry_after_s(got))
    raise UnexpectedAnswer(
        f"the address answered {got.status_code}, and not as Halflight does", status=got.status_code
    )
