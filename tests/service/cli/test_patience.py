"""Tests how long work waits for a service that is away."""

from __future__ import annotations

import pytest

from service.cli.client import Unanswered
from service.cli.output import Failure
from service.cli.patience import Patience
from service.cli.problems import ServiceRefusal

BUSY = {"status": 503, "code": "storage_busy", "title": "Other writers hold the database", "detail": ""}


class Service:
    """Answers with what is given, one after the other; a failure is raised."""

    def __init__(self, *answers: Failure | str) -> None:
        self.left = list(answers)

    def send(self) -> str:
        answer = self.left.pop(0)
        if isinstance(answer, Failure):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.cli.patience.FIRST_WAIT_S", 0.01)


def test_a_service_that_answered_before_is_waited_for_and_that_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = Service("first", Unanswered("no answer"), ServiceRefusal(BUSY), Unanswered("gone"), "second")
    with Patience() as patience:
        assert [patience.until_answered(service.send) for _ in range(2)] == ["first", "second"]
    assert capsys.readouterr().err.count("waiting for it") == 1


def test_a_service_that_never_answered_is_not_waited_for() -> None:
    service = Service(Unanswered("no answer"), "too late")
    with Patience() as patience, pytest.raises(Unanswered):
        patience.until_answered(service.send)
    assert service.left == ["too late"]


def test_what_the_service_refuses_and_what_is_no_absence_are_raised_at_once() -> None:
    refusal = ServiceRefusal(BUSY | {"status": 422, "code": "no_face"})
    service = Service("first", refusal, Failure("a file cannot be read"), "left")
    with Patience() as patience:
        patience.until_answered(service.send)
        for _ in range(2):
            with pytest.raises(Failure):
                patience.until_answered(service.send)
    assert service.left == ["left"]


def test_patience_ends_after_its_time_and_with_its_context() -> None:
    short = Service("first", Unanswered("no answer"))
    with Patience(patience_s=0) as patience:
        patience.until_answered(short.send)
        with pytest.raises(Unanswered):
            patience.until_answered(short.send)
    over = Service(Unanswered("no answer"), "too late")
    with pytest.raises(Unanswered):
        patience.until_answered(over.send)
    assert over.left == ["too late"]
