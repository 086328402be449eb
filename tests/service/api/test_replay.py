"""What an Idempotency-Key answers after an erasure: nothing about the erased photo."""

from __future__ import annotations

import httpx

from tests.conftest import sample_bytes
from tests.service.api.test_errors import enroll


def test_a_repeated_enrolment_does_not_describe_an_erased_sample(builtin_client: httpx.Client) -> None:
    asked = {"key": "replay-1", "duplicates": "ignore"}
    first = enroll(builtin_client, "replayed", sample_bytes("s12"), **asked)
    assert first.status_code == 201
    assert enroll(builtin_client, "replayed", sample_bytes("s12"), **asked).json() == first.json()
    sample = first.json()["samples"][0]["sample_id"]
    assert builtin_client.delete(f"/subjects/replayed/samples/{sample}").status_code == 200
    again = enroll(builtin_client, "replayed", sample_bytes("s12"), **asked)
    assert again.status_code == 201
    assert again.json()["samples"][0]["sample_id"] != sample
    found = builtin_client.get("/subjects/replayed").json()["samples"]
    assert [each["sample_id"] for each in found] == [again.json()["samples"][0]["sample_id"]]
