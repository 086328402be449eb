"""Writes a software bill of materials (CycloneDX 1.6, JSON) and a list of licences.

It describes what is installed beside it: every distribution, or those of a lock, with versions,
licences and what needs what, and the files of a model bundle with their digests. It needs nothing but
the standard library, so that an image can describe itself. Equal environments give equal files.

    python deploy/sbom.py --lock requirements/cpu.lock --bundle models/halflight-2 --to build
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

SBOM, LICENCES = "sbom.cdx.json", "licences.txt"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.M)
REQUIRED = re.compile(r"^[A-Za-z0-9._-]+")
CLASSIFIER = "License :: OSI Approved :: "
# A longer text of the field `License` is the licence itself.
LONGEST_NAME = 60


class NotInstalled(Exception):
    """A distribution of the lock is not installed, or in another version."""


def normalised(name: str) -> str:
    """The name of a distribution as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(found: Distribution) -> str:
    """The licence that a distribution states: an SPDX expression, a short text, or its classifiers."""
    metadata = found.metadata
    for field in ("License-Expression", "License"):
        text = next(iter(metadata.get_all(field) or ()), "").strip()
        if text and len(text) <= LONGEST_NAME and text.upper() != "UNKNOWN":
            return text
    stated = [line.removeprefix(CLASSIFIER) for line in metadata.get_all("Classifier") or ()]
    names = sorted(name for name in stated if not name.startswith(("License ::", *OTHER_CLASSIFIERS)))
    first = next(iter(metadata.get_all("License") or ()), "").strip().splitlines()
    return " AND ".join(names) or (first[0].strip() if first else "not stated")


OTHER_CLASSIFIERS = (
    *("Development Status", "Environment", "Framework", "Intended Audience", "Natural Language"),
    *("Operating System", "Programming Language", "Topic", "Typing", "Private"),
)


def pinned(lock: Path) -> dict[str, str]:
    """Maps each distribution of a lock to its version."""
    return {normalised(name): version for name, version in PINNED.findall(lock.read_text("utf-8"))}


def chosen(wanted: Mapping[str, str] | None) -> dict[str, Distribution]:
    """Maps names to installed distributions: those of the lock, or all. Raises NotInstalled."""
    installed = {normalised(one.metadata["Name"]): one for one in distributions()}
    if wanted is None:
        return dict(sorted(installed.items()))
    found = {}
    for name, version in sorted(wanted.items()):
        if name not in installed or installed[name].version != version:
            raise NotInstalled(f"{name} {version} is not installed: run `make dev` first")
        found[name] = installed[name]
    return found


def library(name: str, found: Distribution) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{found.version}"
    # An expression if it looks like one of SPDX, else a name, which may be any text.
    text = licence(found)
    spdx = re.fullmatch(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*", text)
    licences = [{"expression": text}] if spdx and " " in text else [{"license": {"name": text}}]
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": found.version,
        "purl": purl,
        "licenses": licences,
    }


def model_files(bundle: Path) -> list[dict[str, Any]]:
    """The files of a bundle, each with its SHA-256."""
    made = []
    for path in sorted(each for each in bundle.rglob("*") if each.is_file()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name = f"{bundle.name}/{path.relative_to(bundle).as_posix()}"
        made.append(
            {
                "type": "machine-learning-model" if path.suffix == ".onnx" else "file",
                "bom-ref": f"model:{name}",
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        )
    return made


def needs(found: Mapping[str, Distribution]) -> list[dict[str, Any]]:
    """What each distribution needs of the others, extras left out."""
    made = []
    for name, one in found.items():
        required = {
            normalised(match.group())
            for line in one.requires or ()
            if "extra ==" not in line and (match := REQUIRED.match(line))
        }
        refs = sorted(f"pkg:pypi/{other}@{found[other].version}" for other in required & found.keys())
        made.append({"ref": f"pkg:pypi/{name}@{one.version}", "dependsOn": refs})
    return made


def bill(found: Mapping[str, Distribution], bundle: Path | None, version: str) -> dict[str, Any]:
    """The whole document."""
    components = [library(name, one) for name, one in found.items() if name != "halflight"]
    components += model_files(bundle) if bundle is not None else []
    body: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "halflight",
                "name": "halflight",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": needs({name: one for name, one in found.items() if name != "halflight"}),
    }
    content = json.dumps(body, sort_keys=True)
    return body | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"}


def licence_list(found: Mapping[str, Distribution]) -> Iterable[str]:
    return (f"{name} {one.version}: {licence(one)}" for name, one in found.items())


def main() -> int:
    parser = argparse.ArgumentParser(description="Write a CycloneDX bill of materials and a licence list.")
    parser.add_argument("--lock", type=Path, help="describe the packages of this lock, not all installed")
    parser.add_argument("--bundle", type=Path, help="describe the files of this model bundle too")
    parser.add_argument("--version", default="unknown", help="of Halflight")
    parser.add_argument("--to", type=Path, required=True, help="directory of the two files")
    asked = parser.parse_args()
    try:
        found = chosen(None if asked.lock is None else pinned(asked.lock))
        document = bill(found, asked.bundle, asked.version)
        asked.to.mkdir(parents=True, exist_ok=True)
        (asked.to / SBOM).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        (asked.to / LICENCES).write_text("".join(f"{line}\n" for line in licence_list(found)), "utf-8")
    except (NotInstalled, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{asked.to / SBOM}: {len(document['components'])} components\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
