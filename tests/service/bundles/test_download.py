"""Tests downloads from a real server: complete, resumed, truncated, and with wrong bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.bundles.catalogue import ModelFile
from service.bundles.download import ProvisionError, PulledFile, pull
from tests.conftest import free_port
from tests.service.bundles.origin import CONTENT, Origin, pin, serving

HALF = len(CONTENT) // 2


def download(origin: Origin, cache: Path, *, seen: list[int] | None = None) -> PulledFile:
    def progress(_model: ModelFile, more: int) -> None:
        if seen is not None:
            seen.append(more)

    (got,) = pull([pin(url=origin.url)], cache=cache, directories=[], progress=progress)
    return got


def partial(cache: Path, content: bytes) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / "small.partial"
    path.write_bytes(content)
    return path


def whole_and_alone(cache: Path) -> None:
    assert (cache / "small.onnx").read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["small.onnx"]


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("redirects", [0, 1])
def test_a_file_is_downloaded_checked_and_counted(tmp_path: Path, says_length: bool, redirects: int) -> None:
    seen: list[int] = []
    with serving(Origin(says_length=says_length, redirects=redirects)) as origin:
        got = download(origin, tmp_path, seen=seen)
        assert got.source == origin.url
        assert origin.requests == [None]
    whole_and_alone(tmp_path)
    assert sum(seen) == len(CONTENT)
    assert len(seen) > 1


def test_a_download_resumes_where_an_earlier_one_stopped(tmp_path: Path) -> None:
    partial(tmp_path, CONTENT[:HALF])
    with serving(Origin()) as origin:
        download(origin, tmp_path)
        assert origin.requests == [f"bytes={HALF}-"]
    whole_and_alone(tmp_path)


def test_a_server_without_ranges_sends_the_file_from_the_start(tmp_path: Path) -> None:
    partial(tmp_path, CONTENT[:HALF])
    with serving(Origin(ranges=False)) as origin:
        download(origin, tmp_path)
        assert origin.requests == [f"bytes={HALF}-"]
    whole_and_alone(tmp_path)


@pytest.mark.parametrize("says_length", [True, False])
def test_a_download_that_ends_early_is_an_error_and_the_next_one_resumes(
    tmp_path: Path, says_length: bool
) -> None:
    with serving(Origin(ends_after=HALF, says_length=says_length)) as origin:
        with pytest.raises(ProvisionError) as refused:
            download(origin, tmp_path)
        assert origin.url in str(refused.value)
        if not says_length:
            assert "ended early; pull again to go on" in str(refused.value)
        assert not (tmp_path / "small.onnx").exists()
        have = (tmp_path / "small.partial").stat().st_size
        assert 0 < have <= HALF
        origin.ends_after = None
        download(origin, tmp_path)
        assert origin.requests == [None, f"bytes={have}-"]
    whole_and_alone(tmp_path)


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"more", CONTENT * 3])
def test_a_download_with_a_wrong_digest_is_discarded(tmp_path: Path, content: bytes) -> None:
    with serving(Origin(content=content)) as origin:
        with pytest.raises(ProvisionError, match="does not have the pinned SHA-256; it was thrown away"):
            download(origin, tmp_path)
        assert list(tmp_path.iterdir()) == []
        origin.content = CONTENT
        download(origin, tmp_path)
    whole_and_alone(tmp_path)


def test_a_partial_file_of_other_content_is_discarded_so_that_the_next_try_succeeds(tmp_path: Path) -> None:
    partial(tmp_path, bytes(HALF))
    with serving(Origin()) as origin:
        with pytest.raises(ProvisionError, match="thrown away"):
            download(origin, tmp_path)
        download(origin, tmp_path)
        assert origin.requests == [f"bytes={HALF}-", None]
    whole_and_alone(tmp_path)


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 7])
def test_a_partial_file_of_full_length_is_not_resumed(tmp_path: Path, length: int) -> None:
    partial(tmp_path, bytes(length))
    with serving(Origin()) as origin:
        download(origin, tmp_path)
        assert origin.requests == [None]
    whole_and_alone(tmp_path)


def test_a_compressing_server_does_not_break_a_resumed_download(tmp_path: Path) -> None:
    with serving(Origin(compresses=True, ends_after=HALF // 2, says_length=False)) as origin:
        with pytest.raises(ProvisionError):
            download(origin, tmp_path)
        origin.ends_after = None
        download(origin, tmp_path)
    whole_and_alone(tmp_path)


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_error_of_the_server_is_reported_and_the_partial_file_kept(tmp_path: Path, status: int) -> None:
    part = partial(tmp_path, CONTENT[:HALF])
    with (
        serving(Origin(status=status)) as origin,
        pytest.raises(ProvisionError, match=str(status)) as refused,
    ):
        download(origin, tmp_path)
    assert "HALFLIGHT_MODEL_DIR" in str(refused.value)
    assert part.read_bytes() == CONTENT[:HALF]


def test_an_unreachable_server_is_reported(tmp_path: Path) -> None:
    nowhere = Origin(url=f"http://127.0.0.1:{free_port()}/model.onnx")
    with pytest.raises(ProvisionError, match="cannot be had") as refused:
        download(nowhere, tmp_path)
    assert nowhere.url in str(refused.value)
