"""Embeds the crops of a prepared set once for each network, and keeps the templates if a folder is given.

A killed calibration goes on where it was, and another one on the same set and network takes no time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.files import write_array
from faces.routing import encoders_of, is_single
from faces.types import CONDITIONS, Condition, Role
from training.data.prepared import SHARD_ROWS, PreparedSet, shard_name
from training.data.records import DataSetError
from training.networks.onnx_encoders import BundleEncoder

Floats = NDArray[np.float32]
OnEmbedded = Callable[[int], None]
CROPS_AT_ONCE = 64
# A condition whose probes pass through the probes' network, however the bundle routes.
HARD = CONDITIONS[-1]


class SetTemplates:
    """Templates of one set's rows on both sides, each by the network that the service takes."""

    def __init__(self, encoder: BundleEncoder, prepared: PreparedSet, folder: Path | None = None) -> None:
        """Raises DataSetError if the set is aligned to another template than the encoder's."""
        if prepared.info.alignment != encoder.alignment:
            raise DataSetError(
                f"{prepared.info.name} is aligned to {prepared.info.alignment}, the network wants"
                f" {encoder.alignment}"
            )
        self._encoder, self._prepared, self._folder = encoder, prepared, folder
        self._known: dict[Role, Floats] = {}
        self._have: dict[Role, NDArray[np.bool_]] = {}

    def network(self, role: Role, condition: Condition) -> Role:
        """The network that embeds a crop, by the role whose file it is."""
        spec = self._encoder.spec
        return Role.PROBE if is_single(spec) else encoders_of(spec, role, condition)[0]

    def embed(self, wanted: Iterable[tuple[int, Role]], on_done: OnEmbedded = lambda _: None) -> None:
        """Embeds rows for the sides of a comparison that they are wanted for; `on_done` gets their number."""
        rows: dict[Role, set[int]] = {}
        for row, role in wanted:
            network = self.network(role, self._prepared.rows[row].condition)
            rows.setdefault(network, set()).add(row)
        for network, chosen in rows.items():
            for start in range(0, len(self._prepared.rows), SHARD_ROWS):
                part = sorted(i for i in chosen if start <= i < start + SHARD_ROWS)
                if part:
                    self._embed_part(network, start, part, on_done)

    def templates(self, rows: Sequence[int], role: Role) -> Floats:
        """Unit float32 [n, d] of embedded rows of one condition."""
        network = self.network(role, self._prepared.rows[rows[0]].condition)
        found: Floats = self._known[network][list(rows)]
        return found

    def _embed_part(self, network: Role, start: int, rows: Sequence[int], on_done: OnEmbedded) -> None:
        count, width = len(self._prepared.rows), self._encoder.spec.dimension
        if network not in self._known:
            self._known[network] = np.zeros((count, width), np.float32)
            self._have[network] = np.zeros(count, bool)
        known, have = self._known[network], self._have[network]
        path, end = self._path(network, start), min(start + SHARD_ROWS, count)
        if path is not None and path.is_file():
            stored = np.load(path)
            if stored.shape != (end - start, width):
                raise DataSetError(f"{path.name} does not fit the set: remove it and calibrate again")
            have[start:end] |= np.any(stored != 0, axis=1)
            known[start:end] = stored
        missing = [i for i in rows if not have[i]]
        on_done(len(rows) - len(missing))
        role, condition = (Role.REFERENCE, CONDITIONS[0]) if network is Role.REFERENCE else (Role.PROBE, HARD)
        for first in range(0, len(missing), CROPS_AT_ONCE):
            part = missing[first : first + CROPS_AT_ONCE]
            known[part] = self._encoder.embed_as(self._prepared.crops(part), role, condition)
            on_done(len(part))
        have[missing] = True
        if path is not None and missing:
            write_array(path, known[start:end])

    def _path(self, network: Role, start: int) -> Path | None:
        if self._folder is None:
            return None
        spec = self._encoder.spec
        digest = (spec.probe if network is Role.PROBE else spec.reference).sha256[:12]
        self._folder.mkdir(parents=True, exist_ok=True)
        shard = self._prepared.root / shard_name(start // SHARD_ROWS)
        # Of the pixels: a set that was made anew does not get the templates of the old one.
        content = zlib.crc32(shard.read_bytes())
        return self._folder / f"{self._prepared.info.name}-{digest}-{content:08x}.npy"
