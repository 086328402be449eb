"""Routes of /admin/export and /admin/import: the whole gallery as one encrypted archive."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute, StreamRoute
from service.api.media import BYTES, media_type
from service.api.problems import problem_docs
from service.api.schemas.transfer import ExportIn, ImportOut
from service.errors import (
    BodyTooLarge,
    Draining,
    Forbidden,
    GalleryNotEmpty,
    InvalidArchive,
    InvalidParameter,
    MalformedRequest,
    NotReady,
    Overloaded,
    RateLimited,
    SpaceNotReady,
    StorageFull,
    Unauthorized,
    UnsupportedMediaType,
)
from service.moving.book import KeyBook
from service.moving.locks import Identity, LockError, Passphrase, Secret
from service.moving.spool import spooled
from service.moving.stream import ArchiveBroken
from service.moving.transfer import export_gallery, import_gallery, refuse_occupied
from service.settings import Settings

COMMON = (MalformedRequest, Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)
BINARY: dict[str, Any] = {BYTES: {"schema": {"type": "string", "format": "binary"}}}
AN_ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"description": "an archive; one that was cut off does not open", "content": BINARY}
}

export_router = APIRouter(tags=["administration"], route_class=GuardedRoute)
import_router = APIRouter(tags=["administration"], route_class=StreamRoute)


@export_router.post(
    "/admin/export",
    response_class=StreamingResponse,
    responses=AN_ARCHIVE | problem_docs(*COMMON, StorageFull),
)
async def export_all(asked: ExportIn, admin: Admin, state: StateDep) -> StreamingResponse:
    """The whole gallery of one moment as an encrypted archive, while the service goes on.

    Subjects with names, metadata, terms, samples, templates and crops, and the spaces; not API keys and
    the audit log, which `halflight backup` takes along. `halflight restore --verify` checks it.
    """
    try:
        book = _book(state.settings, needed=True) if asked.keys == "book" else None
        content = await export_gallery(state.db, asked.who(), book, admin.key_id)
    except LockError as error:
        raise InvalidParameter(str(error)) from error
    headers = {"Content-Disposition": 'attachment; filename="gallery.backup"'}
    return StreamingResponse(content, media_type=BYTES, headers=headers)


@import_router.post(
    "/admin/import",
    responses=problem_docs(
        *(*COMMON, GalleryNotEmpty, SpaceNotReady, BodyTooLarge, UnsupportedMediaType),
        *(InvalidArchive, StorageFull, Overloaded),
    ),
    openapi_extra={"requestBody": {"required": True, "content": BINARY}},
)
async def import_all(
    request: Request,
    admin: Admin,
    state: StateDep,
    x_halflight_passphrase: Annotated[
        str | None, Header(max_length=4096, description="the passphrase in UTF-8 and base64")
    ] = None,
    x_halflight_identity: Annotated[
        str | None, Header(pattern=r"^[0-9A-Fa-f]{64}$", description="the secret key of the recipient")
    ] = None,
) -> ImportOut:
    """Take the gallery of an archive, the body, into a service where nobody is enrolled: all or nothing.

    It is read whole and verified before anything is written. It must hold every template of the active
    space; other spaces come as `registered`. API keys and the audit log stay those of this service.
    """
    space = state.space()
    if media_type(request.headers.get("content-type", ""))[0] != BYTES:
        raise UnsupportedMediaType("send the archive as the body, with the media type of an octet-stream")
    secrets = _secrets(x_halflight_passphrase, x_halflight_identity)
    await refuse_occupied(state.db)
    with state.imports.admitted():
        settings = state.settings
        try:
            async with spooled(request.stream(), settings.data_dir, settings.disk_reserve_bytes) as path:
                book = _book(settings, needed=False)
                made = await import_gallery(state.db, path, secrets, book, admin.key_id)
        except ClientDisconnect as error:
            raise MalformedRequest("the archive ended early") from error
        except LockError as error:
            raise InvalidParameter(f"the archive: {error}") from error
        except ArchiveBroken as error:
            raise InvalidArchive(f"the archive: {error}; nothing was written") from error
    await state.enroller.follow_log(space)
    return ImportOut.of(made)


def _book(settings: Settings, *, needed: bool) -> KeyBook | None:
    """The key book of the backups. Raises InvalidParameter if it is needed and there is none."""
    if settings.backup_keys is not None:
        return KeyBook(settings.backup_keys)
    if needed:
        raise InvalidParameter("`keys`: this service has no key book (HALFLIGHT_BACKUP_KEYS)")
    return None


def _secrets(passphrase: str | None, identity: str | None) -> list[Secret]:
    """What may open the archive. Raises InvalidParameter, which quotes none of it."""
    found: list[Secret] = []
    if passphrase is not None:
        try:
            found.append(Passphrase(base64.b64decode(passphrase, validate=True).decode()))
        except (binascii.Error, UnicodeError) as error:
            raise InvalidParameter("`x-halflight-passphrase` is no UTF-8 in base64") from error
        except LockError as error:
            raise InvalidParameter(f"`x-halflight-passphrase`: {error}") from error
    if identity is not None:
        found.append(Identity(bytes.fromhex(identity)))
    if not found:
        raise InvalidParameter("give `x-halflight-passphrase` or `x-halflight-identity`")
    return found
