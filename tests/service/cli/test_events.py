"""Tests `halflight events`: decisions are followed through a service that dies."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Service, sample_bytes
from tests.service.cli.command import HALFLIGHT, environment, fails, photo, succeeds
from tests.service.live.reader import WAIT_S

CAMERA = "door-1"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path) -> Iterator[tuple[Service, str]]:
    """A service, and an admin key for it."""
    data = tmp_path_factory.mktemp("events") / "data"
    key = succeeds("keys", "create", "--role", "admin", "--label", "guard", "--data", data).out.strip()
    service = Service(data)
    service.start()
    yield service, key
    service.stop()


@pytest.mark.slow
def test_events_are_followed_through_a_killed_service_until_ctrl_c(
    keyed: tuple[Service, str], tmp_path: Path
) -> None:
    service, key = keyed
    env = {"HALFLIGHT_URL": service.url, "HALFLIGHT_KEY": key}
    probe = photo(tmp_path, "probe.jpg", sample_bytes("s03"))
    succeeds("identify", probe, "--camera", CAMERA, env=env)
    command = [*HALFLIGHT, "events", "--follow", "--json", "--recent", "1"]
    following = subprocess.Popen(
        command, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert following.stdout is not None
    assert following.stderr is not None
    try:
        first = json.loads(following.stdout.readline())
        service.kill()
        assert "trying again until Ctrl-C" in following.stderr.readline()
        service.start()
        succeeds("identify", probe, env=env)
        second = json.loads(following.stdout.readline())
    finally:
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=WAIT_S)
    assert first["decision"] == second["decision"] == "unknown"
    assert (first["camera"], second["camera"]) == (CAMERA, None)
    assert first["event_id"] < second["event_id"]
    assert "the service started anew" in said
    assert "Traceback" not in said
    assert following.returncode == 130


@pytest.mark.slow
def test_a_key_that_may_not_and_a_missing_service_are_said_at_once(keyed: tuple[Service, str]) -> None:
    service, _ = keyed
    made = succeeds("keys", "create", "--role", "probe", "--label", "gate", "--data", service.data)
    probe = {"HALFLIGHT_URL": service.url, "HALFLIGHT_KEY": made.out.strip()}
    fails(1, "events", "--follow", expected=["(forbidden)", "higher role"], env=probe)
    nowhere = probe | {"HALFLIGHT_URL": "http://127.0.0.1:9"}
    fails(1, "events", "--follow", expected=["no service answers"], env=nowhere)
