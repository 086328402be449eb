"""Every command and script of the tutorial and of the how-to pages runs as it is written, in its order."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import REPO, START_S, free_port, sample_bytes
from tests.service.delivery.home_assistant_schema import checked
from tests.service.delivery.mosquitto import Mosquitto
from tests.service.delivery.test_delivery import until
from tests.service.frigate.recorder import Recorder, change
from tests.service.frigate.test_frigate import publish
from tests.site.compreface import KEY, compreface
from tests.test_documents import parse

pytestmark = pytest.mark.slow

DOCS = REPO / "docs"
PAGES = sorted([*DOCS.glob("tutorial/*.md"), *DOCS.glob("how-to/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
SAVED = re.compile(r"Save this as `(\w+\.py)`")
ADDRESS = "127.0.0.1:8000"
SERVE = ".venv/bin/halflight serve --host 127.0.0.1 --port 8000 --data data"
# What the tutorial has left to whoever reads on.
BEFORE = f"{SERVE}\n.venv/bin/halflight enroll anna service/samples/s05/vis_1.jpg\n"
EMPTY: Mapping[str, str] = {}
EVENT = "1607123955.475377-mxklsc"
STOP = 'if [ -f service.pid ]; then kill "$(cat service.pid)"; wait "$(cat service.pid)"; fi'
FOREIGN = ("HALFLIGHT_URL", "HALFLIGHT_KEY", "HALFLIGHT_BUNDLE_DIR")
READY = f"""
ready() {{
  for _ in $(seq {int(START_S)}); do
    kill -0 "$1"
    if curl --silent --fail http://{ADDRESS}/health/ready >/dev/null; then return; fi
    sleep 1
  done
  exit 9
}}
"""


class Block(NamedTuple):
    """`language`: empty for commands; `saved`: the file that a script becomes, if it is not run at once."""

    language: str
    text: str
    saved: str | None


def blocks(page: Path) -> list[Block]:
    text, made, end = page.read_text(encoding="utf-8"), [], 0
    for found in BLOCK.finditer(text):
        (saved,) = SAVED.findall(text[end : found.start()]) or (None,)
        made.append(Block(found[1], found[2], saved))
        end = found.end()
    return made


def script(page: Path) -> str:
    """One shell runs all, so that `export` counts for what follows. `make` has tests of its own."""
    lines = [READY, "set -eu"]
    parts = blocks(page)
    if not any(SERVE in part.text for part in parts):
        parts = [Block("", BEFORE, None), *parts]
    for part in parts:
        if part.language == "python":
            lines.append(f"cat > {part.saved or 'example.py'} <<'END'\n{part.text}END")
            lines += [] if part.saved else [".venv/bin/python -W error example.py"]
        elif part.language == "":
            for line in part.text.splitlines():
                if line.startswith(SERVE):
                    # A second one: the page has said to stop the first.
                    lines += [STOP]
                    lines += [f"{line} > service.log 2>&1 &", "echo $! > service.pid", "ready $!"]
                elif not line.startswith("make "):
                    lines.append(line)
    return "\n".join(lines)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that looks like a checkout; whatever service was started in it ends."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, command in (("halflight", f"{sys.executable} -m service.cli.main"), ("python", sys.executable)):
        made = tmp_path / ".venv" / "bin" / name
        made.write_text(f'#!/bin/sh\nexec {shlex.join(command.split())} "$@"\n')
        made.chmod(0o755)
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "samples").symlink_to(REPO / "service" / "samples")
    yield tmp_path
    if (pid := tmp_path / "service.pid").is_file():
        os.kill(int(pid.read_text()), signal.SIGTERM)


def run(page: str, place: Path, others: Mapping[str, str] = EMPTY, **env: str) -> str:
    """Runs a page and returns its output. `others`: what it names, and what to take instead."""
    address = f"127.0.0.1:{free_port()}"
    text = script(DOCS / page).replace(f"--port {ADDRESS.split(':')[1]}", f"--port {address.split(':')[1]}")
    for named, taken in others.items():
        assert named in text
        text = text.replace(named, taken)
    mine = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    # Tables get a width at which no row folds.
    mine |= {"HALFLIGHT_URL": f"http://{address}", "COLUMNS": "2000", **env}
    mine["PYTHONPATH"] = os.pathsep.join([str(REPO), str(REPO / "service" / "clients" / "python")])
    command = ["bash", "-c", text.replace(ADDRESS, address)]
    done = subprocess.run(command, cwd=place, env=mine, capture_output=True, text=True)
    log = place / "service.log"
    told = done.stderr[-3000:] + done.stdout[-3000:] + (log.read_text()[-1000:] if log.is_file() else "")
    assert done.returncode == 0, told
    return done.stdout + done.stderr


def test_every_page_has_a_test() -> None:
    named = set(re.findall(r'run\("([\w/-]+\.md)"', Path(__file__).read_text(encoding="utf-8")))
    assert named == {path.relative_to(DOCS).as_posix() for path in PAGES}


def test_commands_that_need_more_than_the_samples_exist_all_the_same() -> None:
    shown = [part.text for page in PAGES for part in blocks(page) if part.language == "sh"]
    assert shown
    for line in "".join(shown).splitlines():
        assert parse(tuple(shlex.split(line)[1:])).refusal is None, line


def test_the_tutorial(place: Path) -> None:
    told = run("tutorial/first-steps.md", place)
    decided = r"s{}/nir_masked_{}\.jpg .* (\w+) +0\.\d+ +0\.\d+ +0\.0001 +(match|unknown)"
    assert re.findall(decided.format("01", 1), told) == [("anna", "match")]
    assert re.findall(decided.format("13", 1), told) == [("anna", "unknown")]
    assert re.findall(decided.format("01", 2), told) == [("anna", "match")]
    assert '"subject_id":"anna"' in told
    assert '"decision":"match"' in told
    assert re.search(r"anna 0\.\d+ 0\.\d+$", told, re.M)
    # Who is erased is not in the second list.
    assert re.findall(r"^ (anna|bert) +(?:Anna Müller +)?(?=\d)", told, re.M) == [
        "anna",
        "bert",
        "bert",
        "anna",
    ]


def test_a_door(place: Path) -> None:
    told = run("how-to/door.md", place)
    assert "front: dry run, http, cameras door-1" in told
    assert "front: would open (dry run), by rule the-three-of-us-at-any-time (allowed)" in told
    assert "front: stays closed, by rule not-s02-any-more (denied_by_rule)" in told
    assert "front: would open (dry run), by rule staff-on-weekdays (allowed)" in told
    by = r"front, the-three-of-us-at-any-time \(allowed\)"
    assert re.search(rf"door +would_open +s01 +{by}  dry run  liveness none", told)
    assert "front: OPENS, http, cameras door-1" in told
    for outcome in ("opening", "opened"):
        assert re.search(rf"door +{outcome} +s01 +{by}  live door  liveness none", told)
    assert "\nthe door opens\n" in told


def test_a_camera_at_the_door(place: Path) -> None:
    told = run("how-to/infrared-camera.md", place)
    assert '"subject_id":"s01"' in told
    assert "open for s01" in told
    assert len(re.findall(r"identify +match +s01 .* door-1 ", told)) == 3
    assert "0 unknown faces" in told
    assert (place / "enrolment" / "report.html").is_file()


def test_cameras_are_watched(place: Path) -> None:
    told = run("how-to/watch.md", place)
    assert "1 source, no fault found" in told
    assert re.search(r"  gate +match +anna +[2-4] of [2-4]$", told, re.M)
    assert len(re.findall(r"  track +match +anna ", told)) == 1
    assert json.loads((place / "status.json").read_text())["sources"][0]["decisions"] == {"match": 1}
    assert list((place / "spool").iterdir()) == []


def test_thresholds_of_ones_own(place: Path) -> None:
    told = run("how-to/own-thresholds.md", place)
    assert (place / "report" / "report.html").is_file()
    assert not (place / "report" / "thresholds.json").exists()
    assert "supports no threshold (2 people are too few" in told
    assert "the bundle's own thresholds decide" in told


def test_pictures_for_a_retraining(place: Path) -> None:
    told = run("how-to/retrain.md", place)
    assert '"dataset_id":"upload-' in told


def test_a_backup_is_made_and_restored(place: Path) -> None:
    run("how-to/backup.md", place)
    assert (place / "backups" / "monday.backup").stat().st_size > 0
    assert (place / "restored" / "halflight.db").is_file()


def test_home_assistant(place: Path) -> None:
    if shutil.which("mosquitto") is None:
        pytest.skip("no Mosquitto: CI installs it")
    (conf,) = (part.text for part in blocks(DOCS / "how-to" / "home-assistant.md") if part.language == "conf")
    conf = conf.replace("listener 1883", "listener {port} 127.0.0.1").replace("/etc/mosquitto/", "{room}/")
    # These two stand in Debian's own file.
    broker = Mosquitto(place / "broker", conf + "persistence true\npersistence_location {room}/\n")
    try:
        broker.start()
        broker.read()
        told = run("how-to/home-assistant.md", place, {"127.0.0.1:1883": f"127.0.0.1:{broker.port}"})
        until(lambda: len(broker.messages("halflight/home/cameras/front-door")) == 1)
        (seen,) = broker.messages("halflight/home/cameras/front-door")
        assert json.loads(seen["payload"])["person"] == "anna"
        found = {one["topic"]: json.loads(one["payload"]) for one in broker.messages("homeassistant/")}
        assert {checked(topic, config)["name"] for topic, config in found.items()} == {
            "Last person",
            "Face",
            "Unknown face",
        }
        assert {config["device"]["name"] for config in found.values()} == {"Halflight front-door"}
    finally:
        broker.stop()
    assert '"name":"mqtt"' in told


def test_frigate(place: Path) -> None:
    """The page stands as it is but for addresses, and for whoever presses Ctrl-C."""
    if shutil.which("mosquitto") is None:
        pytest.skip("no Mosquitto: CI installs it")
    broker, recorder = Mosquitto(place / "broker"), Recorder()
    recorder.pictures = {EVENT: [sample_bytes("s01", f"nir_masked_{number}.jpg") for number in (1, 2)]}
    page, watched, pid = "how-to/frigate.md", place / "watched", place / "frigate.pid"
    (line,) = re.findall(r"^\.venv/bin/halflight frigate .*$", (DOCS / page).read_text(), re.M)
    others = {
        line: f"sh -c 'echo $$ > {pid}; exec {line} 2> {watched}' || test $? = 130",
        "127.0.0.1:1883": f"127.0.0.1:{broker.port}",
        "http://127.0.0.1:5000": recorder.url,
    }

    def visit() -> None:
        until(lambda: watched.exists() and "watching" in watched.read_text(), START_S)
        publish(broker, change(EVENT, "new"))
        until(lambda: len(recorder.asked) == 1)
        publish(broker, change(EVENT, "update"))
        until(lambda: EVENT in recorder.labels)
        os.kill(int(pid.read_text()), signal.SIGINT)

    try:
        broker.start()
        with ThreadPoolExecutor(1) as pool:
            visiting = pool.submit(visit)
            told = run("how-to/frigate.md", place, others)
            visiting.result()
    finally:
        broker.stop()
        recorder.close()
    assert recorder.labels == {EVENT: ("Anna Kern", 1.0)}
    assert re.search(r"^front_door +match +Anna Kern +2 of 2$", told, re.M)


def test_moving_from_compreface(place: Path) -> None:
    examples = [
        *(("Anna Müller", sample_bytes("s01", f"vis_{number}.jpg")) for number in (1, 2)),
        ("bert", sample_bytes("s02")),
        ("../up", sample_bytes("s03")),
        ("gone", b""),
    ]
    with compreface(examples) as address:
        told = run("how-to/from-compreface.md", place, COMPREFACE=address, COMPREFACE_KEY=KEY)
    assert "1 examples without a photo" in told
    assert "4 photos enrolled, 0 files refused, 3 subjects" in told
    assert re.search(r"Anna-M-ller-[0-9a-f]{8}", told)
    assert "Anna Müller" in told
    assert sorted(path.name for path in place.glob("photos/*"))[-1] == "manifest.csv"
    assert not (place.parent / "up").exists()
    answer, _ = json.JSONDecoder().raw_decode(told[told.index('{"result"') :])
    (best,) = answer["result"][0]["subjects"]
    assert best["subject"] == "Anna Müller"
    assert best["similarity"] >= 0.95
