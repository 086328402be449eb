"""Every operation of both clients against a real service, and its refusals."""

from __future__ import annotations

import io
import json
import logging
import pickle
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import ValidationError

from halflight.client import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Refused,
    Retry,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
    UnsupportedMediaType,
)
from tests.clients.conftest import Connect, Keyed
from tests.conftest import SAMPLES, free_port, sample_bytes


def test_a_subject_is_enrolled_found_changed_and_erased(connect: Connect, keyed: Keyed) -> None:
    client = connect(keyed.url, key=keyed.operator).client
    path = SAMPLES / "s01" / "vis_2.jpg"
    with (SAMPLES / "s01" / "vis_1.jpg").open("rb") as file:
        made = client.enrol(
            "anna",
            [file, path],
            display_name="Anna Müller",
            metadata={"floor": 3, "badge": "Ä"},
            duplicates="report",
            expires_at=datetime.now(UTC) + timedelta(days=1),
        )
    assert (made.subject_id, len(made.samples), made.rejected) == ("anna", 2, ())
    assert made.samples[0].face.box[2] > 0
    assert made.samples[0].quality.pose.yaw == pytest.approx(0, abs=45)
    found = client.identify(str(path), top_k=3, fmr=1e-3)
    assert found.best is not None
    assert (found.best.subject_id, found.best.display_name, found.best.matched) == (
        *("anna", "Anna Müller"),
        True,
    )
    assert found.best.metadata == {"floor": 3, "badge": "Ä"}
    assert found.results[0].calibration.pair == "vis-unmasked/vis-unmasked"
    assert found.results[0].target_fmr == 1e-3
    verified = client.verify(io.BytesIO(path.read_bytes()), subject_id="anna")
    assert verified.matched
    assert verified.reference.subject_id == "anna"
    other = client.verify(path, reference=sample_bytes("s02"), spectrum="vis")
    assert other.decision == "non-match"
    assert other.score < verified.score
    detail = client.change("anna", display_name=None, metadata={"floor": 4})
    assert (detail.display_name, detail.metadata, len(detail.samples)) == (None, {"floor": 4}, 2)
    assert client.subject("anna") == detail
    consented = client.change("anna", consent={"date": date(2026, 1, 31), "reference": "form 7"})
    assert consented.consent["date"] == "2026-01-31"
    assert consented.consent["reference"] == "form 7"
    assert client.change("anna", consent=None, expires_at=None).expires_at is None
    assert detail.expires_at is not None
    assert detail.created_at.tzinfo is not None
    receipt = client.erase("anna", detail.samples[0].sample_id)
    assert receipt.erased.samples == 1
    assert client.erase("anna").erased.samples == 1
    with pytest.raises(NotFound) as gone:
        client.subject("anna")
    assert (gone.value.status, gone.value.code) == (404, "subject_not_found")


def test_faces_and_templates_of_a_picture(connect: Connect, keyed: Keyed) -> None:
    client = connect(keyed.url, key=keyed.operator).client
    photo = sample_bytes("s04", "nir_masked_1.jpg")
    seen = client.detect(photo)
    assert (seen.faces_found, seen.spectrum) == (1, "nir")
    assert seen.results[0].quality is not None
    (one,) = client.embed(photo, role="reference", turn=0).results
    assert sum(value**2 for value in one.embedding) == pytest.approx(1, abs=1e-4)
    assert one.condition.masked
    assert str(one.embedding[0]) not in repr(one), "a template does not end in a log"


def test_subjects_are_listed_page_by_page_merged_and_erased_together(
    connect: Connect, keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halflight.client.requests.PAGE", 2)
    made = connect(keyed.url, key=keyed.operator)
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        made.client.enrol(name, sample_bytes("s05"), duplicates="ignore")
    before = len(made.sent.sent)
    listed = [one.subject_id for one in made.client.subjects(id_prefix="page-")]
    assert sorted(listed) == names
    assert len(made.sent.sent) - before >= 3
    # A page is asked for when it is needed, not before.
    before = len(made.sent.sent)
    assert next(iter(made.client.subjects(id_prefix="page-"))).subject_id in names
    assert len(made.sent.sent) - before == 1
    merged = made.client.merge("page-0", "page-1")
    assert (merged.merged, merged.already_there) == ("page-1", 1)
    erased = made.client.erase_many([*names])
    assert erased.not_found == ("page-1",)
    assert {one.subject_id for one in erased.receipts} == set(names) - {"page-1"}


def test_what_the_key_may_do_and_whether_the_service_is_ready(connect: Connect, keyed: Keyed) -> None:
    client = connect(keyed.url, key=keyed.probe).client
    who = client.whoami()
    assert (who.role, who.open_access) == ("probe", False)
    assert client.ready().ready


def test_refusals_are_exceptions_with_status_code_and_message(connect: Connect, keyed: Keyed) -> None:
    operator = connect(keyed.url, key=keyed.operator).client
    with pytest.raises(Unauthorized) as nobody:
        connect(keyed.url).client.identify(sample_bytes("s01"))
    assert (nobody.value.status, nobody.value.code) == (401, "unauthorized")
    with pytest.raises(Unauthorized):
        connect(keyed.url, key="hl_wrong_key").client.identify(sample_bytes("s01"))
    with pytest.raises(Forbidden):
        connect(keyed.url, key=keyed.probe).client.enrol("nobody", sample_bytes("s01"))
    with pytest.raises(UnsupportedMediaType):
        operator.identify(b"no image")
    with pytest.raises(InvalidInput) as wrong:
        operator.identify(sample_bytes("s01"), fmr=0.123)
    assert wrong.value.code == "unsupported_fmr"
    with pytest.raises(Refused) as broken:
        operator.enrol("broken", [b"\xff\xd8\xff\xe0 cut short", b"no image"])
    assert [one.index for one in broken.value.rejected] == [0, 1]
    assert broken.value.rejected[0].code == "undecodable_image"
    operator.enrol("first", sample_bytes("s06"))
    with pytest.raises(Conflict) as twin:
        operator.enrol("second", sample_bytes("s06", "vis_2.jpg"))
    assert (twin.value.code, twin.value.subject_id) == ("duplicate_face", "first")
    again = pickle.loads(pickle.dumps(twin.value))  # noqa: S301 - our own
    assert (type(again), again.problem, str(again)) == (Conflict, twin.value.problem, str(twin.value))
    operator.erase("first")


def test_wrong_arguments_are_told_before_anything_is_sent(
    connect: Connect, keyed: Keyed, tmp_path: Path
) -> None:
    made = connect(keyed.url, key=keyed.operator)
    client = made.client
    with pytest.raises(ValueError, match="at least one"):
        client.enrol("anna", [])
    with pytest.raises(ValueError, match="enrol_many"):
        client.enrol("anna", [b"x"] * 17)
    with pytest.raises(ValueError, match="one of them"):
        client.verify(b"x")
    with pytest.raises(ValueError, match="zone"):
        client.enrol("anna", b"x", expires_at=datetime(2100, 1, 1))
    with pytest.raises(FileNotFoundError):
        client.identify(tmp_path / "none.jpg")
    with pytest.raises(TypeError, match="binary mode"):
        client.identify(io.StringIO("text"))
    with pytest.raises(TypeError, match="not int"):
        client.identify(7)
    assert made.sent.sent == []


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host", "http://", "http://me:secret@host", "http://host?key=x"]
)
def test_an_address_that_is_none_is_refused(connect: Connect, url: str) -> None:
    with pytest.raises(ValueError, match="address") as error:
        connect(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("key", ["", " ", "abc\n", "schlüssel"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(connect: Connect, key: str) -> None:
    with pytest.raises(ValueError, match="key") as error:
        connect("http://127.0.0.1:1", key=key)
    assert key.strip() == "" or key not in str(error.value)


def test_an_address_below_a_prefix_or_with_the_version_is_the_same(connect: Connect, keyed: Keyed) -> None:
    for url in (keyed.url + "/", keyed.url + "/v1", keyed.url + "/v1/"):
        made = connect(url, key=keyed.probe)
        assert made.client.whoami().role == "probe"
        assert made.sent.sent[0].path == "/v1/whoami"
    with pytest.raises(NotFound):
        connect(keyed.url + "/faces", key=keyed.probe).client.whoami()


class Elsewhere(BaseHTTPRequestHandler):
    """Another service: a page of HTML for whoever asks."""

    def do_GET(self) -> None:
        self.send_response(404 if "jobs" in self.path or "bulk" in self.path else 200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *args: object) -> None:
        pass


def test_another_service_at_the_address_is_told_from_halflight(connect: Connect) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        thread = Thread(target=other.serve_forever)
        thread.start()
        try:
            client = connect(f"http://127.0.0.1:{other.server_port}").client
            for asked, status in ((client.whoami, 200), (lambda: client.job("x"), 404)):
                with pytest.raises(UnexpectedAnswer) as odd:
                    asked()
                assert odd.value.status == status
                assert odd.value.__cause__ is None
            with pytest.raises(UnexpectedAnswer):
                list(client.events())
        finally:
            other.shutdown()
            thread.join()


def test_nobody_at_the_address(connect: Connect) -> None:
    client = connect(f"http://127.0.0.1:{free_port()}", retry=Retry(patience_s=0)).client
    with pytest.raises(Unreachable) as nobody:
        client.identify(b"x")
    # The error of httpx holds the request, with the key and the picture.
    assert nobody.value.__cause__ is None
    assert nobody.value.__context__ is None


def test_no_key_and_no_pixel_in_logs_reprs_and_errors(
    connect: Connect, keyed: Keyed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = connect(keyed.url, key=keyed.probe)
    photo = sample_bytes("s01")
    made.client.identify(photo)
    with pytest.raises(Forbidden) as refused:
        made.client.enrol("anna", photo)
    told = caplog.text + repr(made.client) + repr(refused.value) + str(refused.value) + repr(made.sent.sent)
    assert keyed.url in repr(made.client)
    assert keyed.probe not in told
    assert repr(photo[:40])[2:-1] not in told
    assert caplog.records, "httpx and httpcore log at this level"


def test_answers_are_frozen_and_keep_fields_of_a_later_service(connect: Connect, keyed: Keyed) -> None:
    client = connect(keyed.url, key=keyed.operator).client
    answer = client.identify(sample_bytes("s07"))
    with pytest.raises(ValidationError):
        answer.space_id = "other"
    later = json.loads(answer.model_dump_json())
    later["lighting"] = {"lux": 3}
    later["results"][0]["face"]["ears"] = 2
    later["results"][0]["decision"] = "perhaps"
    read = type(answer).model_validate(later)
    assert read.results[0].decision == "perhaps"
    assert read.model_extra == {"lighting": {"lux": 3}}
    assert read.results[0].face.model_extra == {"ears": 2}
