"""Reads settings that are secrets from a directory with one file each, as container engines mount them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

MAX_BYTES = 64 << 10


class SecretFileError(ValueError):
    """A file of the directory has an unknown name or cannot be read. The text quotes no content."""


def read_secret_files(directory: Path, known: Collection[str]) -> dict[str, str]:
    """Returns the text of each file by its name, without white space at its ends; empty files are left out.

    Hidden names are skipped: Kubernetes keeps versions of a mounted secret in `..data`.
    Raises SecretFileError for a name that is not in `known`, and for a file or directory that cannot be read.
    """
    found: dict[str, str] = {}
    try:
        for path in sorted(directory.iterdir()):
            if path.name.startswith("."):
                continue
            if path.name not in known:
                raise SecretFileError(
                    f"{path.name} is no secret of the service; secrets: {', '.join(sorted(known))}"
                )
            if path.stat().st_size > MAX_BYTES:
                raise SecretFileError(f"{path.name} is larger than {MAX_BYTES} bytes")
            if text := path.read_text(encoding="utf-8").strip():
                found[path.name] = text
    except UnicodeError as error:
        raise SecretFileError("a file of HALFLIGHT_SECRETS_DIR is no text") from error
    except OSError as error:
        name = Path(error.filename).name if error.filename else directory.name
        raise SecretFileError(f"{name} cannot be read: {error.strerror}") from error
    return found
