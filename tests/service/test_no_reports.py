"""Nothing that runs here reports to the maker of a library, and nothing is written beside the data.

The variables by which libraries know a build server are taken out: they stay silent there by themselves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from faces.usage_reports import SWITCHES
from service.settings import builtin_bundle
from tests.conftest import REPO, SAMPLES
from tests.service import alone

BUILD_SERVER = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "PYTEST_CURRENT_TEST")
APART = ["unshare", "--map-root-user", "--net", "--mount"]
RUNS = "import sys; {first}; import onnxruntime as o; o.InferenceSession(sys.argv[1])"


def at_home(home: Path) -> Mapping[str, str]:
    """The environment of somebody at `home` who set nothing."""
    hidden = {*BUILD_SERVER, *SWITCHES, "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"HOME": str(home), "PYTHONPATH": str(REPO)}


def written(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def run_network(home: Path, first: str) -> None:
    """Runs a network in a process that does `first` before."""
    command = [sys.executable, "-c", RUNS.format(first=first), str(next(builtin_bundle().glob("*.onnx")))]
    subprocess.run(command, env=at_home(home), cwd=home, check=True, timeout=300)


@pytest.mark.parametrize("package", ["service", "training", "export", "benchmarks"])
def test_a_package_that_runs_networks_writes_no_report(tmp_path: Path, package: str) -> None:
    run_network(tmp_path, f"import {package}")
    assert written(tmp_path) == []


def test_a_switch_that_was_set_to_on_is_turned_off(tmp_path: Path) -> None:
    run_network(tmp_path, "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '0'; import service")
    assert written(tmp_path) == []


@pytest.mark.slow
def test_a_service_that_identifies_looks_up_no_name_and_writes_nothing_at_home(tmp_path: Path) -> None:
    if subprocess.run([*APART, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine gives no namespaces")
    home, data = tmp_path / "home", tmp_path / "data"
    home.mkdir()
    photo = SAMPLES / "s01" / "nir_masked_1.jpg"
    command = [*APART, sys.executable, "-m", alone.__name__, *map(str, (data, builtin_bundle(), photo))]
    done = subprocess.run(
        command, env=at_home(home), cwd=REPO, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [alone.KNOWN]
    assert written(home) == []
