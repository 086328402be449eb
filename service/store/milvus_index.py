"""Keeps search vectors in Milvus, one collection for each space, from threads: `HALFLIGHT_GALLERY=milvus`.

A row is the id of a template and the template under the secret transform of its space, in single precision.
The database is the truth: a row without its template opens nothing, and a template without its row gets
it again. Every method blocks, and raises StoreError if Milvus fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.store.errors import StoreError
from service.store.search_schema import GalleryOptions, GalleryRefused

if TYPE_CHECKING:
    from pymilvus import MilvusClient

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
Scores = NDArray[np.float64]
# Milvus answers a search or a query with no more rows than this.
MOST_ROWS = 16_384
ROWS_AT_ONCE = 1000
# What one call may take: a request that waits longer for its answer gets 503.
CALL_S = 20.0
KEY, VECTOR = "template_id", "vector"
# A channel made anew after a failure shares the waits of the one before, up to two minutes, unless its
# connections are its own: a Milvus that is back would be refused for as long.
CHANNEL = {"grpc.use_local_subchannel_pool": 1, "grpc.max_reconnect_backoff_ms": 1000}
# As pgvector and most others build their graphs.
HNSW = {"M": 16, "efConstruction": 128}


class MilvusIndex:
    """The collections of one Milvus. `connect` comes first."""

    def __init__(self, options: GalleryOptions) -> None:
        self.options = options
        self._client: MilvusClient | None = None
        self._failures: tuple[type[BaseException], ...] = ()
        # Collections that have a row for every template, as far as this process knows.
        self._whole: set[str] = set()
        self._lock = threading.Lock()
        # Rows that were written before their transaction ended: when, by collection and id.
        self._ahead: dict[str, dict[int, float]] = {}

    def connect(self) -> None:
        """Raises GalleryRefused if the settings, the package or the server are missing."""
        uri, token = self.options.milvus_uri, self.options.milvus_token
        if uri is None:
            raise GalleryRefused("HALFLIGHT_GALLERY=milvus needs HALFLIGHT_MILVUS_URI, as http://host:19530")
        try:
            # Only here: it takes seconds to load, and is no part of what everybody installs.
            import grpc
            from pymilvus import MilvusClient, MilvusException
        except ImportError as error:
            raise GalleryRefused(
                "HALFLIGHT_GALLERY=milvus needs the package pymilvus: pip install 'halflight[milvus]'"
            ) from error
        # It writes traces of what it raises anyway.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)
        self._failures = (MilvusException, grpc.RpcError, OSError)
        try:
            self._client = MilvusClient(uri=uri, token=token or "", timeout=CALL_S, grpc_options=CHANNEL)
        except self._failures as error:
            raise GalleryRefused("Milvus does not answer at the address of HALFLIGHT_MILVUS_URI") from error

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def ping(self) -> None:
        """Raises StoreError unless Milvus answers."""
        with self._calling() as client:
            client.get_server_version(timeout=CALL_S)

    def make(self, name: str, dimension: int) -> None:
        """Makes a collection unless it is there, and loads it."""
        from pymilvus import DataType

        with self._calling() as client:
            if not client.has_collection(name, timeout=CALL_S):
                schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
                schema.add_field(KEY, DataType.INT64, is_primary=True)
                schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dimension)
                index, graph = client.prepare_index_params(), self.options.index == "hnsw"
                index.add_index(
                    VECTOR,
                    index_type=self.wanted,
                    metric_type="IP",
                    params=HNSW if graph else {},
                )
                # Strong: whoever searches after an answered write sees it, in every replica.
                client.create_collection(
                    name, schema=schema, index_params=index, consistency_level="Strong", timeout=CALL_S
                )
            client.load_collection(name, timeout=CALL_S)

    def load(self, name: str) -> None:
        """Makes a collection ready for searches. Raises StoreError if there is none."""
        with self._calling() as client:
            client.load_collection(name, timeout=CALL_S)

    def load_if_there(self, name: str) -> bool:
        """Makes a collection ready for queries; False if there is none."""
        with self._calling() as client:
            if not client.has_collection(name, timeout=CALL_S):
                return False
        self.load(name)
        return True

    @property
    def wanted(self) -> str:
        """The index that the settings want, as Milvus names it."""
        return "HNSW" if self.options.index == "hnsw" else "FLAT"

    def whole(self, name: str) -> bool:
        """Whether every template had its row in a collection, and no call has failed since."""
        return name in self._whole

    def mark_whole(self, name: str) -> None:
        self._whole.add(name)

    def kind(self, name: str) -> str:
        """The index that a collection was made with, as Milvus names it."""
        with self._calling() as client:
            (index,) = client.list_indexes(name, timeout=CALL_S)
            return str(client.describe_index(name, index, timeout=CALL_S)["index_type"])

    def drop(self, name: str) -> None:
        """Erases a collection, if it is there."""
        with self._calling() as client:
            if client.has_collection(name, timeout=CALL_S):
                client.drop_collection(name, timeout=CALL_S)
        self._whole.discard(name)

    def put(self, name: str, ids: Ids, rows: Floats) -> None:
        """Stores rows [n, d] in a collection that is there, and replaces those of the same ids."""
        with self._calling() as client:
            for start in range(0, len(ids), ROWS_AT_ONCE):
                part = slice(start, start + ROWS_AT_ONCE)
                pairs = zip(ids[part].tolist(), rows[part], strict=True)
                client.upsert(name, [{KEY: one, VECTOR: row} for one, row in pairs], timeout=CALL_S)

    def put_ahead(self, name: str, ids: Ids, rows: Floats) -> None:
        """Stores rows of templates that are about to be committed; `doubtful` names those that may not be."""
        with self._lock:
            self._ahead.setdefault(name, {}).update(dict.fromkeys(ids.tolist(), time.monotonic()))
        self.put(name, ids, rows)

    def doubtful(self, name: str, older_than_s: float) -> list[int]:
        """Ids of rows that were written ahead of a commit so long ago; tells each of them once."""
        before = time.monotonic() - older_than_s
        with self._lock:
            ahead = self._ahead.get(name, {})
            due = [one for one, when in ahead.items() if when <= before]
            for one in due:
                del ahead[one]
        return due

    def remove(self, name: str, ids: Sequence[int]) -> None:
        """Erases the rows of these templates that the collection has."""
        present = sorted(self.present(name, ids))
        with self._calling() as client:
            for start in range(0, len(present), ROWS_AT_ONCE):
                client.delete(name, ids=present[start : start + ROWS_AT_ONCE], timeout=CALL_S)

    def present(self, name: str, ids: Sequence[int]) -> set[int]:
        """Those of these ids that the collection has; none if there is no collection."""
        found: set[int] = set()
        if not ids:
            return found
        with self._calling() as client:
            if not client.has_collection(name, timeout=CALL_S):
                return found
            for start in range(0, len(ids), ROWS_AT_ONCE):
                chosen = ", ".join(map(str, ids[start : start + ROWS_AT_ONCE]))
                asked = f"{KEY} in [{chosen}]"
                rows = client.query(name, filter=asked, output_fields=[KEY], timeout=CALL_S)
                found.update(int(row[KEY]) for row in rows)
        return found

    def every(self, name: str) -> Iterator[list[int]]:
        """The ids of all rows, many at a time."""
        with self._calling() as client:
            rows = client.query_iterator(
                name, batch_size=ROWS_AT_ONCE, filter="", output_fields=[KEY], timeout=CALL_S
            )
            try:
                while part := rows.next():
                    yield [int(row[KEY]) for row in part]
            finally:
                rows.close()

    def count(self, name: str) -> int:
        with self._calling() as client:
            (row,) = client.query(name, filter="", output_fields=["count(*)"], timeout=CALL_S)
        return int(row["count(*)"])

    def near(self, name: str, queries: Floats, most: int) -> list[tuple[Ids, Scores]]:
        """For each query [m, d] up to `most` rows that score high with it, best first: ids and these scores.

        Those that score highest where the collection has no graph.
        """
        params = {"ef": most} if self.options.index == "hnsw" else {}
        asked = {"metric_type": "IP", "params": params}
        with self._calling() as client:
            found = client.search(
                name,
                data=list(queries),
                limit=most,
                anns_field=VECTOR,
                output_fields=[KEY],
                search_params=asked,
                timeout=CALL_S,
            )
            return [_sorted(hits) for hits in found]

    @contextmanager
    def _calling(self) -> Iterator[MilvusClient]:
        if self._client is None:
            raise StoreError("Milvus is not connected")
        try:
            yield self._client
        except self._failures as error:
            # Somebody may have dropped a collection: nobody is to be missed in an empty one.
            self._whole.clear()
            # The text may quote what was sent, so only the type is passed on.
            raise StoreError(f"Milvus failed: {type(error).__name__}") from error


def _sorted(hits: Sequence[Any]) -> tuple[Ids, Scores]:
    ids = np.array([int(hit[KEY]) for hit in hits], np.int64)
    scores = np.array([float(hit["distance"]) for hit in hits], np.float64)
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]
