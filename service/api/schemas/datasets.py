"""Wire types of /admin/datasets."""

from __future__ import annotations

from service.api.schemas.base import Wire
from service.retraining.datasets import UploadedSet


class DatasetOut(Wire):
    """`digest`: SHA-256 of the archive. `ignored`: its entries that are neither pictures nor lists."""

    dataset_id: str
    digest: str
    files: int
    bytes: int
    ignored: int
    created_at: str

    @classmethod
    def of(cls, found: UploadedSet) -> DatasetOut:
        return cls(
            dataset_id=found.dataset_id,
            digest=found.digest,
            files=found.files,
            bytes=found.bytes,
            ignored=found.ignored,
            created_at=found.created_at,
        )


class DatasetsOut(Wire):
    datasets: list[DatasetOut]
    next_cursor: str | None
