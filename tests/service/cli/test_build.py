"""Tests what `halflight models build` reports if it cannot train."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from service.cli.building import TRUNK, find_base
from service.cli.output import Failure
from service.settings import builtin_bundle
from tests.service.cli.command import fails


@pytest.fixture
def env(tmp_path: Path, bundle_dir: Path) -> dict[str, str]:
    return {"HALFLIGHT_CACHE": str(tmp_path / "cache"), "HALFLIGHT_MODEL_DIR": str(bundle_dir)}


def test_build_without_torch_names_the_extra(env: dict[str, str], tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    env["HALFLIGHT_TRAIN_PYTHON"] = str(bare)
    expected = ["lacks torch, onnx", "halflight[train]"]
    fails(1, "models", "build", "reference-hsst", "--standin", expected=expected, env=env)
    assert not (tmp_path / "cache").exists(), "nothing is pulled for a bundle that cannot be built"


def test_an_unknown_recipe_is_a_usage_error(env: dict[str, str]) -> None:
    fails(2, "models", "build", "other", "--standin", expected=["there are: reference-hsst"], env=env)


@pytest.mark.parametrize("words", [("reference-hsst", "--trunk", "bundle"), ("matcher", "--set", "cache")])
def test_a_trunk_goes_with_its_recipe_alone(env: dict[str, str], words: tuple[str, ...]) -> None:
    said = ["--trunk BUNDLE goes with the recipe matcher", "halflight models import"]
    fails(2, "models", "build", *words, expected=said, env=env)


def test_an_error_of_the_recipe_is_reported_once(env: dict[str, str], tmp_path: Path) -> None:
    asked = ("models", "build", "reference-hsst", "--set", tmp_path / "none", "--compiled")
    result = fails(2, *asked, expected=["none: no set.json", "was not built"], env=env)
    assert "Traceback" not in result.err
    assert (tmp_path / "cache" / "bundles" / "reference" / "manifest.json").is_file()


def test_without_the_reference_it_starts_from_the_public_trunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bundle_dir: Path
) -> None:
    monkeypatch.setenv("HALFLIGHT_CACHE", str(tmp_path / "cache"))
    # Of the reference's three files, the one that has a public download.
    (tmp_path / "public").mkdir()
    shutil.copy(bundle_dir / "yunet_n_dynamic.onnx", tmp_path / "public")
    with pytest.raises(Failure, match="cannot be had") as failure:
        find_base([tmp_path / "public"])
    assert "`python -m training tools --trunk`" in failure.value.detail
    assert "tools --trunk` makes trunk-0095" in failure.value.hint
    trunk = tmp_path / "cache" / "bundles" / TRUNK
    shutil.copytree(builtin_bundle(), trunk)
    assert find_base([tmp_path / "public"]) == trunk
    assert "starts from trunk-0095" in capsys.readouterr().err
    (trunk / "detector.onnx").write_bytes(b"part of it")
    with pytest.raises(Failure, match="cannot be had"):
        find_base([tmp_path / "public"])
