from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest

from service.store.records import SubjectRecord
from service.subjects.names import InvalidName, fold, normal_name
from service.subjects.search import SubjectQuery


def subject(name: str | None, **metadata: object) -> SubjectRecord:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return SubjectRecord("x", metadata, now, now, name, 1)


@pytest.mark.parametrize(
    "name",
    [
        "Ada Lovelace",
        "Zoë Müller",
        "李小龍",
        "محمد",
        "Ελένη",
        "O'Brien-Ñuñez",
        "José 3.",
        "क्षत्रिय",
        "👩\u200d🔬",
    ],
)
def test_a_name_of_any_script_is_kept_in_nfc(name: str) -> None:
    assert normal_name(f"  {unicodedata.normalize('NFD', name)} ") == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "a\nb",
        "a\0",
        "\x1b[31mred",
        "a\u202egnp.exe",
        "a\u2028b",
        "\u200d",
        "\u0301",
        "\ud800",
        "x" * 201,
    ],
)
def test_an_empty_endless_or_steering_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        normal_name(name)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("muller", "Zoë MÜLLER"),
        ("zoe m", "Zoë  Müller"),
        ("STRASSE", "Straße"),
        ("jørgen", "Jorgen"),
        ("łukasz", "LUKASZ"),
        ("ελενη", "Ελένη"),
        ("小龍", "李小龍"),
        ("istanbul", "İstanbul"),
        ("M\u0308u\u0308ller", "müller"),
    ],
)
def test_a_search_knows_neither_case_nor_accents(asked: str, name: str) -> None:
    assert SubjectQuery(name=asked).fits(subject(name))
    assert not SubjectQuery(name=asked + "q").fits(subject(name))
    assert not SubjectQuery(name=asked).fits(subject(None))


@pytest.mark.parametrize(
    ("value", "asked", "fits"),
    [
        ("1", "1", True),
        (1, "1", True),
        (1, "1.0", True),
        (True, "true", True),
        (True, "1", False),
        (1, "true", False),
        (None, "null", True),
        ("Hall", "hall", False),
        ([1, 2], "[1, 2]", True),
        ({"a": 1}, '{"a": 1}', True),
        (2, "x", False),
        ("null", "null", True),
    ],
)
def test_a_value_of_the_metadata_is_found_as_text_or_in_json(value: object, asked: str, fits: bool) -> None:
    query = SubjectQuery(metadata_key="desk", metadata_value=asked)
    assert query.fits(subject(None, desk=value)) is fits
    assert not query.fits(subject(None, other=value))
    assert SubjectQuery(metadata_key="desk").fits(subject(None, desk=value))


def test_folding_keeps_no_mark_and_is_stable() -> None:
    for text in ("Ångström", "ǅ", "ﬁ", "Ａｂ", "é" * 50):
        assert fold(fold(text)) == fold(text)
        assert not any(unicodedata.combining(letter) for letter in fold(text))
