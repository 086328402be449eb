"""Starts a real PostgreSQL server for the tests from Debian's binaries in a temporary directory."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


def _unprivileged() -> dict[str, Any]:
    """Returns another account for its processes if this is root, as which PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in known else "nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def running_server(binaries: Path) -> Iterator[str]:
    """Yields `host:port` on loopback. The superuser is `halflight`, without a password."""
    place = Path(tempfile.mkdtemp(prefix="halflight-postgres-"))
    options = _unprivileged()
    if options:
        shutil.chown(place, options["user"], options["group"])
    data, port = place / "data", free_port()
    # A locale that does not sort by bytes, as on most servers.
    locale = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]
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
    subprocess.run(initdb, check=True, capture_output=True, cwd=place, **options)
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
    with (place / "log").open("w") as log:
        process = subprocess.Popen([*serve, "-F"], stdout=log, stderr=log, cwd=place, **options)
    try:
        _wait(process, port, place / "log")
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)  # "fast" shutdown: disconnects the clients
        process.wait(timeout=30)
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
    host, port = server.split(":")
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(
        host=host, port=port, user="halflight", dbname="postgres", autocommit=True
    ) as connection:
        create = psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
        if template is not None:
            create += psycopg.sql.SQL(" TEMPLATE {}").format(psycopg.sql.Identifier(template))
        connection.execute(create)
        yield f"postgresql+psycopg://halflight@{server}/{name}"
        connection.execute(
            psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name))
        )
