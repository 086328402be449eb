"""Requests are repeated where that is safe, when the service says, within the client's patience."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from halflight.client import Client, RateLimited, Retry, Unreachable
from halflight.client.retry import Attempts, Repeat, retry_after_s
from tests.clients.conftest import ASYNCIO, BUILTIN, Connect, Keyed
from tests.clients.recording import Recording, Sent
from tests.conftest import Service, StartService, sample_bytes

PATIENT = Retry(patience_s=600)
CALLERS = 6


def waits_were_kept(sent: list[Sent]) -> bool:
    """Whether each request that followed a refusal came no sooner than the refusal asked."""
    return all(
        after.begun - refused.ended >= refused.retry_after_s - 0.01
        for refused, after in pairwise(sent)
        if refused.retry_after_s is not None
    )


def test_a_limit_of_the_rate_is_waited_for(connect: Connect, limited: Service) -> None:
    made = connect(limited.url, retry=PATIENT)
    for _ in range(3):
        assert made.client.whoami().open_access
    assert 429 in made.sent.statuses
    assert made.sent.statuses.count(200) == 3
    assert waits_were_kept(made.sent.sent)
    # Somebody without patience hears at once when to come back.
    hasty = connect(limited.url, retry=Retry(patience_s=0))
    with pytest.raises(RateLimited) as refused:
        for _ in range(100):
            hasty.client.whoami()
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1
    assert hasty.sent.statuses.count(429) == 1


@pytest.mark.slow
def test_an_overloaded_service_is_asked_again_when_it_says(start_service: StartService) -> None:
    service = start_service(**BUILTIN, HALFLIGHT_MAX_QUEUE="1", HALFLIGHT_MAX_BATCH="1")

    def enrol(number: int) -> tuple[int, list[int | None], bool]:
        sent = Recording()
        with Client(service.url, retry=PATIENT, transport=sent) as client:
            made = client.enrol(f"p{number}", sample_bytes("s01"), duplicates="ignore")
        keys = {one.idempotency_key for one in sent.sent}
        assert len(keys) == 1, "every try has the same key"
        return len(made.samples), sent.statuses, waits_were_kept(sent.sent)

    with ThreadPoolExecutor(CALLERS) as pool:
        done = list(pool.map(enrol, range(CALLERS)))
    assert [samples for samples, _, _ in done] == [1] * CALLERS
    refused = [statuses for _, statuses, _ in done if len(statuses) > 1]
    assert refused, "with one place, some callers were refused first"
    assert all(set(statuses[:-1]) == {503} and statuses[-1] == 201 for statuses in refused)
    assert all(kept for _, _, kept in done)
    with Client(service.url) as client:
        assert len({one.subject_id for one in client.subjects()}) == CALLERS


@ASYNCIO
def test_a_service_that_starts_is_waited_for_and_one_that_is_gone_is_not(
    connect: Connect, start_service: StartService
) -> None:
    service = start_service(wait=False, **BUILTIN)
    made = connect(service.url, retry=PATIENT)
    assert made.client.identify(sample_bytes("s01")).faces_found == 1
    # First nobody listened, then the models were loading.
    assert made.sent.statuses[-1] == 200
    assert set(made.sent.statuses[:-1]) <= {None, 503}
    assert None in made.sent.statuses
    service.kill()
    for patience_s, fewest in ((0.0, 1), (1.0, 3)):
        hasty = connect(service.url, retry=Retry(patience_s=patience_s))
        with pytest.raises(Unreachable):
            hasty.client.whoami()
        assert len(hasty.sent.sent) >= fewest
        assert set(hasty.sent.statuses) == {None}


def test_an_enrolment_whose_answer_was_lost_is_done_once(connect: Connect, keyed: Keyed) -> None:
    made = connect(keyed.url, key=keyed.operator)
    made.sent.lose = 2
    name = f"lost-{uuid.uuid4().hex[:8]}"
    answer = made.client.enrol(name, sample_bytes("s09"), duplicates="ignore")
    assert made.sent.statuses == [None, None, 201]
    assert len({one.idempotency_key for one in made.sent.sent}) == 1
    # The third answer is that of the first request, kept under its key; nothing was enrolled twice.
    assert not answer.samples[0].existing
    assert len(made.client.subject(name).samples) == 1
    # A key of the caller's own holds for other processes too.
    photo = sample_bytes("s09", "vis_2.jpg")
    first = made.client.enrol(name, photo, idempotency_key=f"{name}-2", duplicates="ignore")
    assert made.client.enrol(name, photo, idempotency_key=f"{name}-2", duplicates="ignore") == first


def test_what_may_have_been_done_is_not_asked_twice(connect: Connect, keyed: Keyed, tmp_path: Path) -> None:
    made = connect(keyed.url, key=keyed.operator)
    name = f"once-{uuid.uuid4().hex[:8]}"
    made.client.enrol(name, sample_bytes("s10"), duplicates="ignore")
    made.sent.sent.clear()
    made.sent.lose = 1
    with pytest.raises(Unreachable):
        made.client.erase(name)
    assert made.sent.statuses == [None]
    # It was done; the other way to erase says so, however often it is asked.
    assert made.client.erase_many([name]).not_found == (name,)
    made.sent.sent.clear()
    made.sent.lose = 1
    archive = tmp_path / "none.zip"
    archive.write_bytes(b"no archive")
    with pytest.raises(Unreachable):
        made.client.enrol_archive(archive)
    assert made.sent.statuses == [None], "an upload has no key, and is never repeated"


def answer(status: int, *, code: str | None = "overloaded", after: str | None = None) -> httpx.Response:
    body: dict[str, Any] = {"status": status, "code": code, "detail": ""} if code else {}
    return httpx.Response(status, json=body, headers={} if after is None else {"Retry-After": after})


BROKEN, REFUSED = httpx.ReadError("broken"), httpx.ConnectError("refused")
SLOW = httpx.ReadTimeout("slow")


@pytest.mark.parametrize(
    ("got", "again"),
    [
        (answer(200), set()),
        (answer(500, code="internal_error"), set()),
        (answer(422, code="no_face", after="1"), set()),
        (answer(503, after="1"), {Repeat.ALWAYS, Repeat.UNLESS_DONE}),
        (answer(429, code="rate_limited", after="1"), {Repeat.ALWAYS, Repeat.UNLESS_DONE}),
        # The service does not say that waiting helps.
        (answer(503, code="storage_read_only"), set()),
        # A proxy says nothing about what the service did.
        (answer(503, code=None), {Repeat.ALWAYS}),
        (answer(502, code=None), {Repeat.ALWAYS}),
        (answer(504, code=None, after="1"), {Repeat.ALWAYS}),
        (REFUSED, {Repeat.ALWAYS, Repeat.UNLESS_DONE}),
        (BROKEN, {Repeat.ALWAYS}),
        (SLOW, set()),
    ],
)
def test_what_is_repeated(got: httpx.Response | httpx.TransportError, again: set[Repeat]) -> None:
    assert {one for one in Repeat if Attempts(PATIENT, one).wait_s(got) is not None} == again


def test_waits_are_those_asked_for_or_grow_and_end_with_the_patience() -> None:
    steady = Retry(patience_s=100, jitter=0, first_wait_s=1, longest_wait_s=5)
    tries = Attempts(steady, Repeat.ALWAYS)
    assert [tries.wait_s(REFUSED) for _ in range(5)] == [1, 2, 4, 5, 5]
    assert tries.wait_s(answer(503, after="7")) == 7
    # Sooner than asked would be in vain, and so is later than the patience lasts.
    assert tries.wait_s(answer(503, after="101")) is None
    jittered = Retry(patience_s=100, jitter=0.5)
    waits = [Attempts(jittered, Repeat.ALWAYS).wait_s(answer(503, after="4")) or 0 for _ in range(50)]
    assert all(4 <= wait_s <= 6 for wait_s in waits)
    assert len(set(waits)) > 10
    with pytest.raises(ValueError, match="patience"):
        Retry(patience_s=-1)


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_s(answer(503, after=" 3 ")) == 3
    assert retry_after_s(answer(503, after="soon")) is None
    assert retry_after_s(answer(503)) is None
    assert retry_after_s(answer(503, after="Fri, 01 Jan 2016 00:00:00 GMT")) == 0
    assert (retry_after_s(answer(503, after="Fri, 01 Jan 2100 00:00:00 GMT")) or 0) > 1e9
