"""Attacks a running service as a hostile caller would, and prints what others notice.

`python -m benchmarks.hostile` starts services of its own on loopback. "Worst wait" is the longest answer
time of `/health/live` meanwhile: the event loop was blocked for no longer. Beats are what the service
measured of its event loop itself: late ones have any cause, other processes too; its own computing has only
one. "Growth" is what the service's process gained at its peak; the decoding workers are counted apart. On a
busy machine waits and growth are upper bounds.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np

from benchmarks.threads import AtWork

MIB = 1 << 20
SAMPLES = Path(__file__).resolve().parent.parent / "service" / "samples"


def flat_png(side: int) -> bytes:
    row = b"\0" + b"\x40" * (side * 3)
    packing = zlib.compressobj(9)
    data = b"".join(packing.compress(row) for _ in range(side)) + packing.flush()
    parts = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def many_scans(side: int, size: int) -> bytes:
    """A progressive JPEG of so many bytes that repeats its last scan."""
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    whole = cv2.imencode(".jpg", np.full((side, side, 3), 90, np.uint8), flags)[1].tobytes()
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + scan * max(1, (size - len(whole)) // len(scan)) + whole[-2:]


class Served:
    """A service in a process of its own, with one administrator's key."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "service.cli.main"]
        made = [*command, "keys", "create", "--role", "admin", "--data", str(data)]
        self.key = subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        serve = [*command, "serve", "--port", str(self.port), "--data", str(data)]
        env = os.environ | {"HALFLIGHT_RATE_LIMIT_PER_S": "0", "HALFLIGHT_LOG_LEVEL": "error"}
        self.process = subprocess.Popen(serve, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        if b"ready" not in self.process.stdout.readline():
            raise SystemExit("the service did not start")

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
            return connection.getresponse().status
        finally:
            connection.close()

    def with_key(self, path: str, body: bytes, kind: str) -> int:
        return self.ask("POST", path, body, content_type=kind, authorization=f"Bearer {self.key}")

    def resident_mib(self) -> tuple[float, float]:
        """Of the service, and of the processes that decode for it."""
        of: dict[int, tuple[int, float]] = {}
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            except (OSError, ValueError):
                continue
            if "VmRSS" in fields:
                of[int(fields["Pid"])] = (int(fields["PPid"]), int(fields["VmRSS"].split()[0]) / 1024)
        mine = self.process.pid
        below = {pid for pid, (parent, _) in of.items() if parent == mine}
        below |= {pid for pid, (parent, _) in of.items() if parent in below}
        return of[mine][1], sum(of[pid][1] for pid in below)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Beats:
    """What the service saw of its own event loop: beats (20 ms apart), those that came later than 50 ms, and
    those between which the loop itself computed for longer than 50 ms."""

    all: int
    late: int
    busy: int

    @classmethod
    def of(cls, served: Served) -> Beats:
        answer = httpx.get(f"http://127.0.0.1:{served.port}/metrics", timeout=300)
        found = dict(
            line.rsplit(" ", 1) for line in answer.text.splitlines() if line.startswith("halflight_event")
        )
        count = {key: int(float(value)) for key, value in found.items()}
        lag, busy = "halflight_event_loop_lag_seconds", "halflight_event_loop_busy_seconds"
        beats = count[f"{lag}_count"]
        return cls(
            beats, beats - count[f'{lag}_bucket{{le="0.05"}}'], beats - count[f'{busy}_bucket{{le="0.05"}}']
        )

    def since(self, before: Beats) -> Beats:
        return Beats(self.all - before.all, self.late - before.late, self.busy - before.busy)

    def __str__(self) -> str:
        return f"of {self.all} beats {self.late} late by 50 ms, {self.busy} of 50 ms of its own computing"


class Watch(AtWork):
    """Samples answer times of `/health/live`, memory and the event loop while a context is open."""

    def __init__(self, served: Served) -> None:
        super().__init__([self._wait, self._weigh])
        self._served = served
        self.waits_s: list[float] = []
        self.before = self.peak = served.resident_mib()
        self.beats = Beats.of(served)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.beats = Beats.of(self._served).since(self.beats)

    def _wait(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._served.port, timeout=300)
        while not self.over.is_set():
            began = time.monotonic()
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            self.waits_s.append(time.monotonic() - began)
            time.sleep(0.01)
        connection.close()

    def _weigh(self) -> None:
        while not self.over.is_set():
            now = self._served.resident_mib()
            self.peak = (max(self.peak[0], now[0]), max(self.peak[1], now[1]))
            time.sleep(0.05)

    def __str__(self) -> str:
        return (
            f"worst wait {max(self.waits_s, default=0.0):.3f} s, {self.beats},"
            f" growth {self.peak[0] - self.before[0]:.0f} MiB,"
            f" workers + {self.peak[1] - self.before[1]:.0f} MiB"
        )


def stream(served: Served, head: str, block: bytes, count: int) -> str:
    """Sends a head and blocks until the service has had enough; returns the status it gave."""
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as caller:
        try:
            caller.sendall(head.encode())
            for _ in range(count):
                caller.sendall(block)
                sent += len(block)
            answer = caller.recv(64)
        except OSError:
            try:
                answer = caller.recv(64)
            except OSError:
                answer = b""
    return f"{answer[9:12].decode() or 'closed'} after {sent / MIB:.0f} MiB"


def without_key(served: Served) -> None:
    line = f"POST /enroll HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\n"
    json_body = f"{line}content-type: application/json\r\ncontent-length: {60 * MIB}\r\n\r\n"
    form = f"{line}content-type: multipart/form-data; boundary=x\r\ncontent-length: {60 * MIB}\r\n\r\n"
    header = b"x-a: " + b"a" * 1000 + b"\r\n"
    for name, head, block, count in (
        ("nothing", "", b"", 0),
        ("a JSON body of 60 MiB", json_body, b"[" * MIB, 60),
        ("a form of 60 MiB", form, b"--x\r\n" * (MIB // 5), 60),
        ("150 MiB of headers", line, header * 1000, 150),
    ):
        with Watch(served) as watch:
            answer = stream(served, head, block, count) if count else ""
            time.sleep(1.0)
        print(f"without a key, {name}: {answer} {watch}", flush=True)


def identify_times(served: Served, requests: int) -> list[float]:
    photo, taken = min((SAMPLES / "s01").iterdir()), list[float]()
    data = photo.read_bytes()
    for _ in range(requests):
        began = time.monotonic()
        status = served.with_key("/identify", data, "image/jpeg")
        assert status == 200, status
        taken.append(time.monotonic() - began)
    return taken


@contextmanager
def slow_clients(served: Served, count: int) -> Iterator[None]:
    """Clients with a valid key that send a byte of a photo now and then."""
    head = (
        f"POST /identify HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\nauthorization: Bearer {served.key}\r\n"
        "content-type: image/jpeg\r\ncontent-length: 100000\r\n\r\n"
    )
    going, opened = True, list[socket.socket]()

    def drip() -> None:
        while going:
            for number, caller in enumerate(opened):
                try:
                    caller.send(b"x")
                except OSError:
                    opened[number] = renew()
            time.sleep(0.5)

    def renew() -> socket.socket:
        caller = socket.create_connection(("127.0.0.1", served.port), timeout=60)
        caller.sendall(head.encode())
        return caller

    opened.extend(renew() for _ in range(count))
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        going = False
        thread.join()
        for caller in opened:
            caller.close()


def slow(served: Served, requests: int, rounds: int) -> None:
    identify_times(served, 5)
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        alone += identify_times(served, requests)
        with slow_clients(served, 200):
            beside += identify_times(served, requests)
    for percent in (50, 99):
        one, other = (float(np.percentile(taken, percent)) for taken in (alone, beside))
        print(
            f"identify p{percent}: {one * 1e3:.0f} ms alone, {other * 1e3:.0f} ms beside 200 slow clients,"
            f" ratio {other / one:.2f} ({len(alone)} requests each, in turn)",
            flush=True,
        )


def at_once(served: Served, name: str, calls: Sequence[Callable[[], int]]) -> None:
    began = time.monotonic()
    with Watch(served) as watch, ThreadPoolExecutor(len(calls)) as pool:
        statuses = Counter(pool.map(lambda call: call(), calls))
    print(f"{name}: {dict(statuses)} in {time.monotonic() - began:.1f} s, {watch}", flush=True)


def costly(served: Served) -> None:
    scans, png = many_scans(1024, 386 << 10), flat_png(7071)
    boundary = "b" * 20
    lines = [f'--{boundary}\r\ncontent-disposition: form-data; name="subject_id"\r\n\r\nlarge\r\n'.encode()]
    part = f'--{boundary}\r\ncontent-disposition: form-data; name="images"; filename="a"\r\n\r\n'.encode()
    form = b"".join([*lines, *([part + png + b"\r\n"] * 16), f"--{boundary}--\r\n".encode()])
    kind = f"multipart/form-data; boundary={boundary}"
    jpegs = [lambda: served.with_key("/detect", scans, "image/jpeg")] * 8
    at_once(
        served,
        f"8 progressive JPEGs of {scans.count(bytes((255, 218)))} scans ({len(scans) >> 10} KiB)",
        jpegs,
    )
    pngs = [lambda: served.with_key("/detect", png, "image/png")] * 16
    at_once(served, f"16 PNGs of 50 megapixels ({len(png) >> 10} KiB each)", pngs)
    at_once(served, "one enrolment of 16 such PNGs", [lambda: served.with_key("/enroll", form, kind)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder) / "data")
        try:
            without_key(served)
            costly(served)
            slow(served, args.requests, args.rounds)
        finally:
            served.stop()


if __name__ == "__main__":
    main()
