"""Wiegand numbers: 26 bits (HID H10301) and 34 bits (HID H10306), with their parity.

Both begin with a bit that makes the number of ones in the first half even, and end with one that makes it
odd in the second half. Between lie the facility (8 or 16 bits) and the number (16 bits), high bit first.
"""

from __future__ import annotations

import re

FACILITY_BITS = {26: 8, 34: 16}
NUMBER_BITS = 16
CARD = re.compile(r"(?:(?P<facility>[0-9]{1,5}):)?(?P<number>[0-9]{1,5})")


class CardError(ValueError):
    """A subject has no card number that fits; the text quotes none."""


def encode(facility: int, number: int, *, bits: int) -> str:
    """The bits of a card as 0 and 1, in the order in which they are sent. Raises CardError."""
    wide = FACILITY_BITS[bits]
    if not 0 <= facility < 1 << wide or not 0 <= number < 1 << NUMBER_BITS:
        raise CardError(f"a card of {bits} bits has {wide} bits of facility and {NUMBER_BITS} of number")
    data = f"{facility:0{wide}b}{number:0{NUMBER_BITS}b}"
    half = len(data) // 2
    even = data[:half].count("1") % 2
    odd = 1 - data[half:].count("1") % 2
    return f"{even}{data}{odd}"


def number_bits(card: object, *, bits: int, facility: int | None) -> str:
    """The bits of a metadata field: NUMBER, or FACILITY:NUMBER where no `facility` is set.

    Raises CardError.
    """
    if isinstance(card, bool) or not isinstance(card, int | str):
        raise CardError("the subject has no card number")
    found = CARD.fullmatch(str(card))
    if found is None:
        raise CardError("the card number of the subject is none")
    given = found["facility"]
    if (given is None) == (facility is None):
        raise CardError("either the output or the card names the facility, and not both")
    return encode(int(given) if given is not None else int(facility or 0), int(found["number"]), bits=bits)
