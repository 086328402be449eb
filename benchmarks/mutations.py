"""Sends mutated photos through the decoding workers, and mutated archives through the unpacker.

`python -m benchmarks.mutations --photos 10000 --archives 2000 --seed 1` prints how each kind ended, the
longest wait, and the memory. It exits with 1 for an end that is neither a picture nor a clear refusal.
"""

from __future__ import annotations

import argparse
import asyncio
import bz2
import gzip
import io
import logging
import lzma
import random
import resource
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import structlog

from faces.formats import ImageError
from service.inference.decoding import Decoder
from service.retraining.archive import ArchiveError, ArchiveLimits
from service.retraining.unpack import unpack
from service.settings import Settings
from service.telemetry import Metrics

SAMPLE = Path(__file__).resolve().parent.parent / "service" / "samples" / "s01"
AT_ONCE, CANVASES = 4, (320, 640)
INTERESTING = (0, 1, 2, 127, 128, 255)


def photos() -> dict[str, bytes]:
    """One small photo of each format and kind."""
    path = next(
        path for path in sorted(SAMPLE.iterdir()) if path.suffix in (".jpg", ".jpeg", ".webp", ".png")
    )
    with PIL.Image.open(path) as opened:
        picture = opened.convert("RGB").resize((160, 160))
    found: dict[str, bytes] = {}

    def save(name: str, kind: str, image: PIL.Image.Image = picture, **options: object) -> None:
        packed = io.BytesIO()
        image.save(packed, kind, **options)
        found[name] = packed.getvalue()

    exif = picture.getexif()
    exif[0x0112] = 6
    save("JPEG", "JPEG", exif=exif)
    save("progressive JPEG", "JPEG", progressive=True)
    save("CMYK JPEG", "JPEG", picture.convert("CMYK"))
    save("PNG", "PNG")
    save("palette PNG", "PNG", picture.convert("P"))
    save("BMP", "BMP")
    save("WebP", "WEBP")
    save("lossless WebP", "WEBP", lossless=True)
    save("TIFF", "TIFF")
    save("deflated TIFF", "TIFF", compression="tiff_deflate")
    save("AVIF", "AVIF")
    wide = np.asarray(picture.convert("L"), np.uint16) * 16
    found["16-bit PNG"] = cv2.imencode(".png", wide)[1].tobytes()
    return found


def archives() -> dict[str, bytes]:
    files = {f"s{n}/{kind}/{n}.jpg": bytes(range(256)) * (4 + n) for n in range(4) for kind in ("vis", "nir")}
    packed, plain = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    whole = plain.getvalue()
    return {
        "zip": packed.getvalue(),
        "tar": whole,
        "tar.gz": gzip.compress(whole),
        "tar.bz2": bz2.compress(whole),
        "tar.xz": lzma.compress(whole),
    }


def mutated(rng: random.Random, data: bytes) -> bytes:
    """One to eight changes: bits, bytes, lengths, pieces that are cut, doubled or moved, an early end."""
    out = bytearray(data)
    # Headers decide most: half of the changes fall into the first bytes.
    for _ in range(rng.randint(1, 8)):
        reach = min(len(out), rng.choice((64, 512, len(out))))
        at = rng.randrange(max(1, reach))
        match rng.randrange(7):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.choice(INTERESTING)
            case 2:
                out[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", rng.randbytes(4))
                )
            case 3:
                del out[at : at + rng.randint(1, 64)]
            case 4:
                piece = out[at : at + rng.randint(1, 256)]
                out[at:at] = piece * rng.randint(1, 16)
            case 5:
                out[at : at + 16] = rng.randbytes(16)
            case _:
                out = out[: max(16, rng.randrange(len(out) + 1))]
        if not out:
            out = bytearray(data[:1])
    return bytes(out)


def peak_mib(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def _grow_mib(host: int) -> float:
    """The largest resident set of the workers now, in MiB."""
    sizes = [0.0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if fields["PPid"].strip() == str(host) and "VmHWM" in fields:
            sizes.append(int(fields["VmHWM"].split()[0]) / 1024)
    return max(sizes)


async def send_photos(count: int, seed: int) -> bool:
    rng, ends, slowest, largest = random.Random(seed), Counter[str](), 0.0, 0.0  # noqa: S311
    metrics = Metrics()
    decoder = Decoder(Settings(decode_wait_s=120, decode_wall_s=120), metrics)
    decoder.start()
    originals = photos()
    queue = [(name, mutated(rng, originals[name])) for name in rng.choices(sorted(originals), k=count)]
    bad: list[str] = []
    # The workers start once; that is no photo's time.
    await decoder.decode(originals["JPEG"], None, CANVASES)

    async def sender() -> None:
        nonlocal slowest, largest
        while queue:
            name, data = queue.pop()
            began = time.monotonic()
            try:
                photo = await decoder.decode(data, None, CANVASES)
                assert photo.image.pixels.size > 0
                ends["decoded"] += 1
                del photo
            except ImageError as error:
                ends[type(error).__name__] += 1
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                ends[f"!! {type(error).__name__}"] += 1
                bad.append(name)
            slowest = max(slowest, time.monotonic() - began)
            if len(queue) % 100 == 0 and decoder._host._process is not None:
                largest = max(largest, _grow_mib(decoder._host._process.pid))

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    in_work = decoder._budget.in_work
    await decoder.close()
    kills = {
        sample.labels["reason"]: int(sample.value)
        for family in metrics.decode_kills.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    print(f"{count} mutated photos, seed {seed}: {dict(ends)}")
    print(f"  workers ended amid a photo: {kills or 'none'}; slowest {slowest:.2f} s;")
    print(
        f"  largest worker {largest:.0f} MiB, this process {peak_mib(resource.RUSAGE_SELF):.0f} MiB;"
        f" pixels left in work {in_work}"
    )
    return not bad and in_work == 0


def unpack_archives(count: int, seed: int) -> bool:
    rng, ends, slowest, most = random.Random(seed), Counter[str](), 0.0, 0  # noqa: S311
    originals, good = archives(), True
    wanted: Callable[[str], bool] = lambda name: name.endswith(".jpg")  # noqa: E731
    limits = ArchiveLimits(files=100, file_bytes=1 << 20, bytes=16 << 20, reserve_bytes=0)
    before = peak_mib(resource.RUSAGE_SELF)
    for name in rng.choices(sorted(originals), k=count):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "archive").write_bytes(mutated(rng, originals[name]))
            (place / "target").mkdir()
            began = time.monotonic()
            try:
                most = max(most, unpack(place / "archive", place / "target", limits, wanted=wanted).bytes)
                ends["unpacked"] += 1
            except ArchiveError:
                ends["refused"] += 1
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                ends[f"!! {name} {type(error).__name__}: {str(error)[:60]}"] += 1
                good = False
            slowest = max(slowest, time.monotonic() - began)
            good = good and {path.name for path in place.iterdir()} == {"archive", "target"}
    print(f"{count} mutated archives, seed {seed}: {dict(ends)}")
    print(
        f"  slowest {slowest:.2f} s; memory + {peak_mib(resource.RUSAGE_SELF) - before:.0f} MiB;"
        f" most bytes {most}"
    )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--archives", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    good = unpack_archives(args.archives, args.seed)
    good = asyncio.run(send_photos(args.photos, args.seed)) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
