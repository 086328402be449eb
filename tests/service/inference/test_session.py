"""Tests that the requested provider runs or raises an error, without a silent fallback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from faces.bundle import read
from service.inference.session import OnnxSession, ProviderError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# In a process of its own: what others have taken and given back would hide what a session takes.
GROWTH = """
import sys
import numpy as np
from pathlib import Path
from service.inference.session import OnnxSession

def resident_mib():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

session = OnnxSession(Path(sys.argv[1]), providers=["CPUExecutionProvider"], intra_op_threads=1)
batch = lambda rows: session.run(np.full((rows, *session.inputs[0][1:]), 0.1, np.float32))
empty = resident_mib()
batch(8)
largest = resident_mib()
for rows in (8, 5, 8, 7, 5, 3, 7, 8):
    batch(rows)
print(largest - empty, resident_mib() - largest)
"""
without_cuda = pytest.mark.skipif(
    CUDA in ort.get_available_providers(), reason="this ONNX Runtime may well load CUDA"
)


@pytest.fixture(scope="module")
def network(bundle_dir: Path) -> Path:
    """The detector, a small real network with several outputs."""
    bundle = read(bundle_dir)
    return bundle.path(bundle.manifest.detector.file)


@without_cuda
def test_a_provider_that_cannot_load_is_an_error_with_a_remedy(network: Path) -> None:
    with pytest.raises(ProviderError, match=CUDA) as refused:
        OnnxSession(network, providers=[CUDA])
    assert "HALFLIGHT_PROVIDERS" in str(refused.value)
    assert str(network.parent) not in str(refused.value)


@without_cuda
def test_listing_the_cpu_after_a_provider_does_not_allow_the_fallback(network: Path) -> None:
    with pytest.raises(ProviderError, match=CUDA):
        OnnxSession(network, providers=[CUDA, CPU])


@without_cuda
@pytest.mark.parametrize("providers", [[CUDA], [CUDA, CPU]])
def test_an_allowed_fallback_runs_on_the_cpu_and_reports_it(network: Path, providers: list[str]) -> None:
    session = OnnxSession(network, providers=providers, allow_fallback=True)
    assert session.provider == CPU
    assert session.run(np.zeros((1, 3, 320, 320), np.float32))


@pytest.mark.parametrize("allow_fallback", [False, True])
def test_a_misspelt_provider_is_refused_or_visibly_replaced(network: Path, allow_fallback: bool) -> None:
    if allow_fallback:
        assert OnnxSession(network, providers=["CPU"], allow_fallback=True).provider == CPU
        return
    with pytest.raises(ProviderError, match="CPU is not part of") as refused:
        OnnxSession(network, providers=["CPU"])
    assert CPU in str(refused.value), "the providers there are stand in the message"


@pytest.mark.parametrize("allow_fallback", [False, True])
def test_an_empty_list_of_providers_is_an_error(network: Path, allow_fallback: bool) -> None:
    with pytest.raises(ProviderError, match="no execution provider"):
        OnnxSession(network, providers=[], allow_fallback=allow_fallback)


def test_the_requested_provider_runs_and_every_output_is_named(network: Path) -> None:
    session = OnnxSession(network, providers=[CPU], intra_op_threads=1)
    assert session.provider == CPU
    outputs = session.run(np.zeros((2, 3, 320, 320), np.float32))
    assert {f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)} <= set(
        outputs
    )
    assert {len(values) for values in outputs.values()} == {2}


def test_a_damaged_network_does_not_load(network: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(network.read_bytes()[:5000])
    with pytest.raises(Exception, match=r"(?i)protobuf"):
        OnnxSession(damaged, providers=[CPU])


def test_memory_stops_growing_with_the_first_of_the_largest_batches(bundle_dir: Path) -> None:
    bundle = read(bundle_dir)
    network = bundle.path(bundle.manifest.encoder.reference)
    command = [sys.executable, "-c", GROWTH, str(network)]
    taken, after = map(float, subprocess.check_output(command, text=True).split())
    # With memory patterns it took as much again.
    assert after < taken / 4
