"""Makes over HTTP what came later: decisions, thresholds, doors, receivers, reports, an archive."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from benchmarks.backfill import SAMPLES
from benchmarks.fuzzing.seeds import Seeds, ask

JPEG = {"content-type": "image/jpeg"}
ZIP = {"content-type": "application/zip"}
PASSPHRASE = "an archive of rendered faces"  # noqa: S105 - of an archive that this run makes
HELD, VERSIONS, WAIT_S, LEAST_UNKNOWN, SETTLE_S = 30, 4, 300.0, 4, 2.0

DOORS = """
version = 1

[doors.switched]
cameras = ["door-2"]
dry_run = "until-switched"
output = { kind = "http", url = "http://127.0.0.1:9/" }
rules = [{ name = "anybody", effect = "allow", who = { anyone = true }, max_fmr = 1e-2 }]

[doors.dry]
cameras = ["door-1"]
dry_run = true
output = { kind = "http", url = "http://127.0.0.1:9/" }
rules = [{ name = "anybody", effect = "allow", who = { anyone = true }, max_fmr = 1e-2 }]
"""
# Nobody listens there: every event becomes a dead letter, which can be replayed.
RECEIVERS = """
[nobody]
url = "http://127.0.0.1:9/"
secret = "whsec_aHR0cHM6Ly9leGFtcGxlLmludmFsaWQvIQ=="
private = true
timeout_s = 1.0
retry_s = 0.1
attempts = 1
"""


def settings_beside(place: Path) -> dict[str, str]:
    """Settings that turn on all that is off by default; `write_files` writes the files that they name."""
    return {
        "HALFLIGHT_DOORS_FILE": str(place / "doors.toml"),
        "HALFLIGHT_RECEIVERS_FILE": str(place / "receivers.toml"),
        "HALFLIGHT_KEEP_PROBES_HOURS": "24",
        "HALFLIGHT_COMPREFACE": "true",
        "HALFLIGHT_BACKUP_KEYS": str(place / "backup.keys"),
    }


def write_files(place: Path) -> None:
    (place / "doors.toml").write_text(DOORS)
    (place / "receivers.toml").write_text(RECEIVERS)


def packed(files: Mapping[str, Path], comment: str = "") -> bytes:
    """A zip of these files by their names in it. Another comment makes another zip."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as written:
        for name, path in files.items():
            written.writestr(name, path.read_bytes())
        written.comment = comment.encode()
    return target.getvalue()


def bulk_archive(number: int) -> bytes:
    """Two people for a bulk enrolment; each number makes another."""
    return packed({f"bulk-{n}/1.jpg": SAMPLES / f"s{n:02}" / "vis_1.jpg" for n in (3, 4)}, str(number))


def labelled_archive(number: int) -> bytes:
    """Labelled photos of every rendered person; each number makes another."""
    files = {}
    for folder in sorted(SAMPLES.glob("s[0-9][0-9]")):
        files[f"{folder.name}/references/1.jpg"] = folder / "vis_1.jpg"
        files[f"{folder.name}/probes/door-1/1.jpg"] = folder / "nir_masked_1.jpg"
    return packed(files, str(number))


def table(space_id: str, cohort: str | None) -> dict[str, Any]:
    """Made-up thresholds for masked NIR probes, of the form that an evaluation writes."""
    points = [
        {"fmr": fmr, "threshold": score, "fmr_upper": 2 * fmr} for fmr, score in ((0.01, 0.4), (0.001, 0.5))
    ]
    pair = {
        "reference": {"spectrum": "vis", "masked": False},
        "probe": {"spectrum": "nir", "masked": True},
        "subjects": 40,
        "mated": 100,
        "non_mated": 20_000,
        "points": points,
    }
    return {
        "format": 1,
        "space_id": space_id,
        "made_at": "2026-11-30",
        "data": "made up",
        "cameras": [{"camera": None, "pairs": [pair]}],
        "cohort": cohort,
    }


def fill_further(http: httpx.Client, seeds: Seeds, place: Path) -> None:
    """After `fill`: the service runs jobs, and everybody whom the seeds name is enrolled."""
    # Before anybody is identified: whoever is enrolled is no unknown.
    seeds.bulk_jobs.append(ask(http, "POST", "/enroll/bulk", content=bulk_archive(0), headers=ZIP)["job_id"])
    query = {"camera": "door-1", "pictures": "true"}
    made = ask(http, "POST", "/admin/evaluate/upload", params=query, content=labelled_archive(0), headers=ZIP)
    seeds.measured_jobs.append(made["job_id"])
    for job in (*seeds.bulk_jobs, *seeds.measured_jobs):
        wait_succeeded(http, job)
    # Before anybody is held: who imports the archive erases everybody as well.
    seeds.passphrase, seeds.gallery = PASSPHRASE, str(place / "gallery.backup")
    answer = http.post("/admin/export", json={"passphrase": PASSPHRASE}).raise_for_status()
    Path(seeds.gallery).write_bytes(answer.content)
    seeds.held = seeds.subject_ids[-HELD:]
    for subject_id in seeds.held:
        ask(http, "PUT", f"/subjects/{subject_id}/hold", json={"reason": "a case that is made up"})
    installed = ask(http, "GET", "/admin/thresholds")
    seeds.tables.append(table(installed["space_id"], installed["cohort"]))
    for _ in range(VERSIONS):
        asked = {"thresholds": seeds.tables[0], "activate": False}
        seeds.versions.append(str(ask(http, "POST", "/admin/thresholds", json=asked)["version"]))
    seeds.doors = [each["name"] for each in ask(http, "GET", "/admin/doors")["doors"]]
    # Whoever is known is not when the threshold is this high: then nobody's erasure takes the event away.
    queries: tuple[dict[str, str], ...] = ({"fmr": "1e-3"}, {"threshold": "0.999"})
    for query in queries:
        for photo in sorted(SAMPLES.glob("s[0-9][0-9]/*.jpg")):
            where = {"camera": "door-1", **query}
            http.post("/identify", params=where, content=photo.read_bytes(), headers=JPEG)
    time.sleep(SETTLE_S)
    seeds.event_ids = events(http)
    seeds.unknown_ids = [each["unknown_id"] for each in ask(http, "GET", "/unknowns")["unknowns"]]
    if len(seeds.unknown_ids) < LEAST_UNKNOWN or not seeds.event_ids or not seeds.doors:
        raise SystemExit(f"{len(seeds.unknown_ids)} unknown faces, {len(seeds.event_ids)} events: too few")


def wait_succeeded(http: httpx.Client, job_id: str) -> None:
    """Raises SystemExit if the job does not succeed."""
    end = time.monotonic() + WAIT_S
    while (job := ask(http, "GET", f"/admin/jobs/{job_id}"))["state"] != "succeeded":
        if job["state"] in ("failed", "cancelled") or time.monotonic() > end:
            raise SystemExit(f"a job of {job['kind']} is {job['state']}: {json.dumps(job)[:300]}")
        time.sleep(0.2)


def events(http: httpx.Client) -> list[str]:
    """The ids of decisions whose faces are kept."""
    answer = http.get("/events", params={"follow": "false", "recent": 1000}).raise_for_status()
    lines = [line.removeprefix("data:") for line in answer.text.splitlines() if line.startswith("data:")]
    found = [json.loads(line) for line in lines]
    return [one["event_id"] for one in found if one.get("crop")]
