"""The bill of materials names every package of the lock, its licence, and the model's digests."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import REPO

SCRIPT = REPO / "deploy" / "sbom.py"
LOCK, BUNDLE = REPO / "requirements" / "cpu.lock", REPO / "models" / "halflight-2"


def made(to: Path, *options: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, str(SCRIPT), "--to", str(to), "--version", "1.2.3", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
    content = (to / "sbom.cdx.json").read_text()
    document: dict[str, Any] = json.loads(content)
    return document, content


def test_every_package_of_the_lock_is_listed_with_its_version_and_licence(tmp_path: Path) -> None:
    document, content = made(tmp_path / "a", "--lock", str(LOCK), "--bundle", str(BUNDLE))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    pinned = set(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ]+)", LOCK.read_text(), re.M))
    libraries = [one for one in document["components"] if one["type"] == "library"]
    assert {(one["name"], one["version"]) for one in libraries} == pinned
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in libraries)
    lines = (tmp_path / "a" / "licences.txt").read_text().splitlines()
    assert len(lines) == len(pinned)
    assert not [line for line in lines if line.endswith(": ") or "not stated" in line]
    # The same environment gives the same bytes.
    assert made(tmp_path / "b", "--lock", str(LOCK), "--bundle", str(BUNDLE))[1] == content


def test_references_are_unique_and_lead_somewhere(tmp_path: Path) -> None:
    document, _ = made(tmp_path, "--lock", str(LOCK))
    refs = [one["bom-ref"] for one in document["components"]]
    assert len(refs) == len(set(refs))
    needs = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    assert set(needs) == set(refs)
    assert {ref for others in needs.values() for ref in others} <= set(refs)
    (fastapi,) = [ref for ref in refs if ref.startswith("pkg:pypi/fastapi@")]
    assert any(ref.startswith("pkg:pypi/starlette@") for ref in needs[fastapi])


def test_the_files_of_the_bundle_have_their_digests(tmp_path: Path) -> None:
    document, _ = made(tmp_path, "--lock", str(LOCK), "--bundle", str(BUNDLE))
    digests = {one["name"]: one["hashes"][0]["content"] for one in document["components"] if "hashes" in one}
    files = [path for path in BUNDLE.rglob("*") if path.is_file()]
    assert len(digests) == len(files)
    for path in files:
        name = f"halflight-2/{path.relative_to(BUNDLE).as_posix()}"
        assert digests[name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "machine-learning-model" in {one["type"] for one in document["components"]}


def test_an_environment_that_is_not_that_of_the_lock_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "other.lock"
    lock.write_text("fastapi==0.0.1 \\\n    --hash=sha256:00\n")
    command = [sys.executable, str(SCRIPT), "--to", str(tmp_path), "--lock", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "fastapi 0.0.1 is not installed" in done.stderr) == (2, True)
