"""Throughput of POST /identify beside the bare pipeline (decode, detect, align, embed, mask, search).

    python -m benchmarks.identify [--photos LFW_TAR] [--requests 200] [--clients 4] [--rounds 3]

Both run on the same photos, in turn, round by round, on the same machine: read the ratio, the
absolute figures are the machine's. The bare pipeline calls the same networks with the same thread
settings, in one process without HTTP, queue, batcher or database; it is the floor. It tries the other
turns of a face that is not clearly upright, and looks at nothing again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.threads import share_out
from faces import bundle
from faces.align import align
from faces.image import DecodeLimits, decode
from faces.orientation import is_clearly_upright
from faces.preprocess import encoder_input, mask_input
from faces.types import TURNS, Role
from service.gallery.exact import ExactGallery
from service.inference.encoder import MaskClassifier
from service.inference.engine import Engine, EngineOptions
from service.settings import Settings

SAMPLES = Path(__file__).resolve().parent.parent / "service" / "samples"
GALLERY_IDS = 1000


def photos(tar: Path | None, count: int) -> list[bytes]:
    """Reads probe photos from an LFW tar, or else the committed samples."""
    if tar is None:
        return [path.read_bytes() for path in sorted(SAMPLES.glob("*/*.jpg"))][:count]
    with tarfile.open(tar) as archive:
        members = [m for m in archive if m.name.endswith("_0001.webp")][: count * 5 : 5]
        return [data.read() for m in members if (data := archive.extractfile(m))]


class BarePipeline:
    """The pipeline as plain function calls, one photo at a time."""

    def __init__(self, settings: Settings) -> None:
        self.engine = Engine.load(bundle.read(settings.bundle_dir), EngineOptions.of(settings))
        self.limits = DecodeLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
        dimension = self.engine.manifest.encoder.dimension
        rows = np.random.default_rng(0).standard_normal((GALLERY_IDS, dimension), np.float32)
        self.gallery = ExactGallery(dimension)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self.gallery.add(np.arange(1, GALLERY_IDS + 1), rows)

    def identify(self, data: bytes) -> None:
        manifest = self.engine.manifest
        image = decode(data, limits=self.limits)
        detector = self.engine.detector
        canvas = detector.prepare(image)
        faces = detector.run([canvas])[0].faces
        if not faces:
            return
        if not is_clearly_upright(faces[0]):
            detector.run([detector.turned(canvas, turn) for turn in TURNS[1:]])
        crop = align(image, faces[0], manifest.encoder.alignment)
        (vector,) = self.engine.encoder.run([(Role.PROBE, encoder_input(crop, manifest.encoder))])
        if isinstance(self.engine.mask, MaskClassifier) and isinstance(manifest.mask, bundle.MaskSpec):
            self.engine.mask.run([mask_input(image, faces[0].box, manifest.mask)])
        self.gallery.search(vector[None, :], 20)


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """Calls a second of some callers, and the seconds of each call, float64 [n]."""

    rate: float
    seconds: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round: bare pipeline and service, for one caller and for several."""

    bare_alone: Load
    served_alone: Load
    bare_busy: Load
    served_busy: Load


def run_clients(call: Callable[[bytes], None], data: Sequence[bytes], requests: int, clients: int) -> Load:
    """Makes `requests` calls from `clients` threads, with the photos in turn."""
    seconds = np.zeros(requests)

    def one(i: int) -> None:
        started = time.perf_counter()
        call(data[i % len(data)])
        seconds[i] = time.perf_counter() - started

    started = time.perf_counter()
    share_out(requests, one, clients)
    return Load(requests / (time.perf_counter() - started), seconds)


class Served:
    """A real service on loopback, one keep-alive connection for each client thread.

    `env`: further settings. No caller is limited: on a fast machine one key would ask too often.
    """

    def __init__(self, data: Path, **env: str) -> None:
        command = [sys.executable, "-m", "service.cli.main", "serve", "--port", "0"]
        env = {**os.environ, "HALFLIGHT_LOG_LEVEL": "warning", "HALFLIGHT_RATE_LIMIT_PER_S": "0", **env}
        self.process = subprocess.Popen(
            [*command, "--data", str(data)], stdout=subprocess.PIPE, text=True, env=env
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "http://" not in line:
            raise SystemExit("the service did not start")
        self.address = line.split("http://")[1].split()[0]
        self._local = threading.local()

    def post(self, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            try:
                return self._send(connection, path, body, kind)
            except ConnectionError:
                # The service has closed a connection that was idle for long.
                connection.close()
        connection = self._local.connection = http.client.HTTPConnection(self.address)
        return self._send(connection, path, body, kind)

    @staticmethod
    def _send(connection: http.client.HTTPConnection, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        connection.request("POST", path, body, {"content-type": kind})
        response = connection.getresponse()
        return response.status, response.read()

    def identified(self, data: bytes) -> bool:
        """Whether the service took the photo, and did not refuse it because it has too much to do."""
        status, body = self._identify(data)
        if status not in (200, 422, 503):
            raise SystemExit(f"identify answered {status}: {json.loads(body)['code']}")
        return status != 503

    def _identify(self, data: bytes) -> tuple[int, bytes]:
        return self.post("/identify", data, "image/webp" if data[:4] == b"RIFF" else "image/jpeg")

    def identify(self, data: bytes) -> None:
        status, body = self._identify(data)
        if status not in (200, 422):
            raise SystemExit(f"identify answered {status}: {json.loads(body)['code']}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="lfw.tar; default: the committed samples")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    settings = Settings()
    data = photos(args.photos, 100)
    bare = BarePipeline(settings)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {bare.engine.provider},", end=" ")
    print(f"{len(data)} photos, {args.requests} requests a round")
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder) / "data")
        try:
            for call in (bare.identify, served.identify):
                run_clients(call, data, 20, 2)
            rounds = [play(bare, served, data, args.requests, args.clients) for _ in range(args.rounds)]
        finally:
            served.stop()
    report(rounds, args.clients)


def play(bare: BarePipeline, served: Served, data: Sequence[bytes], requests: int, clients: int) -> Round:
    """BarePipeline and served in turn, so that a machine that slows down slows both."""
    return Round(
        run_clients(bare.identify, data, requests, 1),
        run_clients(served.identify, data, requests, 1),
        run_clients(bare.identify, data, requests, clients),
        run_clients(served.identify, data, requests, clients),
    )


def report(rounds: Sequence[Round], clients: int) -> None:
    """Prints medians over the rounds, and the ratio of service to bare pipeline."""
    pairs = {
        "1 caller": [(one.bare_alone, one.served_alone) for one in rounds],
        f"{clients} callers": [(one.bare_busy, one.served_busy) for one in rounds],
    }
    print(f"{'photos a second':16}{'bare':>10}{'service':>10}{'ratio':>8}{'p50 ms':>10}{'p99 ms':>10}")
    for name, taken in pairs.items():
        bare = statistics.median(load.rate for load, _ in taken)
        served = statistics.median(load.rate for _, load in taken)
        ratio = statistics.median(b.rate / a.rate for a, b in taken)
        ms = np.concatenate([load.seconds for _, load in taken]) * 1000
        p50, p99 = np.percentile(ms, [50, 99])
        print(f"{name:16}{bare:10.1f}{served:10.1f}{ratio:8.2f}{p50:10.1f}{p99:10.1f}")


if __name__ == "__main__":
    main()
