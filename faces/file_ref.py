"""Names a file of a bundle by its path inside it, its digest and its size."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, field_validator

from faces.strict import Strict


class FileRef(Strict):
    """A file of the bundle: path relative to the manifest, SHA-256 and size in bytes."""

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(gt=0)]

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or not pure.parts:
            raise ValueError("a bundle's file lies inside the bundle")
        return path
