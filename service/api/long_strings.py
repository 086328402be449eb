"""Takes the images out of a large JSON body before anything parses it.

Parsing holds Python's interpreter lock from the first byte to the last, in whichever thread: 60 MiB of
numbers would stop the event loop for seconds. Images are long strings, which a search for quotes finds at the
speed of memory; what is left beside them is small, or refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

# Shorter strings stay where they are.
LONG = 4096
SPACE = b" \t\r\n"
QUOTE, BACKSLASH, COLON = b'"', 0x5C, 0x3A


class TooMuchBeside(ValueError):
    """There is more beside the long strings than the limit."""


def lift(body: bytes, *, limit: int) -> tuple[bytes, Mapping[str, bytes]]:
    """Replaces each long string that is a value by a short one; returns the rest, and what those stand for.

    `limit`: bytes that may be left beside them. The content of a long string is as it stands in the body,
    with its escapes. Raises TooMuchBeside.
    """
    mark = secrets.token_hex(8)
    kept: list[bytes] = []
    lifted: dict[str, bytes] = {}
    beside = done = 0
    opens = body.find(QUOTE)
    while opens >= 0:
        closes = _end_of_string(body, opens + 1)
        if closes < 0:
            break
        if closes - opens > LONG and not _is_name(body, closes + 1):
            name = f"{mark}{len(lifted):06}"
            lifted[name] = body[opens + 1 : closes]
            kept += [body[done : opens + 1], name.encode()]
            beside += opens - done + len(name)
            done = closes
        if beside + closes - done > limit:
            raise TooMuchBeside
        opens = body.find(QUOTE, closes + 1)
    if beside + len(body) - done > limit:
        raise TooMuchBeside
    return b"".join([*kept, body[done:]]), lifted


def _end_of_string(body: bytes, start: int) -> int:
    """Where the string ends whose content begins at `start`; -1 if it does not end."""
    closes = body.find(QUOTE, start)
    while closes >= 0:
        before = closes
        while before > start and body[before - 1] == BACKSLASH:
            before -= 1
        if (closes - before) % 2 == 0:
            return closes
        closes = body.find(QUOTE, closes + 1)
    return -1


def _is_name(body: bytes, after: int) -> bool:
    """Whether a colon follows, so that the string is a name and not a value."""
    while after < len(body) and body[after] in SPACE:
        after += 1
    return after < len(body) and body[after] == COLON
