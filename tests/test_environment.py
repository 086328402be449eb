"""`make setup` says at once which Python it wants, and makes anew what a stopped run left half made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPO

SCRIPT = REPO / "requirements" / "environment.sh"
# The interpreter itself, not that of this environment, whose packages are not those of a new one.
PYTHON = Path(sys.base_prefix) / "bin" / "python3"


def run(venv: Path, python: Path | str = PYTHON) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, str(venv), str(python)], capture_output=True, text=True, timeout=300)


def works(venv: Path) -> bool:
    python = venv / "bin" / "python"
    if not python.exists():
        return False
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0


@pytest.mark.parametrize("version", ["3.9.2", "3.10.13", "3.13.0", "2.7.18"])
def test_another_python_is_named_with_what_is_wanted(tmp_path: Path, version: str) -> None:
    other = tmp_path / "python3"
    other.write_text(f"#!/bin/sh\necho {version}\n")
    other.chmod(0o755)
    refused = run(tmp_path / "venv", other)
    assert refused.returncode == 1
    assert "needs CPython 3.11 or 3.12" in refused.stderr
    assert f"{other} is {version}." in refused.stderr
    assert "make setup PYTHON=" in refused.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_named(tmp_path: Path) -> None:
    refused = run(tmp_path / "venv", tmp_path / "none")
    assert refused.returncode == 1
    assert f"{tmp_path / 'none'} does not run." in refused.stderr


def test_a_python_that_is_named_is_not_ignored_where_an_environment_is(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    assert run(venv).returncode == 0
    missing = run(venv, tmp_path / "none")
    assert missing.returncode == 1
    assert f"{tmp_path / 'none'} does not run." in missing.stderr
    other = tmp_path / "python3"
    version = "3.12.1" if sys.version_info.minor == 11 else "3.11.1"
    other.write_text(f"#!/bin/sh\necho {version}\n")
    other.chmod(0o755)
    refused = run(venv, other)
    assert refused.returncode == 1
    assert f"{other} is {version}." in refused.stderr
    assert f"Remove {venv}" in refused.stderr
    assert works(venv)


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    refused = run(tmp_path)
    assert refused.returncode == 1
    assert "something else" in refused.stderr
    assert (tmp_path / "letter.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_half_made_environment_is_made_anew_and_a_whole_one_stays(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    # Killed while it is being made.
    with subprocess.Popen(
        [SCRIPT, str(venv), str(PYTHON)], stdout=subprocess.DEVNULL, start_new_session=True
    ) as making:
        end = time.monotonic() + 60
        while not (venv / "bin").exists() and time.monotonic() < end:
            time.sleep(0.005)
        os.killpg(making.pid, signal.SIGKILL)
    assert not works(venv)
    made = run(venv)
    assert made.returncode == 0, made.stderr
    assert "making it anew" in made.stdout
    assert works(venv)
    # A whole one is not touched, and costs no message.
    kept = venv / "kept"
    kept.touch()
    again = run(venv)
    assert (again.returncode, again.stdout, kept.exists()) == (0, "", True)
    # Stopped while packages were being installed.
    (venv / ".unfinished").touch()
    assert run(venv).returncode == 0
    assert works(venv)
    assert not kept.exists()
    # Its interpreter is gone, as after an upgrade of the machine.
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        (venv / "bin" / name).unlink(missing_ok=True)
    assert run(venv).returncode == 0
    assert works(venv)


def test_an_installation_leaves_its_mark_until_it_is_done(tmp_path: Path) -> None:
    """The recipes that install begin with the mark and end without it."""
    make = shutil.which("make")
    assert make is not None
    for stamp, packages in ((".cpu", "cpu.lock"), (".dev", "dev.lock"), (".train", "train.lock")):
        command = [make, "--dry-run", "--always-make", f"VENV={tmp_path}", f"{tmp_path}/{stamp}"]
        shown = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout
        lines = [line for line in shown.splitlines() if ".unfinished" in line or packages in line]
        *_, begin, install, done = lines
        assert begin == f"touch {tmp_path}/.unfinished"
        assert "pip" in install
        assert "--quiet" not in install
        assert done == f"rm -f {tmp_path}/.unfinished && touch {tmp_path}/{stamp}"
