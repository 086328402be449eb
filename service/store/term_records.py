"""Defines the terms under which a subject is kept: legal hold, consent, an end, the last match."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold: while it stands, nothing of the subject is erased.

    `by`: the id of the key that placed it. `reason`: None only if its sealed text does not open.
    """

    since: datetime
    by: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Consent:
    """When the subject consented, and where that is written down, such as the number of a form."""

    on: date
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectTerms:
    """The terms of one subject; None: nothing was agreed, or nothing is known.

    `expires_at`: when retention erases the subject. `last_matched_at`: up to an hour behind.
    """

    hold: Hold | None = None
    consent: Consent | None = None
    expires_at: datetime | None = None
    last_matched_at: datetime | None = None
