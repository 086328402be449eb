"""Enrolments whose refusals are figures too: a service of its own, and what it answers to each photo."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.backfill import Served
from benchmarks.client import ServiceClient
from faces.files import write_whole
from service.settings import Settings, builtin_bundle

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ENROLLED = "enrolled"


@contextmanager
def served(bundle: Path | None) -> Iterator[ServiceClient]:
    """Starts a service with an empty gallery in a process of its own; None is the built-in bundle.

    Raises AssertionError if the service does not start.
    """
    with tempfile.TemporaryDirectory(prefix="halflight-benchmark-") as place:
        service = Served(Settings(data_dir=Path(place), bundle_dir=bundle or builtin_bundle()))
        client = ServiceClient(service.url, None)
        try:
            yield client
        finally:
            client.close()
            service.stop()


def counted(codes: Iterable[str]) -> str:
    """Formats how often each code came: `3 duplicate_face, 1 no_face`; a dash if none did."""
    return ", ".join(f"{count} `{code}`" for code, count in sorted(Counter(codes).items())) or "-"


def write_json(path: Path | None, command: str, measured: DataclassInstance) -> None:
    """Writes the figures with the command that measures them; None writes nothing."""
    if path is not None:
        assert is_dataclass(measured)
        facts: dict[str, Any] = {"command": command, **asdict(measured)}
        write_whole(path, (json.dumps(facts, indent=1) + "\n").encode())
