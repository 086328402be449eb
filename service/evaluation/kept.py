"""Keeps templates on the disk while an evaluation runs, so that the same command goes on after a kill.

One JSON object a line. The file is for the account that runs the command alone, and goes when the report is
written: templates are biometric data.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from faces.types import CONDITIONS, Condition, Spectrum
from service.evaluation.described import Reason, Template
from service.evaluation.labelled import LabelledPhoto

NAME = "templates.partial"
MODE = 0o600


class KeptTemplates:
    """What was described in one space so far. Templates of other spaces are of no use and stay unread."""

    def __init__(self, folder: Path, space_id: str) -> None:
        """Raises OSError if the file cannot be read or written."""
        self._path, self._space_id, self._lock = folder / NAME, space_id, threading.Lock()
        self._known = dict[str, Template | Reason]()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._end_line(self._read())
        self._out = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, photo: LabelledPhoto, digest: str) -> Template | Reason | None:
        return self._known.get(_key(photo, digest))

    def put(self, photo: LabelledPhoto, digest: str, found: Template | Reason) -> None:
        """Appends one line. Raises OSError if the disk takes no more."""
        line = {"space": self._space_id, "key": _key(photo, digest), **_encoded(found)}
        data = (json.dumps(line) + "\n").encode()
        with self._lock:
            while data:
                data = data[os.write(self._out, data) :]

    def close(self, *, remove: bool) -> None:
        os.close(self._out)
        if remove:
            self._path.unlink(missing_ok=True)

    def _read(self) -> bool:
        """Reads the lines that are whole; returns whether the last one is not."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return False
        for line in data.splitlines():
            try:
                entry = json.loads(line)
                if entry["space"] == self._space_id:
                    self._known[entry["key"]] = _decoded(entry)
            except (ValueError, KeyError, TypeError):
                # A kill in the midst of a write leaves a piece of a line: that photo is described again.
                continue
        return bool(data) and not data.endswith(b"\n")

    def _end_line(self, torn: bool) -> None:
        if torn:
            with self._path.open("ab") as out:
                out.write(b"\n")


def _key(photo: LabelledPhoto, digest: str) -> str:
    return f"{digest} {photo.role.value} {photo.spectrum.value if photo.spectrum else 'auto'}"


def _encoded(found: Template | Reason) -> dict[str, Any]:
    if isinstance(found, Reason):
        return {"code": found.code, "detail": found.detail}
    return {
        "vector": base64.b64encode(found.vector.astype("<f4").tobytes()).decode(),
        "spectrum": found.condition.spectrum.value,
        "masked": found.condition.masked,
        "mask_state": found.mask_state,
        "quality": found.quality,
        "reasons": list(found.reasons),
        "box": list(found.box),
        "cohort": found.cohort,
        "taken": [found.taken[c] for c in CONDITIONS] if found.cohort else [],
    }


def _decoded(entry: dict[str, Any]) -> Template | Reason:
    if "code" in entry:
        return Reason(str(entry["code"]), str(entry["detail"]))
    vector = np.frombuffer(base64.b64decode(entry["vector"], validate=True), "<f4").astype(np.float32)
    x, y, width, height = (float(side) for side in entry["box"])
    cohort = None if entry["cohort"] is None else str(entry["cohort"])
    return Template(
        vector=vector,
        condition=Condition(Spectrum(entry["spectrum"]), bool(entry["masked"])),
        mask_state=str(entry["mask_state"]),
        quality=int(entry["quality"]),
        reasons=tuple(str(reason) for reason in entry["reasons"]),
        box=(x, y, width, height),
        cohort=cohort,
        taken=dict(zip(CONDITIONS, map(float, entry["taken"]), strict=True)) if cohort else {},
    )
