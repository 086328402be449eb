"""Keeps glibc from holding memory that nobody uses.

It gives each thread a pool (arena) of its own, up to eight for each processor, and a pool keeps free memory
that lies below memory in use. A service with fifteen threads grew by some MiB an hour that way while what
it used stayed the same (docs/reliability.md, "An hour at seven tenths"). Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import os
import sys

ARENAS = 2
# mallopt's name for it in malloc.h, and what sets it from outside.
M_ARENA_MAX, FROM_OUTSIDE = -8, ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def _libc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def limit_arenas() -> bool:
    """Lets all threads to come share `ARENAS` pools, unless the environment says how many; call it before
    there are threads. Returns whether it did."""
    library = _libc()
    if library is None or any(name in os.environ for name in FROM_OUTSIDE):
        return False
    return bool(library.mallopt(M_ARENA_MAX, ARENAS))


def give_back() -> bool:
    """Gives whole pages that no pool uses back to the system. Takes milliseconds, in which an allocation may
    wait. Returns whether there were any."""
    library = _libc()
    return library is not None and bool(library.malloc_trim(0))
