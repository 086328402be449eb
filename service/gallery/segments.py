"""A segment of a gallery as a snapshot keeps it: what a search needs in memory, and where the rows lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.gallery.first_pass import LARGEST_DIMENSION, LONGEST, Codes
from service.gallery.rows import KEY_BYTES, Floats, Keys

HEADER_BYTES = 4
_BOUND = LONGEST + 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Templates `ids` int64 [n] and what `CodedRows` holds of them: codes int8 [n, d], scale, radius [n].

    Row i is sealed under `keys[i]`, uint8 [n, 16], at `places[i]` of the file `files[of[i]]`.
    """

    ids: NDArray[np.int64]
    codes: Codes
    scale: Floats
    radius: Floats
    keys: Keys
    of: NDArray[np.uint16]
    places: NDArray[np.int32]
    files: tuple[str, ...]
    longest: float

    def pack(self) -> bytes:
        """Length of the header, header in JSON, then the arrays in their order."""
        facts = {"shape": self.codes.shape, "files": self.files, "longest": self.longest}
        header = json.dumps(facts).encode()
        arrays = (self.ids, self.codes, self.scale, self.radius, self.keys, self.of, self.places)
        return b"".join(
            [len(header).to_bytes(HEADER_BYTES, "little"), header, *(a.tobytes() for a in arrays)]
        )

    @classmethod
    def unpack(cls, data: bytes, dimension: int) -> Segment:
        """Raises ValueError for bytes that are none of this dimension."""
        start = HEADER_BYTES + int.from_bytes(data[:HEADER_BYTES], "little")
        facts = json.loads(data[HEADER_BYTES:start])
        count, width = facts["shape"]
        if width != dimension or not 0 < width <= LARGEST_DIMENSION or not 0 < facts["longest"] < _BOUND:
            raise ValueError("a segment of another dimension")
        shapes: list[tuple[Any, tuple[int, ...]]] = [
            (np.int64, (count,)),
            (np.int8, (count, width)),
            (np.float32, (count,)),
            (np.float32, (count,)),
            (np.uint8, (count, KEY_BYTES)),
            (np.uint16, (count,)),
            (np.int32, (count,)),
        ]
        arrays: list[Any] = []
        for kind, shape in shapes:
            size = int(np.prod(shape))
            arrays.append(np.frombuffer(data, kind, size, start).reshape(shape))
            start += size * np.dtype(kind).itemsize
        ids, codes, scale, radius, keys, of, places = arrays
        files, longest = tuple(facts["files"]), float(facts["longest"])
        made = cls(ids, codes, scale, radius, keys, of, places, files, longest)
        if start != len(data) or (made.of >= len(made.files)).any() or (made.places < 0).any():
            raise ValueError("a segment does not hold what it says")
        return made
