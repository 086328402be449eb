"""What can go wrong with a request, as exceptions. None of them holds the key, a picture or a vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from halflight.client.types import Rejected


class ClientError(Exception):
    """Every error of this package but ValueError and TypeError for wrong arguments, and OSError of files."""


class Unreachable(ClientError):
    """No service answers at the address, or the connection broke. What was asked may have been done."""


class TimedOut(Unreachable):
    """The service did not answer in time. What was asked may have been done, or still be."""


class UnexpectedAnswer(ClientError):
    """The answer is not one of Halflight: another service, or a proxy, stands at the address."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Refused(ClientError):
    """The service refused the request.

    `status` and `code` are for programs: a code is stable, and there are more of them than classes here.
    `title` and `detail` are for people. `index`: which of several images is meant, from 0. `problem`: the
    whole body of the answer (RFC 9457). `retry_after_s`: after how many seconds to ask again, if it says so.
    """

    statuses: ClassVar[frozenset[int]] = frozenset()

    def __init__(self, problem: Mapping[str, Any], *, retry_after_s: float | None = None) -> None:
        self.problem = dict(problem)
        self.status, self.code = int(problem["status"]), str(problem["code"])
        self.title, self.detail = str(problem.get("title", "")), str(problem["detail"])
        index = problem.get("index")
        self.index = index if isinstance(index, int) else None
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.detail} ({self.status} {self.code})")

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The images of an enrolment that were refused, each with its reason."""
        found = self.problem.get("rejected")
        return tuple(Rejected.model_validate(one) for one in found) if isinstance(found, list) else ()

    @property
    def subject_id(self) -> str | None:
        """The other subject that a conflict names, such as `duplicate_face`."""
        found = self.problem.get("subject_id")
        return found if isinstance(found, str) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.problem, self.retry_after_s)


class BadRequest(Refused):
    """The request cannot be parsed, or its path does not take it."""

    statuses = frozenset({400, 405, 408})


class Unauthorized(Refused):
    """The service needs a key, and the client gave none, or one that it does not know or no longer."""

    statuses = frozenset({401})


class Forbidden(Refused):
    """The key lacks the role or permission."""

    statuses = frozenset({403})


class NotFound(Refused):
    """There is no such subject, sample or job."""

    statuses = frozenset({404})


class Conflict(Refused):
    """What is there already stands against it, such as `duplicate_face`, `subject_mismatch`, `on_hold`."""

    statuses = frozenset({409})


class TooLarge(Refused):
    """The image or the request is larger than the service takes."""

    statuses = frozenset({413})


class UnsupportedMediaType(Refused):
    """The bytes are no image, or no archive, that the service reads."""

    statuses = frozenset({415})


class InvalidInput(Refused):
    """The input is well formed and of no use, such as `no_face`, `low_quality`, `invalid_parameter`."""

    statuses = frozenset({422})


class RateLimited(Refused):
    """The key, or the address, asks too often. The client has waited already (`Retry`)."""

    statuses = frozenset({429})


class Unavailable(Refused):
    """The service cannot answer now, such as `overloaded`, `not_ready`, `draining`. The client has waited."""

    statuses = frozenset({503})


class StorageFull(Refused):
    """The service's disk is full; erasure still works."""

    statuses = frozenset({507})


class ServerFailed(Refused):
    """The service failed; its log says why."""

    statuses = frozenset({500})


KINDS = {status: kind for kind in Refused.__subclasses__() for status in kind.statuses}


def refusal(problem: Mapping[str, Any], *, retry_after_s: float | None = None) -> Refused:
    """Returns the exception for a problem response; `Refused` itself for a status without its own class."""
    return KINDS.get(int(problem["status"]), Refused)(problem, retry_after_s=retry_after_s)


def is_problem(body: object) -> bool:
    """Returns whether a body has the fields that every problem response of the service has."""
    return (
        isinstance(body, dict)
        and isinstance(body.get("status"), int)
        and isinstance(body.get("code"), str)
        and isinstance(body.get("detail"), str)
    )


def _again(kind: type[Refused], problem: Mapping[str, Any], retry_after_s: float | None) -> Refused:
    """Makes a pickled refusal again."""
    return kind(problem, retry_after_s=retry_after_s)
