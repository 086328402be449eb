"""Small (and full) trees laid out as the real data sets are, with what goes wrong in real copies."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.data.buaa import PER_SPECTRUM
from training.data.casia import GALLERY_IMAGES, PROBES, TRAIN_SUBJECTS
from training.data.oulu import EXPRESSIONS, LIGHTS

BOM = b"\xef\xbb\xbf"


def touch(path: Path, data: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_list(path: Path, lines: Iterable[str], *, end: str = "\r\n", bom: bool = False) -> None:
    text = "".join(line + end for line in lines)
    touch(path, (BOM if bom else b"") + text.encode())


@dataclass(frozen=True)
class CasiaSubject:
    """One subject's pictures, as protocol lines."""

    number: str
    session: int
    nir: tuple[str, ...]
    vis: tuple[str, ...]


def casia_subjects(count: int, rng: random.Random, *, mean_nir: int) -> list[CasiaSubject]:
    subjects = []
    for i in range(1, count + 1):
        number, session = f"{i:05d}", rng.randint(1, 4)
        nir = range(1, rng.randint(mean_nir - 5, mean_nir + 7))
        subjects.append(
            CasiaSubject(
                number,
                session,
                tuple(f"s{session}\\NIR\\{number}\\{n:03d}.bmp" for n in nir),
                tuple(f"s{session}\\VIS\\{number}\\{n:03d}.jpg" for n in range(1, rng.randint(2, 5))),
            )
        )
    return subjects


def casia_tree(root: Path, *, full: bool = False, flat: bool = False) -> list[CasiaSubject]:
    """View 1 and the ten folds of view 2; `full` has the official counts, else 6 + 4 subjects.

    Quirks: backslashes, CRLF in odd folds, a byte order mark in fold 2, blank lines, some lists
    with `.txt`, every seventh picture with another ending than the lists say, one in capitals.
    """
    rng = random.Random(5)
    subjects = casia_subjects(TRAIN_SUBJECTS + GALLERY_IMAGES if full else 10, rng, mean_nir=18)
    trained = TRAIN_SUBJECTS if full else 6
    made = 0
    for subject in subjects:
        for line in (*subject.nir, *subject.vis):
            made += 1
            _casia_picture(root, line, made, flat=flat)
    for k in range(11):
        order = rng.sample(subjects, len(subjects))
        train, test = order[:trained], order[trained:]
        probes = [line for subject in test for line in subject.nir]
        if full and k:
            probes = _topped_up(probes, PROBES[k - 1])
        suffix = str(k) if k else "dev"
        lists = {
            f"nir_train_{suffix}": [line for s in train for line in s.nir],
            f"vis_train_{suffix}": [line for s in train for line in s.vis],
            f"vis_gallery_{suffix}": [s.vis[0] for s in test],
            f"nir_probe_{suffix}": [*probes[:1], "", *probes[1:], "  "],
        }
        for i, (name, lines) in enumerate(lists.items()):
            ending = ".txt" if (i + k) % 2 else ""
            write_list(root / "protocols" / (name + ending), lines, end="\r\n" if k % 2 else "\n", bom=k == 2)
    return subjects


def _topped_up(probes: list[str], count: int) -> list[str]:
    if len(probes) < count:
        raise AssertionError(f"the tree makes {len(probes)} probes, {count} are needed: raise mean_nir")
    return probes[:count]


def _casia_picture(root: Path, line: str, number: int, *, flat: bool) -> None:
    parts = line.split("\\")
    if number % 7 == 0:
        stem, _, ending = parts[-1].rpartition(".")
        parts[-1] = stem + {"bmp": ".jpg", "jpg": ".bmp"}[ending]
    if number % 11 == 0:
        parts[-1] = parts[-1].upper()
    if flat:
        touch(root / parts[1] / "_".join(parts))
    else:
        touch(root.joinpath(*parts))


def oulu_tree(root: Path, *, subjects: int = 80, frames: int = 9, flat: bool = False) -> None:
    """Strong light in full; of the other lights one picture, to see that it stays out."""
    for code in ("NI", "VL"):
        for i in range(1, subjects + 1):
            for expression in EXPRESSIONS:
                for n in range(frames):
                    oulu_picture(root, code, LIGHTS[0], i, expression, n, flat=flat)
        for light in LIGHTS[1:]:
            oulu_picture(root, code, light, 1, "Anger", 0, flat=flat)


def oulu_picture(
    root: Path, code: str, light: str, subject: int, expression: str, n: int, *, flat: bool
) -> Path:
    name = f"P{subject:03d}"
    if flat:
        return touch(root / f"{code}_{light}_{name}_{expression}_{n:03d}.jpeg")
    return touch(root / "B_OriginalImg" / code / light / name / expression / f"{n:03d}.jpeg")


def buaa_tree(root: Path, *, subjects: int = 150) -> None:
    """Numbers 1 to 18; a list of thumbnails that Windows left behind; some names in capitals."""
    for i in range(1, subjects + 1):
        for n in range(1, 2 * PER_SPECTRUM + 1):
            touch(root / str(i) / (f"{n}.BMP" if i % 10 == 0 else f"{n}.bmp"))
        touch(root / str(i) / "Thumbs.db")


def lamphq_tree(root: Path, *, folds: int = 2, protocols: str = "Protocol", header: bool = True) -> None:
    """Six subjects, four trained on; every list begins with a header line."""
    for k in range(1, folds + 1):
        ids = [(i + k) % 6 for i in range(6)]
        train, test = ids[:4], ids[4:]
        for folder, stem, spectrum, who, count in (
            ("train", "train_vis", "VIS", train, 2),
            ("train", "train_nir", "NIR", train, 3),
            ("test", "gallery_vis", "VIS", test, 1),
            ("test", "probe_nir", "NIR", test, 3),
        ):
            lines = ["path label"] if header else []
            for i in who:
                for n in range(count):
                    name = f"{spectrum}\\{i:03d}\\a photo_{n}.jpg"
                    lines.append(f"{name} {i}")
                    touch(root / name.replace("\\", "/").replace(".jpg", ".JPG" if n else ".png"))
            write_list(root / protocols / folder / f"{stem}{k}.txt", lines, bom=k == 1)


def generic_tree(root: Path, *, subjects: int = 6) -> None:
    for i in range(subjects):
        for n in range(3):
            touch(root / f"p{i}" / "vis" / f"{n}.jpg")
            touch(root / f"p{i}" / "NIR" / f"{n}.PNG")
