"""Tests the workflows: actions pinned by commit, no rights by default, one version everywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPO

WORKFLOWS = sorted((REPO / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_asked_for(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 180
        for step in job["steps"]:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + "0" * 40))
            # What a tag or a branch is named would run as a command.
            assert "${{" not in step.get("run", "")


def test_the_release_builds_the_targets_of_the_dockerfile_for_both_architectures() -> None:
    jobs = yaml.safe_load((REPO / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    built = {(one["target"], one["arch"]) for one in jobs["build"]["strategy"]["matrix"]["include"]}
    assert built == {("cpu", "amd64"), ("cpu", "arm64"), ("gpu", "amd64")}
    stages = re.findall(r"^FROM .* AS (\w+)$", (REPO / "Dockerfile").read_text(), re.M)
    assert {target for target, _ in built} <= set(stages)
    commands = " ".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    for wanted in ("--sbom=true", "--provenance=mode=max", "cosign sign --yes"):
        assert wanted in commands


def test_the_images_have_the_version_of_the_package() -> None:
    version = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]
    assert set(re.findall(r"^ARG VERSION=(\S+)$", (REPO / "Dockerfile").read_text(), re.M)) == {version}
