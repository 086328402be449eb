"""JSON with images: what is parsed is small, images arrive whole, and forms are parsed in turns."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from service.api.json_uploads import MAX_BESIDE_BYTES, parse_json
from service.api.long_strings import LONG, TooMuchBeside, lift
from service.api.uploads import PARSED_AT_ONCE, in_turns
from service.errors import BodyTooLarge, InvalidParameter, MalformedRequest
from service.settings import Settings
from tests.conftest import sample_bytes
from tests.service.api.test_errors import problem

PHOTO = bytes(range(256)) * 400
TEXT = base64.b64encode(PHOTO).decode()
SETTINGS = Settings()


def test_long_values_are_lifted_and_the_rest_is_small() -> None:
    body = json.dumps({"image": TEXT, "metadata": {"a": [1, "short"]}, "reference": "x" * LONG}).encode()
    rest, lifted = lift(body, limit=1000)
    assert len(rest) < 200
    assert list(lifted.values()) == [TEXT.encode(), b"x" * LONG]
    content = json.loads(rest)
    assert lifted[content["image"]] == TEXT.encode()
    assert content["metadata"] == {"a": [1, "short"]}


@pytest.mark.parametrize(
    "body",
    [
        b'{"image": [' + b"1," * 40_000 + b"1]}",
        b"[" * 70_000,
        b'{"' + b"n" * 70_000 + b'" : 1}',
        b'{"image": "' + b"A" * 70_000,
        b'{"image": "' + b"A" * 70_000 + b'\\"',
        b'""' * 40_000,
    ],
)
def test_more_than_a_little_beside_the_images_is_refused_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(TooMuchBeside):
        lift(body, limit=MAX_BESIDE_BYTES)
    with pytest.raises(BodyTooLarge):
        parse_json(body, SETTINGS)


def test_a_string_ends_at_the_quote_that_no_backslash_escapes() -> None:
    long = "a" * LONG
    body = json.dumps({"x": long + '\\"', "y": long + "\\"}).encode()
    _, lifted = lift(body, limit=1000)
    assert [json.loads(b'"' + each + b'"') for each in lifted.values()] == [long + '\\"', long + "\\"]


@pytest.mark.parametrize(
    "escaped",
    [
        TEXT,
        TEXT.replace("/", "\\/"),
        TEXT.replace("+", "\\u002B").replace("/", "\\u002f"),
        "\\r\\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)),
        "data:image/png;base64," + TEXT,
        TEXT + "\\n",
    ],
)
def test_images_arrive_whole_however_json_spells_them(escaped: str) -> None:
    _, files = parse_json(f'{{"image": "{escaped}"}}'.encode(), SETTINGS)
    assert files == {"image": (PHOTO,)}


@pytest.mark.parametrize("size", [3 * 2**20 // 4 + offset for offset in (-2, -1, 0, 1, 2)])
def test_images_around_the_end_of_a_piece_arrive_whole(size: int) -> None:
    data = (b"photo" * 400_000)[:size]
    text = base64.b64encode(data).decode()
    assert parse_json(json.dumps({"image": text}).encode(), SETTINGS)[1] == {"image": (data,)}


@pytest.mark.parametrize(
    "spoilt", [TEXT[:50_000] + "=" + TEXT[50_000:], TEXT[:-1] + "!", "é" + TEXT, TEXT[:-5]]
)
def test_what_is_no_base64_is_refused_by_name(spoilt: str) -> None:
    with pytest.raises(InvalidParameter, match="`image` is no base64"):
        parse_json(json.dumps({"image": spoilt}).encode(), SETTINGS)


def test_a_line_that_ends_within_a_string_is_no_json_however_long_the_string() -> None:
    for text in ("ab\ncd", TEXT[:9000] + "\n" + TEXT[9000:]):
        with pytest.raises(MalformedRequest):
            parse_json(f'{{"image": "{text}"}}'.encode(), SETTINGS)


def test_long_fields_arrive_as_they_were_sent() -> None:
    note: dict[str, Any] = {"note": 'ü\u2028"\\' * 2000, "more": ["y" * 5000, "z" * 5000]}
    fields, _ = parse_json(json.dumps({"metadata": note, "display_name": "é" * 5000}).encode(), SETTINGS)
    assert json.loads(fields["metadata"]) == note
    assert fields["display_name"] == "é" * 5000
    with pytest.raises(InvalidParameter, match="at most"):
        parse_json(json.dumps({"display_name": "e" * (MAX_BESIDE_BYTES + 1)}).encode(), SETTINGS)


async def test_a_body_is_parsed_in_pieces_that_make_it_up() -> None:
    async def whole() -> Any:
        yield PHOTO * 3
        yield b"end"

    pieces = [piece async for piece in in_turns(whole())]
    assert b"".join(pieces) == PHOTO * 3 + b"end"
    assert max(map(len, pieces)) == PARSED_AT_ONCE


def test_a_large_json_of_numbers_gets_413_and_a_photo_in_json_is_matched(
    builtin_client: httpx.Client,
) -> None:
    numbers = b'{"image": [' + b"1," * 500_000 + b"1]}"
    answer = builtin_client.post("/detect", content=numbers, headers={"content-type": "application/json"})
    problem(answer, 413, "body_too_large")
    text = base64.b64encode(sample_bytes("s01")).decode().replace("/", "\\/")
    answer = builtin_client.post(
        "/detect", content=f'{{"image": "{text}"}}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 1
