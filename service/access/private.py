"""Keeps the data directory for the service's own user: it holds templates, crops and their key."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

log = structlog.get_logger("halflight.private")

OWNER_ONLY = 0o077


def make_private(directory: Path) -> None:
    """Makes the directory, closes it and its files to others, and creates no file for others from now on.

    The umask of the process changes with it: databases and libraries choose modes of their own.
    A directory of another owner (a mounted volume) keeps its mode, and a log line says so.

    Raises OSError if the directory cannot be made.
    """
    os.umask(OWNER_ONLY)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in (directory, *directory.iterdir()):
        mode = path.lstat().st_mode & 0o777
        if path.is_symlink() or not mode & OWNER_ONLY:
            continue
        try:
            path.chmod(mode & ~OWNER_ONLY)
        except PermissionError:
            log.warning("others may look into the data directory: it belongs to another user")
            return
