"""A backup of a running service: a service on the restored data identifies the same probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.moving.book import KeyBook
from service.moving.locks import Passphrase
from tests.conftest import StartService, sample_bytes
from tests.service.cli.command import succeeds

PASSPHRASE = "correct horse battery"  # noqa: S105 - of this test alone
ENV = {"HALFLIGHT_BACKUP_PASSPHRASE": PASSPHRASE}
NAMES = ("s01", "s02", "s03")


def identified(client: httpx.Client, name: str) -> list[dict[str, Any]]:
    """The candidates of a masked near-infrared probe, with their scores."""
    answer = client.post("/identify", files={"image": sample_bytes(name, "nir_masked_1.jpg")})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"][0]["candidates"]
    return found


def book_of(path: Path) -> set[str]:
    return set(KeyBook(path).read([Passphrase(PASSPHRASE)]))


@pytest.mark.slow
def test_the_restored_service_identifies_the_same_probes(start_service: StartService, tmp_path: Path) -> None:
    book, file, new = tmp_path / "keys" / "book", tmp_path / "one.backup", tmp_path / "new"
    book.parent.mkdir()
    first = start_service(HALFLIGHT_BACKUP_KEYS=str(book))
    with first.client() as client:
        for name in NAMES:
            sent = {"images": sample_bytes(name)}
            answer = client.post("/enroll", data={"subject_id": name, "metadata": '{"a": 1}'}, files=sent)
            assert answer.status_code == 201, answer.text
        before = {name: identified(client, name) for name in NAMES}
        subjects = client.get("/subjects").json()
        succeeds("backup", file, "--keys", book, "--data", first.data, env=ENV)
        held = book_of(book)
        assert len(held) == len(NAMES)
    succeeds("restore", file, "--keys", book, "--data", new, env=ENV)
    second = start_service(data=new)
    with second.client() as client:
        assert {name: identified(client, name) for name in NAMES} == before
        assert client.get("/subjects").json() == subjects
    second.stop()
    # The running service takes the key of whoever is erased out of the book.
    with first.client() as client:
        receipt = client.delete(f"/subjects/{NAMES[0]}").json()
    (gone,) = receipt["shredded"]
    assert held - book_of(book) == {gone.removeprefix("subject key ")}
    done = succeeds("restore", file, "--keys", book, "--verify", "--json", env=ENV)
    told = json.loads(done.out)
    assert (told["subjects"], told["unreadable"]) == (2, 1)
