"""Times are ISO 8601 and nothing else, as the OpenAPI document says."""

from __future__ import annotations

import httpx
import pytest

from tests.service.api.test_errors import problem

QUERIES = [("/subjects", "enrolled_since"), ("/admin/audit", "since"), ("/admin/audit", "until")]


@pytest.mark.parametrize(("path", "name"), QUERIES)
def test_a_number_is_no_time_and_a_date_is_one(builtin_client: httpx.Client, path: str, name: str) -> None:
    for number in ("0.5", "1790000000", "-1"):
        problem(builtin_client.get(path, params={name: number}), 422, "invalid_parameter")
    for time in ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.25+02:00"):
        assert builtin_client.get(path, params={name: time}).status_code == 200


def test_a_key_does_not_expire_at_a_number(builtin_client: httpx.Client) -> None:
    for number in (4102444800, 0.5, "4102444800"):
        answer = builtin_client.post("/admin/keys", json={"role": "admin", "expires_at": number})
        problem(answer, 422, "invalid_parameter")
