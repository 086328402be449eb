"""Wire types of the terms of a subject: legal hold, consent, end."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from service.api.schemas.base import Wire
from service.store.term_records import Consent, Hold
from service.subjects.names import normal_text

MAX_TEXT = 1000
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _text(text: str) -> str:
    return normal_text(text, MAX_TEXT)


def _written_day(given: object) -> object:
    # Of a number, pydantic makes a day of 1970.
    if not isinstance(given, str) or not DAY.fullmatch(given):
        raise ValueError("write a day as YYYY-MM-DD")
    return given


def _past(day: date) -> date:
    # Somewhere it is tomorrow already.
    if day > datetime.now(UTC).date() + timedelta(days=1):
        raise ValueError("it is a day to come: give the day on which the subject consented")
    return day


def _future(moment: datetime) -> datetime:
    try:
        at = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is beyond every calendar") from error
    if at <= datetime.now(UTC):
        raise ValueError("it is past: give a time to come, or erase the subject")
    return at


Text = Annotated[str, Field(min_length=1, max_length=4 * MAX_TEXT), AfterValidator(_text)]
ConsentDay = Annotated[date, BeforeValidator(_written_day), AfterValidator(_past)]
Expiry = Annotated[AwareDatetime, AfterValidator(_future)]


class ConsentIn(Wire):
    """`date`: the day on which the subject consented. `reference`: where that is written down."""

    date: ConsentDay
    reference: Text | None = None

    def stored(self) -> Consent:
        return Consent(self.date, self.reference)


class TermsIn(Wire):
    """The terms of an enrolment, as the fields of its form spell them."""

    consent_date: ConsentDay | None = None
    consent_reference: Text | None = None
    expires_at: Expiry | None = None

    @model_validator(mode="after")
    def _dated(self) -> TermsIn:
        if self.consent_reference is not None and self.consent_date is None:
            raise ValueError("give `consent_date` as well: the day on which the subject consented")
        return self

    def consent(self) -> Consent | None:
        return None if self.consent_date is None else Consent(self.consent_date, self.consent_reference)


class ConsentOut(Wire):
    date: str
    reference: str | None

    @classmethod
    def of(cls, consent: Consent) -> ConsentOut:
        return cls(date=consent.on.isoformat(), reference=consent.reference)


class HoldIn(Wire):
    """`reason`: why nothing of the subject may be erased, such as the number of a case."""

    reason: Text


class HoldOut(Wire):
    """`by`: the key that placed it. `reason`: null only if its sealed text does not open."""

    since: str
    by: str
    reason: str | None

    @classmethod
    def of(cls, hold: Hold) -> HoldOut:
        return cls(since=hold.since.isoformat(), by=hold.by, reason=hold.reason)
