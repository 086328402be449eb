"""The site, built once for all tests as `make docs` builds it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import REPO


def build(to: Path, repo: Path = REPO) -> subprocess.CompletedProcess[str]:
    """Builds the site of a checkout into `to`."""
    command = [sys.executable, "-m", "docs.site", "--to", str(to)]
    return subprocess.run(command, cwd=repo, capture_output=True, text=True)


@pytest.fixture(scope="session")
def builder() -> None:
    if find_spec("properdocs") is None:
        pytest.skip("no builder of the site: make docs, or make dev")


@pytest.fixture(scope="session")
def site(builder: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; a broken link or anchor fails here."""
    place = tmp_path_factory.mktemp("docs") / "site"
    done = build(place)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return place
