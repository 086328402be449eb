"""Wire types of /admin/export and /admin/import."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, SecretStr, model_validator

from service.api.schemas.base import Wire
from service.moving.locks import SHORTEST_PASSPHRASE, For, Passphrase, Recipient
from service.moving.transfer import Imported


def _only(given: str, other: str) -> dict[str, Any]:
    """The schema of an object with `given`, and without `other` or with null for it."""
    return {"required": [given], "properties": {given: {"type": "string"}, other: {"type": "null"}}}


class ExportIn(Wire):
    """Who may open the archive: whoever knows `passphrase`, or the owner of the key of `recipient`.

    `recipient`: 64 hexadecimal digits, as `halflight backup-key` prints them. `keys`: `inside`, so that
    the archive and what opens it are all it takes; `book`, in the key book of the service's backups,
    where an erasure reaches them.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [_only("passphrase", "recipient"), _only("recipient", "passphrase")]}
    )

    passphrase: SecretStr | None = Field(None, min_length=SHORTEST_PASSPHRASE, max_length=1024)
    recipient: str | None = Field(None, pattern=r"^[0-9A-Fa-f]{64}$")
    keys: Literal["inside", "book"] = "inside"

    @model_validator(mode="after")
    def _one(self) -> ExportIn:
        if (self.passphrase is None) == (self.recipient is None):
            raise ValueError("give `passphrase` or `recipient`")
        return self

    def who(self) -> For:
        """Raises LockError."""
        if self.passphrase is not None:
            return Passphrase(self.passphrase.get_secret_value())
        return Recipient(self.recipient or "")


class ImportOut(Wire):
    """What was taken. `unreadable`: subjects that were erased after the archive was made: their keys are
    gone. `audit_id`: the entry about it."""

    archive_id: str
    made_at: str
    made_by: str
    subjects: int
    samples: int
    templates: int
    crops: int
    unreadable: int
    audit_id: int

    @classmethod
    def of(cls, made: Imported) -> ImportOut:
        counts = made.contents
        return cls(
            archive_id=made.header.archive_id,
            made_at=made.header.made_at,
            made_by=made.header.made_by,
            subjects=counts.subjects,
            samples=counts.samples,
            templates=counts.templates,
            crops=counts.crops,
            unreadable=counts.unreadable,
            audit_id=made.audit_id,
        )
