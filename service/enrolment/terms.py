"""The terms of an enrolment: the consent it needs, and the end it sets."""

from __future__ import annotations

from dataclasses import replace

from service.enrolment.types import Enrolment
from service.errors import ConsentMissing
from service.store.unit import UnitOfWork


async def need_consent(uow: UnitOfWork, subject_id: str) -> None:
    """Raises ConsentMissing if none of the subject is recorded, StoreError."""
    if (await uow.terms.get(subject_id)).consent is None:
        raise ConsentMissing(
            f"no consent of subject {subject_id} is recorded, and this service needs one: send `consent_date`"
        )


async def agree_terms(uow: UnitOfWork, request: Enrolment, *, require_consent: bool) -> None:
    """Stores the consent and the end that the request gives, of a subject that exists.

    Raises ConsentMissing if a consent is required and there is none, StoreError.
    """
    if request.consent is not None or request.expires_at is not None:
        terms = await uow.terms.get(request.subject_id)
        await uow.terms.put(
            request.subject_id,
            replace(
                terms,
                consent=request.consent or terms.consent,
                expires_at=request.expires_at or terms.expires_at,
            ),
        )
    if require_consent and request.consent is None:
        await need_consent(uow, request.subject_id)
