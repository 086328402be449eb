"""How CompreFace's routes differ from ours: where the key stands, what a refusal looks like, slashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from service.api.compreface.schemas import RefusalOut
from service.api.deps import Credential
from service.api.guard import GuardedRoute, Handler, ImageRoute
from service.errors import (
    Forbidden,
    InvalidParameter,
    MalformedRequest,
    MultipleFaces,
    NoFace,
    SampleNotFound,
    ServiceError,
    Unauthorized,
    UnsupportedMediaType,
)

PREFIX = "/api/v1"
API_KEY = Credential("x-api-key")
SECURITY_SCHEME = {"compreface_key": {"type": "apiKey", "in": "header", "name": API_KEY.header}}
# CompreFace's own numbers for what it has as well. Clients switch on 28: a picture without a face.
CODES: dict[type[ServiceError], int] = {
    Forbidden: 1,
    Unauthorized: 10,
    SampleNotFound: 11,
    UnsupportedMediaType: 21,
    InvalidParameter: 26,
    MalformedRequest: 26,
    NoFace: 28,
    MultipleFaces: 31,
}
OTHER = 0
NO_FACE = "No face is found in the given image"

REFUSALS: dict[int | str, dict[str, Any]] = {
    "default": {"model": RefusalOut, "description": "a refusal, as CompreFace gives them"}
}
F = TypeVar("F", bound=Callable[..., Any])


class CompreFaceRoute(GuardedRoute):
    """A route whose key stands in `x-api-key`, and whose refusals are `{message, code}`."""

    credential: ClassVar[Credential] = API_KEY

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        self.openapi_extra = (self.openapi_extra or {}) | {"security": [{"compreface_key": []}]}
        return handler

    @staticmethod
    def render_refusal(error: ServiceError) -> JSONResponse:
        """CompreFace refuses with 400 what we refuse with 422; every other status is ours.

        `reason` is our own code, which CompreFace does not have.
        """
        body = RefusalOut(
            message=NO_FACE if isinstance(error, NoFace) else error.detail,
            code=CODES.get(type(error), OTHER),
            reason=error.code,
        )
        status = 400 if error.status == 422 else error.status
        return JSONResponse(body.model_dump(), status_code=status, headers=error.headers())


class CompreFaceImageRoute(CompreFaceRoute, ImageRoute):
    """One that takes images, as a form or as JSON in base64."""

    one_image: ClassVar[tuple[str, ...]] = ("file", "source_image", "target_image")


def with_and_without_slash(
    register: Callable[..., Callable[[F], F]], path: str, **options: Any
) -> Callable[[F], F]:
    """Registers a route at a path and at the same path with a slash, as CompreFace's own examples have it."""

    def decorate(endpoint: F) -> F:
        register(f"{path}/", include_in_schema=False, **options)(endpoint)
        return register(path, **options)(endpoint)

    return decorate


def router(route_class: type[CompreFaceRoute], **options: Any) -> APIRouter:
    return APIRouter(
        prefix=PREFIX, tags=["compreface"], route_class=route_class, responses=REFUSALS, **options
    )
