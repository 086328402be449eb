"""`halflight models build`: what it says where it cannot train."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.service.cli.command import fails


@pytest.fixture
def env(tmp_path: Path, bundle_dir: Path) -> dict[str, str]:
    return {"HALFLIGHT_CACHE": str(tmp_path / "cache"), "HALFLIGHT_MODEL_DIR": str(bundle_dir)}


def test_without_torch_it_names_the_extra(env: dict[str, str], tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    env["HALFLIGHT_TRAIN_PYTHON"] = str(bare)
    told = ["lacks torch, onnx", "halflight[train]"]
    fails(1, "models", "build", "reference-hsst", "--standin", told=told, env=env)
    assert not (tmp_path / "cache").exists(), "nothing is pulled for what cannot be built"


def test_an_unknown_recipe_is_a_wrong_call(env: dict[str, str]) -> None:
    fails(2, "models", "build", "other", "--standin", told=["there are: reference-hsst"], env=env)


def test_what_the_recipe_refuses_is_said_once(env: dict[str, str], tmp_path: Path) -> None:
    asked = ("models", "build", "reference-hsst", "--set", tmp_path / "none", "--compiled")
    said = fails(2, *asked, told=["none: no set.json", "was not built"], env=env)
    assert "Traceback" not in said.err
    assert (tmp_path / "cache" / "bundles" / "reference" / "manifest.json").is_file()
