"""Runs the programs that the deployment is made of, as Debian packages them, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import free_port

START_S = 30.0


def find_program(name: str, package: str) -> str:
    """Returns the path of a program; skips the test if its Debian package is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


@contextmanager
def running(
    command: Sequence[str], log: Path, ready: Callable[[], bool], env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program until the end of the block, from when `ready` says so."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(env or {})})
    try:
        end = time.monotonic() + START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens on a TCP port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def name_server(names: Mapping[str, Sequence[str]], place: Path) -> Iterator[int]:
    """Yields the port of a DNS server that knows the addresses of `names`, as a container engine's does."""
    dnsmasq, port = find_program("dnsmasq", "dnsmasq-base"), free_port()
    command = [dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null", f"--port={port}", "--no-resolv"]
    command += ["--listen-address=127.0.0.1", "--bind-interfaces", "--no-hosts", "--no-daemon"]
    command += [f"--host-record={name},{address}" for name, all_ in names.items() for address in all_]
    with running(command, place / "dns.log", lambda: accepts(port)):
        yield port
