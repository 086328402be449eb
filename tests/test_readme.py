"""The README's examples run as they are written, against a service that its own line starts."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import REPO, START_S, free_port, sample_bytes
from tests.test_documents import FENCE

README = (REPO / "README.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8000"
SERVE = ".venv/bin/halflight serve"


def blocks(heading: str) -> list[list[str]]:
    """The lines of each block of commands below a heading, up to the next one."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n#", 1)[0]
    return [block.strip().splitlines() for block in FENCE.findall(section) if block]


def prepare(place: Path) -> None:
    """Lays out what the examples name: the command, three photos, and a curl that fails as it should."""
    command = place / ".venv" / "bin" / "halflight"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m service.cli.main "$@"\n')
    command.chmod(0o755)
    for name, sample in (
        ("photo1.jpg", "vis_1.jpg"),
        ("photo2.jpg", "vis_2.jpg"),
        ("probe.png", "nir_masked_1.jpg"),
    ):
        (place / name).write_bytes(sample_bytes("s01", sample))
    (place / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready", timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("the service of the README did not become ready")


@pytest.mark.slow
def test_the_examples_run_as_written(tmp_path: Path) -> None:
    assert shutil.which("curl"), "the examples need curl"
    prepare(tmp_path)
    address = f"127.0.0.1:{free_port()}"
    lines = [
        line.replace(ADDRESS, address).replace("--port 8000", f"--port {address.split(':')[1]}")
        for block in blocks("Use it")
        for line in block
    ]
    serve, *asks = lines
    assert serve.startswith(SERVE)
    assert len(asks) >= 11
    foreign = ("HALFLIGHT_URL", "HALFLIGHT_KEY", "HALFLIGHT_BUNDLE_DIR")
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    # Only the port differs from what a reader has.
    env |= {"HALFLIGHT_URL": f"http://{address}", "CURL_HOME": str(tmp_path), "PYTHONPATH": str(REPO)}
    with (tmp_path / "service.log").open("wb") as log:
        running = subprocess.Popen(shlex.split(serve), cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        wait_until_ready(f"http://{address}", running)
        # One shell for all of them: `export` counts for the lines that follow.
        script = "set -eux\n" + "\n".join(asks)
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    finally:
        running.terminate()
        running.wait(timeout=60)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    assert '"decision":"match"' in done.stdout
    assert done.stdout.count("Anna Müller") >= 4


def test_every_request_of_the_readme_is_an_operation() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    asked = re.findall(r"http://127\.0\.0\.1:8000(/[^\s'?]+)", README)
    assert len(asked) >= 9
    for path in asked:
        general = re.sub(r"(OLD_)?SPACE_ID", "{space_id}", path).replace("JOB_ID", "{job_id}")
        general = general.replace("/anna", "/{subject_id}")
        assert general in paths, path
