"""Takes from a process of Linux what decoding a photo does not need: memory, files, privileges.

`prctl` and Landlock have no wrapper in the standard library. Their numbers are of linux/prctl.h and
of linux/landlock.h, where system calls 444 and 446 are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, LANDLOCK_VERSION_FLAG = 444, 446, 1
# Every access to files that an ABI of Landlock knows, and, from ABI 4 on, binding and connecting TCP.
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
TCP_RIGHTS = 0b11
MAX_DESCRIPTORS = 32

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`, the part that ABI 4 knows."""

    _fields_ = [("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64)]


def virtual_bytes() -> int:
    """The address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit_memory(allowance_bytes: int, base_bytes: int) -> None:
    """Lets the process map `allowance_bytes` more than `base_bytes`, and write no larger file.

    Shared memory that is only written counts as a file. No core dump: it would hold a photo.
    """
    for limit, value in (
        (resource.RLIMIT_AS, base_bytes + allowance_bytes),
        (resource.RLIMIT_FSIZE, allowance_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS),
    ):
        hard = resource.getrlimit(limit)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))


def end_with_parent() -> None:
    """Lets the kernel kill this process once the thread that forked it is gone."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def close_to_others() -> None:
    """No gain of privileges by a program, no look into this process by others of the same account."""
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def forbid_files() -> bool:
    """Forbids this process and its children every file and TCP; what is open stays open.

    Returns whether the kernel can (Landlock, from 5.13 on). Everything must be imported before.
    """
    version = _libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION_FLAG)
    if version < 1:
        return False
    rules = _Ruleset(FILE_RIGHTS[min(version, max(FILE_RIGHTS))], TCP_RIGHTS if version >= 4 else 0)
    size = ctypes.sizeof(rules) if version >= 4 else 8
    made = _libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if made < 0:
        return False
    try:
        return bool(_libc.syscall(LANDLOCK_RESTRICT_SELF, made, 0) == 0)
    finally:
        os.close(made)
