"""The C library keeps few pools and gives back what nobody uses. Each test looks at a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from service.allocator import _libc
from tests.conftest import REPO

pytestmark = pytest.mark.skipif(_libc() is None, reason="the C library is not glibc")

# Threads that hold memory at the same time get pools; malloc_info lists these.
POOLS = """
import ctypes, os, sys, tempfile, threading
from service.allocator import limit_arenas
print(limit_arenas() if sys.argv[1] == "limit" else None)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fdopen.restype = ctypes.c_void_p, ctypes.c_void_p
libc.malloc.argtypes, libc.fclose.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
together = threading.Barrier(8)
def hold():
    together.wait()
    libc.malloc(50_000)
    together.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
with tempfile.NamedTemporaryFile() as file:
    out = libc.fdopen(os.dup(file.fileno()), b"w")
    libc.malloc_info(0, out)
    libc.fclose(out)
    print(open(file.name).read().count("<heap nr="))
"""

# Free memory below a piece in use, which is where a pool cannot shrink by itself.
HELD = """
import ctypes
from service.allocator import give_back
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))
pieces = [libc.malloc(2000) for _ in range(40_000)]
for one in pieces: ctypes.memset(one, 1, 2000)
for one in pieces[:-1]: libc.free(one)
before = resident()
print(give_back(), before - resident())
"""


def said(script: str, *given: str, **env: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", script, *given],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPO,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPO)} | env,
    )
    return run.stdout.split()


def test_threads_share_two_pools() -> None:
    assert said(POOLS, "limit") == ["True", "2"]
    others = said(POOLS, "as it is")
    assert others[0] == "None"
    assert int(others[1]) > 2


def test_a_number_of_pools_from_outside_stands() -> None:
    assert said(POOLS, "limit", MALLOC_ARENA_MAX="3") == ["False", "3"]


def test_free_pages_below_memory_in_use_go_back() -> None:
    did, mib = said(HELD)
    assert did == "True"
    assert int(mib) > 60
