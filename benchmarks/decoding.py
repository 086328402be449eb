"""Computing per photo: decoded by the service's workers, and by threads of one process, in turn.

`python -m benchmarks.decoding` prints milliseconds of CPU a photo, which a busy machine changes less than
times of answers, then the memory of the decoding processes.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from faces.detect import letterbox
from faces.image import DecodeLimits, decode
from service.inference.decoding import WORK_PIXELS, Decoder
from service.settings import Settings
from service.telemetry import Metrics

SAMPLE = Path(__file__).resolve().parent.parent / "service" / "samples" / "s01" / "vis_1.jpg"
SIDES_PX, CANVASES = (320, 1000, 3464), (320, 640)
LIMITS = DecodeLimits(max_bytes=1 << 30, max_pixels=1 << 30, work_pixels=WORK_PIXELS)


def cpu_ms(pid: int) -> float:
    """Computing of every thread of a process so far (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident, and of that what is shared with nobody."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    private = sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))
    return int(fields["Rss"].split()[0]) / 1024, private / 1024


def here(data: bytes) -> float:
    image = decode(data, limits=LIMITS)
    canvas, _ = letterbox(image, canvas_px=CANVASES)
    return float(image.pixels[0, 0, 0]) + float(canvas[0, 0, 0])


async def measure(rounds: int, photos: int) -> None:
    cv2.setNumThreads(1)
    decoder, loop = (
        Decoder(Settings(decode_wait_s=300, decode_wall_s=300), Metrics()),
        asyncio.get_running_loop(),
    )
    decoder.start()
    with PIL.Image.open(SAMPLE) as opened, ThreadPoolExecutor(2) as threads:
        for side in SIDES_PX:
            packed = io.BytesIO()
            opened.convert("RGB").resize((side, side)).save(packed, "JPEG", quality=90)
            data, mine, ratios = packed.getvalue(), os.getpid(), list[tuple[float, float]]()
            for _ in range(2):
                await decoder.decode(data, None, CANVASES)
            for _ in range(rounds):
                workers = [worker.pid for worker in decoder._host._open]
                before = cpu_ms(mine) + sum(map(cpu_ms, workers))
                for _ in range(photos):
                    photo = await decoder.decode(data, None, CANVASES)
                    assert photo.image.pixels[0, 0, 0] >= 0
                    del photo
                between = cpu_ms(mine) + sum(map(cpu_ms, workers))
                own = cpu_ms(mine)
                for _ in range(photos):
                    await loop.run_in_executor(threads, here, data)
                ratios.append(((between - before) / photos, (cpu_ms(mine) - own) / photos))
            pool, plain = (float(np.median(values)) for values in zip(*ratios, strict=True))
            ratio = float(np.median([one / other for one, other in ratios]))
            print(
                f"{side} x {side} JPEG: workers {pool:.2f} ms, threads {plain:.2f} ms of CPU a photo,"
                f" ratio {ratio:.2f}"
            )
    host = decoder._host._process
    assert host is not None
    resident, private = memory_mib(host.pid)
    print(f"process that forks: {resident:.0f} MiB resident, {private:.0f} private")
    for worker in decoder._host._open:
        resident, private = memory_mib(worker.pid)
        print(f"worker: {resident:.0f} MiB resident, {private:.0f} private")
    await decoder.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=20)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}")
    asyncio.run(measure(args.rounds, args.photos))


if __name__ == "__main__":
    main()
