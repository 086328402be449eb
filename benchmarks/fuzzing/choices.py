"""Options of a request that say the same thing, or exclude each other: of these one is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Of each one is given at most.
EXCLUSIVE = (("fmr", "threshold", "fpir"), ("duplicates", "allow_duplicate"))


def say_once(places: Sequence[dict[str, Any]]) -> None:
    """Takes options from the query and the body of a request, `places`, until none is given twice and none
    excludes another. What the first place says stays."""
    names = {name for options in places for name in options}
    for choice in (*EXCLUSIVE, *((name,) for name in sorted(names))):
        said = [(options, name) for options in places for name in choice if name in options]
        for options, name in said[1:]:
            options.pop(name)
