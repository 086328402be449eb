"""What the kernel says of other processes."""

from __future__ import annotations

from pathlib import Path


def running(pid: str | int) -> bool:
    """Whether it is there and has not ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
