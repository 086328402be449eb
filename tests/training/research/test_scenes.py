"""The comparison with registered scene pairs, and its measures."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.synthesis.portrait import ellipsoid_mesh
from training.cli.scenes import scenes
from training.data.records import DataSetError
from training.research.likeness import likeness, robust_gain, ssim
from training.research.scenes import bootstrap_mean, check_scenes
from training.synthesis.nir import TrainNir
from training.synthesis.relit import RelitNir


def picture(
    seed: int, size: tuple[int, int] = (96, 128)
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    noise = np.random.default_rng(seed).random(size, np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    low, high = float(smooth.min()), float(smooth.max())
    return np.asarray((smooth - low) / (high - low), np.float32)


def write_pair(folder: Path, name: str, red: int, seed: int) -> None:
    """NIR is the red channel; `red` is its place in the stored colours."""
    colours = np.stack([picture(seed * 10 + k) for k in range(3)], axis=2)
    cv2.imwrite(
        str(folder / f"{name}_rgb.jpg"), (colours * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 98]
    )
    cv2.imwrite(str(folder / f"{name}_nir.jpg"), (colours[:, :, red] * 255).astype(np.uint8))


def test_the_red_channel_wins_where_nir_is_red(tmp_path: Path) -> None:
    for number in range(4):
        write_pair(tmp_path, f"{number:04d}", 2, number)
    report = check_scenes(tmp_path, TrainNir())
    assert report.pairs == ("0000", "0001", "0002", "0003")
    red, luminance = report.candidate("red channel"), report.candidate("luminance")
    assert red.mean("pearson").mean > 0.9
    gain = red.gain_over(luminance, "pearson")
    assert gain.low > 0
    assert report.candidates[0].name == TrainNir.name
    with pytest.raises(KeyError):
        report.candidate("green")


def test_the_same_seed_gives_the_same_report(tmp_path: Path) -> None:
    write_pair(tmp_path, "0000", 2, 0)

    def of_seed(seed: int) -> list[list[float]]:
        report = check_scenes(tmp_path, TrainNir(), seed=seed)
        return [list(astuple(pair)) for candidate in report.candidates for pair in candidate.pairs]

    # OpenCV rounds the last bit of float32 by where a picture lies in memory.
    first = of_seed(3)
    np.testing.assert_allclose(of_seed(3), first, rtol=0, atol=1e-7)
    assert np.abs(np.subtract(of_seed(4)[0], first[0])).min() > 1e-4


def test_likeness_is_one_for_the_same_picture_at_any_gain() -> None:
    real = picture(1)
    for other in (real, 0.4 * real + 0.2):
        found = likeness(np.asarray(other, np.float32), real)
        assert found.pearson == pytest.approx(1.0, abs=1e-5)
        assert found.gradient == pytest.approx(1.0, abs=1e-4)
        assert found.ssim == pytest.approx(1.0, abs=1e-3)
    negative = likeness(np.asarray(1 - real, np.float32), real)
    assert negative.pearson == pytest.approx(-1.0, abs=1e-5)
    assert negative.ssim < 0.5


def test_robust_gain_ignores_a_tenth_of_outliers() -> None:
    real = picture(2)
    shown = np.asarray(0.5 * real + 0.1, np.float32)
    shown[:8] = 1.0
    assert np.abs(robust_gain(shown, real)[20:] - real[20:]).mean() < 0.01


def test_ssim_falls_with_noise_and_a_flat_picture_has_no_correlation() -> None:
    real = picture(3)
    rng = np.random.default_rng(0)
    values = [
        ssim(np.asarray(real + s * rng.standard_normal(real.shape), np.float32), real)
        for s in (0.01, 0.05, 0.2)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.9 > 0.5 > values[2]
    assert likeness(np.full_like(real, 0.5), real).pearson == 0.0


def test_an_interval_contains_the_mean_and_narrows_with_more_pairs() -> None:
    rng = np.random.default_rng(1)
    few, many = (bootstrap_mean(list(rng.normal(0.5, 0.1, count))) for count in (10, 400))
    assert few.low < few.mean < few.high
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.15)


def test_a_folder_without_fitting_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="no pair"):
        check_scenes(tmp_path, TrainNir())
    write_pair(tmp_path, "0007", 2, 0)
    cv2.imwrite(str(tmp_path / "0007_nir.jpg"), np.zeros((5, 5), np.uint8))
    with pytest.raises(DataSetError, match="0007 differs in size"):
        check_scenes(tmp_path, TrainNir())
    (tmp_path / "0007_nir.jpg").unlink()
    with pytest.raises(DataSetError, match=r"0007_nir\.jpg is missing"):
        check_scenes(tmp_path, TrainNir())


def test_a_generator_that_needs_a_face_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "0000", 2, 0)
    with pytest.raises(ValueError, match="mesh"):
        check_scenes(tmp_path, RelitNir(ellipsoid_mesh()[1]))


def test_the_command_prints_every_candidate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(tmp_path, "0000", 2, 0)
    write_pair(tmp_path, "0001", 2, 1)
    scenes(tmp_path)
    printed = capsys.readouterr().out
    for name in ("train-nir-1", "luminance", "red channel", "relit"):
        assert name in printed
    assert "2 registered scene pairs" in printed


@pytest.mark.realdata
def test_on_real_pairs_the_transform_is_no_worse_than_grey(shared: Path, tmp_path: Path) -> None:
    place = shared / "data" / "rgb_nir_scenes"
    for name in sorted(place.glob("*_rgb.jpg"))[::8]:
        for kind in ("rgb", "nir"):
            source = place / f"{name.name.removesuffix('_rgb.jpg')}_{kind}.jpg"
            (tmp_path / source.name).write_bytes(source.read_bytes())
    report = check_scenes(tmp_path, TrainNir())
    ours, grey = report.candidates[0], report.candidate("luminance")
    assert ours.mean("gradient").mean > 0.3
    assert ours.gain_over(grey, "pearson").high > 0
