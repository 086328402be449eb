"""Defines every refusal of a request with its status and code (RFC 9457).

The codes are part of the contract: clients switch on them. Texts may change.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ServiceError(Exception):
    """Base class of refusals. The client sees `detail`, so it holds no path, pixel or vector."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "The service failed"

    def __init__(self, detail: str, *, index: int | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail, self.index, self.extra = detail, index, extra

    def headers(self) -> dict[str, str]:
        """Returns the headers that the response needs besides the body."""
        return {}

    def problem(self) -> dict[str, Any]:
        """Returns the problem details body (RFC 9457, section 3)."""
        body: dict[str, Any] = {
            "type": f"urn:halflight:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.index is not None:
            body["index"] = self.index
        return body | self.extra


class MalformedRequest(ServiceError):
    status, code, title = 400, "malformed_request", "The request cannot be parsed"


class Unauthorized(ServiceError):
    status, code, title = 401, "unauthorized", "A valid key is needed"

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    status, code, title = 403, "forbidden", "The key lacks the role"


class NotFound(ServiceError):
    status, code, title = 404, "not_found", "There is nothing here"


class RequestTimeout(ServiceError):
    status, code, title = 408, "request_timeout", "The request came too slowly"


class CallerGone(ServiceError):
    """Nobody reads this answer; the status is for the log."""

    status, code, title = 499, "caller_gone", "The caller has gone"


class SubjectNotFound(NotFound):
    code, title = "subject_not_found", "No such subject"


class SampleNotFound(NotFound):
    code, title = "sample_not_found", "No such sample"


class JobNotFound(NotFound):
    code, title = "job_not_found", "No such job"


class SpaceNotFound(NotFound):
    code, title = "space_not_found", "No such embedding space"


class DatasetNotFound(NotFound):
    code, title = "dataset_not_found", "No such uploaded data set"


class ThresholdsNotFound(NotFound):
    code, title = "thresholds_not_found", "No such version of thresholds"


class EventNotFound(NotFound):
    code, title = "event_not_found", "No such event is kept"


class UnknownNotFound(NotFound):
    code, title = "unknown_not_found", "No such unknown face is kept"


class DoorNotFound(NotFound):
    code, title = "door_not_found", "No such door"


class KeyNotFound(NotFound):
    code, title = "key_not_found", "No such key"


class HoldNotFound(NotFound):
    code, title = "hold_not_found", "The subject is not on hold"


class MethodNotAllowed(ServiceError):
    status, code, title = 405, "method_not_allowed", "The path does not take this method"


class DuplicateFace(ServiceError):
    status, code, title = 409, "duplicate_face", "The face matches another subject"


class SubjectExists(ServiceError):
    status, code, title = 409, "subject_exists", "The id belongs to another subject"


class SubjectMismatch(ServiceError):
    status, code, title = 409, "subject_mismatch", "The face is not the subject's"


class OnHold(ServiceError):
    status, code, title = 409, "on_hold", "The subject is on legal hold"


class GalleryNotEmpty(ServiceError):
    status, code, title = 409, "gallery_not_empty", "Subjects are enrolled already"


class LastAdminKey(ServiceError):
    status, code, title = 409, "last_admin_key", "No admin key would be left"


class ProbesNotKept(ServiceError):
    status, code, title = 409, "probes_not_kept", "The service keeps no crops of probes"


class DoorIsLive(ServiceError):
    status, code, title = 409, "door_is_live", "The door is no dry run"


class DoorNotSwitchable(ServiceError):
    status, code, title = 409, "door_not_switchable", "The file of doors does not let this door be switched"


class SpaceNotReady(ServiceError):
    status, code, title = 409, "space_not_ready", "The embedding space is not in the state for this"


class IdempotencyConflict(ServiceError):
    status, code, title = 409, "idempotency_conflict", "The key was used for another request"


class JobRunning(ServiceError):
    status, code, title = 409, "job_running", "Such a job is not finished yet"


class TrainingUnavailable(ServiceError):
    status, code, title = 409, "training_unavailable", "This service cannot train"


class ImageTooLarge(ServiceError):
    status, code, title = 413, "image_too_large", "The image is too large"


class BodyTooLarge(ServiceError):
    status, code, title = 413, "body_too_large", "The request is too large"


class UnsupportedMediaType(ServiceError):
    status, code, title = 415, "unsupported_media_type", "Not an image format the service decodes"


class UndecodableImage(ServiceError):
    status, code, title = 422, "undecodable_image", "The image is broken"


class ImageTooCostly(ServiceError):
    status, code, title = 422, "image_too_costly", "Decoding the image takes too much"


class NoFace(ServiceError):
    status, code, title = 422, "no_face", "No face was found"


class MultipleFaces(ServiceError):
    status, code, title = 422, "multiple_faces", "More than one face could be meant"


class PhotosDisagree(ServiceError):
    status, code, title = 422, "photos_disagree", "The images show different people"


class UnsureOrientation(ServiceError):
    status, code, title = 422, "unsure_orientation", "It is not clear which way up the face is"


class WrongSpectrum(ServiceError):
    status, code, title = 422, "wrong_spectrum", "The image is not of the spectrum it was sent as"


class LowQuality(ServiceError):
    status, code, title = 422, "low_quality", "The face is not good enough"


class ConsentMissing(ServiceError):
    status, code, title = 422, "consent_missing", "No consent of the subject is recorded"


class InvalidParameter(ServiceError):
    status, code, title = 422, "invalid_parameter", "A parameter has a wrong value"


class InvalidArchive(ServiceError):
    status, code, title = 422, "invalid_archive", "The archive cannot be taken"


class UnsupportedFmrPoint(ServiceError):
    status, code, title = 422, "unsupported_fmr", "No threshold is calibrated for this FMR"


class InvalidThresholds(ServiceError):
    status, code, title = 422, "invalid_thresholds", "The thresholds cannot be installed"


class StorageFull(ServiceError):
    status, code, title = 507, "storage_full", "The service's disk is full"


class StorageReadOnly(ServiceError):
    status, code, title = 503, "storage_read_only", "The service's disk takes no writes"


class RetryLater(ServiceError):
    """A temporary refusal: the client should try again after `retry_after_s`."""

    status = 503

    def __init__(self, detail: str, *, retry_after_s: int = 1, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.retry_after_s = retry_after_s

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class RateLimited(RetryLater):
    status, code, title = 429, "rate_limited", "Too many requests"


class Overloaded(RetryLater):
    code, title = "overloaded", "The service is at its limit"


class StorageBusy(RetryLater):
    code, title = "storage_busy", "Other writers hold the database"


class NotReady(RetryLater):
    code, title = "not_ready", "The service is not ready"


class NotSearchableYet(NotReady):
    """A change was committed, and the gallery of this process has not followed it."""


class AuditUnavailable(RetryLater):
    code, title = "audit_unavailable", "The operation cannot be audited"


class Draining(RetryLater):
    code, title = "draining", "The service is shutting down"
