"""Tests admission and rate limits with an artificial clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.access.limits import Admission, Buckets, OwnBuckets, RateLimiter
from service.errors import Overloaded, RateLimited
from service.workers.buckets import SharedBuckets


def test_admission_refuses_a_request_over_the_limit_and_recovers() -> None:
    admission = Admission(2)
    with admission.admitted(), admission.admitted():
        with pytest.raises(Overloaded), admission.admitted():
            raise AssertionError("admitted")
        assert admission.in_flight == 2
    with admission.admitted():
        assert admission.in_flight == 1


def test_admission_ends_when_the_request_fails() -> None:
    admission = Admission(1)
    with pytest.raises(ValueError, match="work"), admission.admitted():
        raise ValueError("work")
    assert admission.in_flight == 0


@pytest.mark.parametrize("kept", [OwnBuckets, SharedBuckets])
def test_each_key_has_its_own_burst_and_rate(kept: Callable[[], Buckets]) -> None:
    now = [0.0]
    limiter = RateLimiter(rate_per_s=2, burst=3, clock=lambda: now[0], buckets=kept())
    for _ in range(3):
        limiter.take("a")
    with pytest.raises(RateLimited) as refused:
        limiter.take("a")
    assert refused.value.headers() == {"Retry-After": "1"}
    limiter.take("b")
    now[0] = 0.5
    limiter.take("a")
    with pytest.raises(RateLimited):
        limiter.take("a")


def test_without_a_rate_there_is_no_limit() -> None:
    limiter = RateLimiter(rate_per_s=0, burst=1)
    for _ in range(100):
        limiter.take("a")


def test_a_refusal_by_rate_says_how_long_to_wait() -> None:
    limiter = RateLimiter(rate_per_s=0.1, burst=1, clock=lambda: 0.0)
    limiter.take("a")
    with pytest.raises(RateLimited) as refused:
        limiter.take("a")
    assert refused.value.retry_after_s == 10
