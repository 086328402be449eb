"""Tests that `pull` takes a file from a local directory if it matches its pin."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.bundles.download import ProvisionError, cache_states, matches_pin, pull
from tests.service.bundles.origin import CONTENT, Origin, pin, serving


def placed(folder: Path, content: bytes, name: str = "small.onnx") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


def flipped(content: bytes) -> bytes:
    """Returns bytes of the same size with one bit flipped."""
    return content[:-1] + bytes([content[-1] ^ 1])


def test_a_file_in_a_directory_is_copied_and_nothing_is_downloaded(tmp_path: Path) -> None:
    place, cache = placed(tmp_path / "place", CONTENT), tmp_path / "cache"
    with serving(Origin()) as origin:
        model = pin(url=origin.url)
        (got,) = pull([model], cache=cache, directories=[tmp_path / "none", place])
        assert origin.requests == []
    assert (got.path, got.source) == (cache / "small.onnx", str(place))
    assert got.path.read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["small.onnx"]
    assert (place / "small.onnx").read_bytes() == CONTENT


def test_a_file_in_the_cache_is_left_alone(tmp_path: Path) -> None:
    cache = placed(tmp_path / "cache", CONTENT)
    before = (cache / "small.onnx").stat()
    (got,) = pull([pin()], cache=cache, directories=[])
    after = got.path.stat()
    assert got.source == "cache"
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_damaged_file_in_the_cache_is_replaced(tmp_path: Path) -> None:
    place, cache = placed(tmp_path / "place", CONTENT), placed(tmp_path / "cache", flipped(CONTENT))
    (got,) = pull([pin()], cache=cache, directories=[place])
    assert got.source == str(place)
    assert got.path.read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [flipped(CONTENT), CONTENT[:-1], CONTENT + b"x", b""])
def test_a_different_file_of_that_name_is_skipped_for_the_next_directory(
    tmp_path: Path, wrong: bytes
) -> None:
    first, second = placed(tmp_path / "first", wrong), placed(tmp_path / "second", CONTENT)
    (got,) = pull([pin()], cache=tmp_path / "cache", directories=[first, second])
    assert got.source == str(second)
    assert got.path.read_bytes() == CONTENT


def test_an_unavailable_file_is_reported_with_what_was_tried_and_what_to_do(tmp_path: Path) -> None:
    wrong, cache = placed(tmp_path / "wrong", flipped(CONTENT)), tmp_path / "cache"
    with pytest.raises(ProvisionError) as refused:
        pull([pin()], cache=cache, directories=[tmp_path / "none", wrong])
    told = str(refused.value)
    assert f"{tmp_path / 'none'}: no small.onnx" in told
    assert f"{wrong / 'small.onnx'}: another file than the pinned one" in told
    assert "no download: this test is not published" in told
    assert "HALFLIGHT_MODEL_DIR" in told
    assert pin().sha256 in told
    assert list(cache.iterdir()) == []


def test_files_pulled_before_a_failure_are_kept(tmp_path: Path) -> None:
    place, cache = placed(tmp_path / "place", CONTENT), tmp_path / "cache"
    with pytest.raises(ProvisionError, match=r"other\.onnx"):
        pull([pin(), pin(name="other")], cache=cache, directories=[place])
    assert matches_pin(cache / "small.onnx", pin())


def test_the_state_of_a_file_is_ok_missing_or_different(tmp_path: Path) -> None:
    models = [pin(name=name) for name in ("whole", "cut", "flipped", "gone", "folder")]
    placed(tmp_path, CONTENT, "whole.onnx")
    placed(tmp_path, CONTENT[:-1], "cut.onnx")
    placed(tmp_path, flipped(CONTENT), "flipped.onnx")
    (tmp_path / "folder.onnx").mkdir()
    assert cache_states(models, tmp_path) == {
        "whole": "ok",
        "cut": "different",
        "flipped": "different",
        "gone": "missing",
        "folder": "different",
    }
