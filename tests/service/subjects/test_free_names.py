"""Names of CompreFace's clients: each leads to one subject, and the subject's name leads back."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest

from service.errors import InvalidParameter
from service.subjects.free_names import FreeName, free_name, name_of
from service.subjects.validation import validate_subject_id

NAMES = ("anna", "Anna Müller", "李小龍", "../up", ".", "a/b c", "x" * 150, "O'Neil, Pat 👍")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_leads_to_a_valid_id_and_back(name: str) -> None:
    found = free_name(name)
    assert validate_subject_id(found.subject_id) == found.subject_id
    assert name_of(found.subject_id, found.display_name) == name


def test_a_name_that_is_an_id_is_the_id() -> None:
    assert free_name("door-1:anna@home") == FreeName("door-1:anna@home", None)


def test_the_id_is_what_the_page_on_moving_makes() -> None:
    digest = hashlib.sha256("Anna Müller".encode()).hexdigest()[:8]
    assert free_name("Anna Müller") == FreeName(f"Anna-M-ller-{digest}", "Anna Müller")


def test_two_spellings_of_one_name_are_one_subject() -> None:
    assert free_name(unicodedata.normalize("NFD", "Anna Müller")) == free_name(" Anna Müller ")


def test_a_display_name_besides_an_id_is_not_its_name() -> None:
    assert name_of("badge-12", "Anna Müller") == "badge-12"
    assert name_of("badge-12", "other") == "badge-12"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_what_can_be_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter):
        free_name(name)
