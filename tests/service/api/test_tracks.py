"""POST /tracks: one decision, one event and one audit entry for several frames of one person."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Service, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_audit import entries
from tests.service.api.test_errors import enroll, problem
from tests.service.api.test_keys import made
from tests.service.delivery.test_delivery import Received, received, until
from tests.service.live.reader import Reader

__all__ = ["received"]

ANNA = [sample_bytes("s01", f"nir_masked_{n}.jpg") for n in (1, 2)] + [sample_bytes("s01", "vis_2.jpg")]
STRANGER = [sample_bytes("s13", f"nir_masked_{n}.jpg") for n in (1, 2)] + [sample_bytes("s13", "vis_2.jpg")]
NO_PICTURE = b"no picture at all"


@pytest.fixture(scope="module")
def keyed(
    tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path
) -> Iterator[tuple[Service, dict[str, httpx.Client]]]:
    data = tmp_path_factory.mktemp("tracks") / "data"
    data.mkdir()
    key = make_key(data, "admin")
    service = Service(data).start()
    clients = {"admin": service.client(key)}
    for role in ("operator", "probe"):
        clients[role] = service.client(made(clients["admin"], role=role)["token"])
    assert enroll(clients["operator"], "anna", sample_bytes("s01"), display_name="Anna A.").status_code == 201
    yield service, clients
    for client in clients.values():
        client.close()
    service.stop()


@pytest.fixture
def clients(keyed: tuple[Service, dict[str, httpx.Client]]) -> dict[str, httpx.Client]:
    return keyed[1]


def track(
    client: httpx.Client, images: list[bytes], name: str = "t1", *, key: str | None = None, **options: Any
) -> httpx.Response:
    files = [("images", (f"f{i}", data, "application/octet-stream")) for i, data in enumerate(images)]
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/v1/tracks", files=files, data={"track": name} | options, headers=headers)


def tracked(client: httpx.Client, track_id: str) -> list[dict[str, Any]]:
    """The audit entries about a track, once the log has them."""
    return [one for one in entries(client, action="subject.track") if one["detail"]["track"] == track_id]


def test_a_known_person_matches_once_with_the_votes(clients: dict[str, httpx.Client]) -> None:
    seen_at = datetime.now(UTC) - timedelta(minutes=3)
    with Reader(clients["operator"]) as reader:
        answer = track(
            clients["probe"],
            [ANNA[0], NO_PICTURE, *ANNA[1:]],
            "walk-1",
            camera="gate",
            seen_at=seen_at.isoformat(),
        )
        assert answer.status_code == 200, answer.text
        (event,) = reader.decisions(1)
    body = answer.json()
    assert body["decision"] == "match"
    assert (body["subject"]["subject_id"], body["subject"]["display_name"]) == ("anna", "Anna A.")
    assert body["subject"]["score"] == round(body["subject"]["score"], 2)
    assert [one["usable"] for one in body["frames"]] == [True, False, True, True]
    assert body["frames"][1]["code"] == "unsupported_media_type"
    agree = sum(one["agrees"] for one in body["frames"])
    assert body["votes"] == {"agree": agree, "of": 3, "needed": 2}
    assert agree >= 2
    assert (event["action"], event["decision"], event["camera"]) == ("track", "match", "gate")
    assert (event["event_id"], event["subject"]["subject_id"]) == (body["event_id"], "anna")
    assert event["track"] | {"seen_at": None} == {
        "id": "walk-1",
        "seen_at": None,
        "agree": agree,
        "of": 3,
        "needed": 2,
    }
    assert datetime.fromisoformat(event["track"]["seen_at"]) == seen_at
    (entry,) = tracked(clients["admin"], "walk-1")
    assert [entry["detail"][name] for name in ("decision", "agree", "of", "camera", "repeat")] == [
        "match",
        agree,
        3,
        "gate",
        False,
    ]


def test_a_stranger_is_unknown_and_names_nobody(clients: dict[str, httpx.Client]) -> None:
    body = track(clients["probe"], STRANGER, "walk-2").json()
    assert (body["decision"], body["subject"]) == ("unknown", None)
    assert "anna" not in json.dumps(body)
    assert body["votes"]["agree"] >= 2
    assert body["event_id"]


def test_too_few_usable_frames_decide_nothing(clients: dict[str, httpx.Client]) -> None:
    body = track(clients["probe"], ANNA[:1], "walk-3").json()
    assert (body["decision"], body["votes"], body["subject"]) == (
        "undecided",
        {"agree": 1, "of": 1, "needed": 2},
        None,
    )
    blind = track(clients["probe"], [NO_PICTURE, NO_PICTURE], "walk-4").json()
    assert (blind["decision"], blind["shown"], blind["event_id"]) == ("undecided", None, None)
    assert tracked(clients["admin"], "walk-4") == []


def test_the_same_key_gets_the_same_answer_and_nothing_happens_twice(
    clients: dict[str, httpx.Client],
) -> None:
    first = track(clients["probe"], ANNA, "walk-5", key="k-5")
    with Reader(clients["operator"], recent=1) as reader:
        (before,) = reader.decisions(1)
    assert before["event_id"] == first.json()["event_id"]
    assert track(clients["probe"], ANNA, "walk-5", key="k-5").json() == first.json()
    with Reader(clients["operator"], recent=1) as reader:
        assert reader.decisions(1) == [before]
    assert len(tracked(clients["admin"], "walk-5")) == 1
    problem(track(clients["probe"], ANNA[:2], "walk-5", key="k-5"), 409, "idempotency_conflict")
    assert track(clients["operator"], ANNA[:2], "walk-5", key="k-5").status_code == 200
    problem(track(clients["probe"], ANNA, "walk-5", key="x" * 201), 422, "invalid_parameter")


def test_while_more_frames_come_only_a_match_is_an_event(clients: dict[str, httpx.Client]) -> None:
    early = track(clients["probe"], STRANGER, "walk-6", final="false").json()
    assert (early["decision"], early["event_id"], early["final"]) == ("unknown", None, False)
    known = track(clients["probe"], ANNA, "walk-7", final="false").json()
    assert known["decision"] == "match"
    assert known["event_id"]
    assert [one["detail"]["final"] for one in tracked(clients["admin"], "walk-6")] == [False]


def test_the_same_person_again_within_the_quiet_time_is_a_repetition(
    clients: dict[str, httpx.Client],
) -> None:
    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def seen(after_s: float, camera: str = "yard", quiet_s: float = 20) -> dict[str, Any]:
        moment = (now + timedelta(seconds=after_s)).isoformat()
        answer = track(clients["probe"], ANNA, "walk-8", camera=camera, seen_at=moment, quiet_s=quiet_s)
        found: dict[str, Any] = answer.json()
        assert (found["event_id"] is None) == found["repeat"]
        return found

    assert not seen(0)["repeat"]
    assert seen(15)["repeat"]
    assert seen(30)["repeat"], "a repetition counts as a sighting"
    assert not seen(51)["repeat"]
    assert not seen(52, camera="gate")["repeat"]
    assert not seen(53, quiet_s=0)["repeat"]


def test_a_probe_key_may_not_ask_for_less(clients: dict[str, httpx.Client]) -> None:
    problem(track(clients["probe"], ANNA, agree=1), 403, "forbidden")
    problem(track(clients["probe"], ANNA, fmr="0.05"), 403, "forbidden")
    problem(track(clients["probe"], ANNA, threshold="-1"), 403, "forbidden")
    assert track(clients["probe"], ANNA, agree=3).json()["votes"]["needed"] == 3
    assert track(clients["operator"], ANNA[:1], agree=1).json()["decision"] == "match"


@pytest.mark.parametrize(
    ("images", "options"),
    [
        ([], {}),
        (ANNA * 6, {}),
        (ANNA, {"track": ""}),
        (ANNA, {"track": "x" * 65}),
        (ANNA, {"track": "a b"}),
        (ANNA, {"seen_at": "yesterday"}),
        (ANNA, {"quiet_s": "-1"}),
        (ANNA, {"agree": "0"}),
        (ANNA, {"faces": "all"}),
    ],
)
def test_what_a_track_must_be(
    clients: dict[str, httpx.Client], images: list[bytes], options: dict[str, str]
) -> None:
    answer = clients["probe"].post(
        "/tracks",
        files=[("images", ("f", data, "image/jpeg")) for data in images] or {"other": b""},
        data={"track": "t"} | options,
    )
    problem(answer, 422, "invalid_parameter")


def test_the_answer_about_an_erased_subject_is_gone(keyed: tuple[Service, dict[str, httpx.Client]]) -> None:
    _, clients = keyed
    bert = [sample_bytes("s02", f"nir_masked_{n}.jpg") for n in (1, 2)] + [sample_bytes("s02", "vis_2.jpg")]
    assert enroll(clients["operator"], "bert", sample_bytes("s02")).status_code == 201
    assert track(clients["probe"], bert, "walk-9", key="k-9").json()["decision"] == "match"
    clients["operator"].delete("/subjects/bert").raise_for_status()
    again = track(clients["probe"], bert, "walk-9", key="k-9").json()
    assert (again["decision"], again["subject"]) == ("unknown", None)


def test_a_killed_service_answers_a_repeated_track_as_before_and_tells_of_it_once(
    bundle_dir: Path, tmp_path: Path, received: Received
) -> None:
    received.start(0)
    service = Service(tmp_path / "data", received.env).start()
    with service.client() as client:
        assert enroll(client, "anna", sample_bytes("s01")).status_code == 201
        first = track(client, ANNA, "door-1", key="k").json()
        assert first["decision"] == "match"
    service.kill()
    service.start()
    with service.client() as client:
        assert track(client, ANNA, "door-1", key="k").json() == first
        until(lambda: bool(received.events()))
        until(lambda: client.get("/admin/webhooks").json()["waiting"] == 0)
        assert len(tracked(client, "door-1")) == 1
    time.sleep(0.5)
    told = {one["event_id"]: one for one in received.events()}
    assert list(told) == [first["event_id"]]
    assert told[first["event_id"]]["track"]["id"] == "door-1"
    service.stop()
