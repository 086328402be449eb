"""Numbers that JSON does not have are refused wherever a body holds them."""

from __future__ import annotations

import base64

import httpx
import pytest

from tests.conftest import sample_bytes
from tests.service.api.test_errors import enroll, problem

JSON_TYPE = {"content-type": "application/json"}


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
def test_no_body_brings_in_a_number_that_is_not_finite(client: httpx.Client, number: str) -> None:
    photo = base64.b64encode(sample_bytes("s01")).decode()
    metadata = f'{{"a": [{{"b": {number}}}]}}'
    statuses = {}
    statuses["form"] = enroll(client, "finite", sample_bytes("s01"), metadata=metadata)
    body = f'{{"subject_id": "finite", "images": ["{photo}"], "metadata": {metadata}}}'
    statuses["json"] = client.post("/enroll", content=body, headers=JSON_TYPE)
    statuses["patch"] = client.patch(
        "/subjects/finite", content=f'{{"metadata": {metadata}}}', headers=JSON_TYPE
    )
    job = f'{{"dataset": "smoke", "preset": "hsst", "minutes": {number}}}'
    statuses["job"] = client.post("/admin/retrain", content=job, headers=JSON_TYPE)
    probe = f'{{"image": "{photo}", "threshold": {number}}}'
    statuses["option"] = client.post("/identify", content=probe, headers=JSON_TYPE)
    for where, answer in statuses.items():
        assert answer.status_code in (400, 422), (where, answer.text)
    problem(statuses["patch"], 422, "invalid_parameter")
    problem(client.get("/subjects/finite"), 404, "subject_not_found")
