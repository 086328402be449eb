"""Fuzzes a service of its own with Schemathesis, every check, and ids that exist.

    python -m benchmarks.fuzzing --cases 20000 --at-most-s 3600

The data directory is filled before: subjects with samples, spaces, data sets, jobs, keys. Seven of ten
requests name some of it, so that handlers are reached and not 404 alone. Rounds with new seeds follow until
there were so many cases, or until the time is over: the round of then is interrupted, and what it had counts.
Exit code 1 for a 5xx other than 503 with Retry-After, for an answer that the
OpenAPI document does not describe, for whatever else a check finds, and for an operation that never
succeeded.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.fuzzing.further import fill_further, settings_beside, write_files
from benchmarks.fuzzing.seeds import Seeds, fill, prepare, queue
from benchmarks.kills.replica import Replica
from service.settings import CHECKOUT, Settings

CHECKS = "all"
# Schemathesis makes so many requests of each operation a round, beside those that the schema suggests.
EXAMPLES = 60
# These would take away what the others name, or need a service where nobody is enrolled.
ALONE = (("delete", "/api/v1/recognition/subjects"), ("post", "/v1/admin/import"))
# One that is interrupted ends the requests that are under way, and says what it found.
INTERRUPTED_S, A_DAY_S = 120.0, 86_400.0
Answers = dict[str, Counter[str]]


class Fuzzed:
    """A service on a filled data directory of its own."""

    def __init__(self, place: Path) -> None:
        self.place, self.seeds, self.counts = place, place / "seeds.json", place / "counts.json"
        data = place / "data"
        self.env = {
            "HALFLIGHT_DATA_DIR": str(data),
            "HALFLIGHT_BUNDLE_DIR": str(CHECKOUT / "models" / "halflight-1"),
            "HALFLIGHT_LOG_LEVEL": "warning",
            "HALFLIGHT_RATE_LIMIT_PER_S": "0",
            "HALFLIGHT_FAILED_LOGINS_PER_S": "0",
            "HALFLIGHT_DISK_RESERVE_BYTES": "0",
            "HALFLIGHT_DATASETS": str(data),
            "HALFLIGHT_DUPLICATES": "ignore",
            **settings_beside(place),
        }

    def write_settings(self) -> None:
        write_files(self.place)

    @contextmanager
    def serving(self, *, jobs: bool, key: str) -> Iterator[httpx.Client]:
        env = {**self.env, "HALFLIGHT_RUN_JOBS": str(jobs).lower()}
        replica = Replica(0, env, self.place)
        replica.start(forked=False)
        try:
            replica.wait_ready()
            headers = {"authorization": f"Bearer {key}"}
            with httpx.Client(base_url=replica.url, timeout=120, headers=headers) as http:
                yield http
        except BaseException:
            print(replica.last_lines(), file=sys.stderr)
            raise
        finally:
            replica.kill()


def settings_of(env: dict[str, str]) -> Settings:
    return Settings(data_dir=Path(env["HALFLIGHT_DATA_DIR"]), bundle_dir=Path(env["HALFLIGHT_BUNDLE_DIR"]))


def run_round(
    fuzzed: Fuzzed, url: str, key: str, seed: int, asked: argparse.Namespace, *, alone: bool = False
) -> tuple[int, str]:
    """One run of Schemathesis: its exit code and what it printed. `alone`: of the operations that cannot run
    beside others. At `asked.end`, of the monotonic clock, it is interrupted."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    # Ours, and the header of CompreFace's routes.
    command += ["--header", f"Authorization: Bearer {key}", "--header", f"x-api-key: {key}"]
    command += ["--checks", CHECKS, "--seed", str(seed)]
    paths = httpx.get(f"{url}/openapi.json", timeout=120).json()["paths"]
    how, chosen = ("--include-operation-id", ALONE) if alone else ("--exclude-operation-id", ALONE[:1])
    for method, path in chosen:
        command += [how, paths[path][method]["operationId"]]
    if asked.only is not None and not alone:
        command += ["--include-path-regex", asked.only]
    workers = 1 if alone else asked.workers
    command += ["--max-examples", str(asked.examples), "--workers", str(workers), "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--generation-database", "none"]
    command += ["--continue-on-failure", "--request-timeout", "60", "--suppress-health-check", "all"]
    # How long an answer takes on a busy machine is no fault of its form.
    command += ["--max-response-time", "60"]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "benchmarks.fuzzing.hooks"}
    env |= {"FUZZING_SEEDS": str(fuzzed.seeds), "FUZZING_COUNTS": str(fuzzed.counts)}
    env |= {"FUZZING_URL": url, "FUZZING_KEY": key}
    env["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT), env.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        command, cwd=fuzzed.place, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = child.communicate(timeout=max(0.0, asked.end - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        asked.end = time.monotonic()
        child.send_signal(signal.SIGINT)
        try:
            said, _ = child.communicate(timeout=INTERRUPTED_S)
        except subprocess.TimeoutExpired:
            # What it found is lost; its counts were written meanwhile.
            child.kill()
            child.wait()
            said = "it did not end after its interruption"
    finally:
        child.kill()
    return child.returncode, said


def play(fuzzed: Fuzzed, seed: int, asked: argparse.Namespace) -> tuple[int, str]:
    """Everything of one seed on two new services; the worse exit code, and what was printed."""
    fuzzed.place.mkdir()
    fuzzed.write_settings()
    seeds = Seeds()
    key = prepare(settings_of(fuzzed.env), seeds)
    with fuzzed.serving(jobs=True, key=key) as http:
        fill(http, seeds)
        fill_further(http, seeds, fuzzed.place)
    alone, text = (0, "") if asked.only else play_alone(fuzzed, seeds, seed, asked)
    with fuzzed.serving(jobs=False, key=key) as http:
        queue(http, seeds)
        seeds.write(fuzzed.seeds)
        code, said = run_round(fuzzed, str(http.base_url), key, seed, asked)
        http.get("/health/ready").raise_for_status()
    return code or alone, text + said


def play_alone(fuzzed: Fuzzed, filled: Seeds, seed: int, asked: argparse.Namespace) -> tuple[int, str]:
    """What needs a service without subjects, with the archive of the filled one; before the rest, which is
    long and may be interrupted."""
    empty = Fuzzed(fuzzed.place / "empty")
    empty.place.mkdir()
    empty.write_settings()
    key = prepare(settings_of(empty.env), Seeds(), subjects=0)
    Seeds(gallery=filled.gallery, passphrase=filled.passphrase).write(empty.seeds)
    with empty.serving(jobs=False, key=key) as http:
        code, said = run_round(empty, str(http.base_url), key, seed, asked, alone=True)
        http.get("/health/ready").raise_for_status()
    return code, said


def report(answers: Answers, cases: int) -> list[str]:
    """Prints the answers of each operation; returns what is wrong with them."""
    faults = []
    print(f"{cases} cases, {len(answers)} operations")
    for operation, statuses in sorted(answers.items()):
        shown = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        print(f"  {operation:55} {shown}")
        if bad := [each for each in statuses if each.startswith("5") and "Retry-After" not in each]:
            faults.append(f"{operation} answered {', '.join(bad)}")
        documented = not operation.startswith("methods")
        if documented and not any(status.startswith("2") for status in statuses):
            faults.append(f"{operation} never succeeded")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="made a round for each operation")
    # Python 3.11 parses in one thread at a time: in two, Schemathesis fails now and then where it does.
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-most-s", type=float, default=A_DAY_S, help="seconds, for all of it")
    parser.add_argument("--only", help="a regular expression: operations whose paths it finds, no others")
    parser.add_argument("--output", type=Path, help="where to keep what Schemathesis printed")
    asked = parser.parse_args()
    asked.end = time.monotonic() + asked.at_most_s
    answers: Answers = defaultdict(Counter)
    cases, failed, seed, printed = 0, False, asked.seed, ""
    # A shell lets what it starts in the background ignore SIGINT, and Schemathesis would too.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="halflight-fuzzing-") as name:
            while cases < asked.cases and time.monotonic() < asked.end:
                fuzzed = Fuzzed(Path(name) / str(seed))
                code, said = play(fuzzed, seed, asked)
                # One that was interrupted before its first request has none.
                for counts in sorted(fuzzed.place.rglob(fuzzed.counts.name)):
                    counted = json.loads(counts.read_text())
                    cases += counted["cases"]
                    for operation, status, count in counted["answers"]:
                        answers[operation][status] += count
                failed, seed = failed or code != 0, seed + 1
                printed += said
                if asked.output:
                    asked.output.write_text(printed)
                whole = "" if time.monotonic() < asked.end else ", interrupted at the end of the time"
                print(f"seed {seed - 1}: exit code {code}, {cases} cases so far{whole}", flush=True)
                if code:
                    print(said[-12000:], flush=True)
    except KeyboardInterrupt:
        print("stopped before the last round", flush=True)
    faults = report(answers, cases)
    for fault in faults:
        print(f"fault: {fault}")
    raise SystemExit(1 if failed or faults or cases < asked.cases else 0)


if __name__ == "__main__":
    main()
