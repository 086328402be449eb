"""Display names: what people call a subject, in any script, beside the id that programs use."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

MAX_LETTERS = 200
# Controls, halves of surrogate pairs, private use, and separators of lines and paragraphs.
REFUSED = frozenset({"Cc", "Cs", "Co", "Zl", "Zp"})
# Marks and overrides of writing direction (UAX 9, 2): a list that shows a name would be reordered.
DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Letters that Unicode does not decompose into a base and a mark, in lower case.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)


class InvalidName(ValueError):
    """A display name cannot be kept; the text says why and quotes nothing."""


def normal_name(text: str) -> str:
    """A display name in NFC, without spaces around it. Raises InvalidName.

    It has 1 to `MAX_LETTERS` code points and neither controls nor marks of direction.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if any(unicodedata.category(letter) in REFUSED or letter in DIRECTION for letter in name):
        raise InvalidName("it holds a control character")
    if not any(unicodedata.category(letter)[0] in "LNPS" for letter in name):
        raise InvalidName("it is empty: give at least one letter, or none at all")
    if len(name) > MAX_LETTERS:
        raise InvalidName(f"it may have {MAX_LETTERS} letters at most")
    return name


def normal_text(text: str, longest: int) -> str:
    """A text that people write, in NFC, without spaces around it. Raises InvalidName.

    It has 1 to `longest` code points; lines may end, other controls and marks of direction are refused.
    """
    normal = unicodedata.normalize("NFC", text).strip()
    if any(
        (unicodedata.category(letter) in REFUSED and letter not in "\n\t") or letter in DIRECTION
        for letter in normal
    ):
        raise InvalidName("it holds a control character")
    if not normal:
        raise InvalidName("it is empty")
    if len(normal) > longest:
        raise InvalidName(f"it may have {longest} letters at most")
    return normal


# A search folds one and the same text for every subject that it opens.
@lru_cache(maxsize=64)
def fold_query(text: str) -> str:
    """`fold`, for the few texts that are asked for."""
    return fold(text)


def fold(text: str) -> str:
    """Text as a search compares it: without case, accents, and repeated spaces.

    Compatibility forms count as what they stand for (NFKD), so that `Ｍüller` is found by `muller`.
    """
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(plain.translate(_PLAIN).split())
