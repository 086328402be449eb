"""What Schemathesis loads: real ids and photos in part of the requests, and a count of the answers."""

from __future__ import annotations

import atexit
import base64
import json
import os
import re
import threading
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, HookContext, Response

from benchmarks.backfill import SAMPLES
from benchmarks.fuzzing.choices import say_once
from benchmarks.fuzzing.excuses import NO_SUCH_SET, is_right
from benchmarks.fuzzing.further import bulk_archive, labelled_archive
from benchmarks.fuzzing.memory import Done, Memory
from benchmarks.fuzzing.seeds import Seeds, archive

SEEDS = Seeds.read(Path(os.environ["FUZZING_SEEDS"]))
COUNTS = Path(os.environ["FUZZING_COUNTS"])
URL, ADMIN = os.environ["FUZZING_URL"], {"authorization": f"Bearer {os.environ['FUZZING_KEY']}"}
GALLERY = b"" if SEEDS.gallery is None else Path(SEEDS.gallery).read_bytes()
PHOTOS = [path.read_bytes() for path in sorted(SAMPLES.glob("s0[1-6]/*.jpg"))]
# Of ten requests so many name something that is there.
REAL = 7
# `/subjects/delete` is also the path of a subject who is called so, and names that path's methods too.
TWO_PATHS = ("/v1/subjects/delete",)
ONE_AT_A_TIME = ("/v1/admin/evaluate", "/v1/admin/evaluate/upload", "/v1/admin/retrain")
# So often are counts written, for the case that nothing else is left of a run.
WRITE_EVERY = 200
STREAMS, STREAM_S = ("/v1/events", "/v1/admin/jobs/{job_id}/events"), 10.0
JOB_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
COMPREFACE, TRUE = "/api/v1/", ("true", "1", "yes", "on", "t", "y")

_lock = threading.Lock()
_answers: Counter[tuple[str, str]] = Counter()
# Cases that were made to be refused, by their ids.
_wrong: dict[str, bool] = {}
# Cases into whose path we put what exists, by their ids.
_ours: set[str] = set()
_memory = Memory()
_cases = 0


def _number(value: object) -> int:
    """A number that depends on the generated value alone, so that a case can be repeated."""
    return zlib.crc32(repr(value).encode())


def _pick(known: list[Any], value: object) -> Any:
    return known[_number((value, "which")) % len(known)]


photos = st.sampled_from(PHOTOS)
schemathesis.openapi.format("binary", st.one_of(photos, photos, st.binary(max_size=2000)))
schemathesis.openapi.media_type(
    "image/jpeg", st.one_of(photos, photos, st.binary(max_size=2000)), aliases=["image/jpg"]
)
schemathesis.openapi.media_type(
    "application/zip", st.one_of(st.integers(100, 10_000).map(archive), st.binary(max_size=2000))
)


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:  # noqa: ARG001
    """Puts what exists into the path and the body of a request, and leaves options that exclude others."""
    path, negative = case.operation.path, _negative_parts(case)
    parameters, body = case.path_parameters, case.body
    if not _wrong.setdefault(case.id, _is_negative(case)):
        # A header that is null is one that is left out.
        for name in [name for name, value in case.headers.items() if value in (None, "null")]:
            del case.headers[name]
    _bound(case, path)
    if path in STREAMS:
        # One that does not end is read for so long, and what came of it is checked.
        kwargs["timeout"] = STREAM_S
    if parameters and "path_parameters" not in negative and _number(parameters) % 10 < REAL:
        _name_what_exists(case, path)
    # What is to be refused for its body must not become right.
    if _is_negative(case) or _number((body, parameters, dict(case.query))) % 10 >= _real_of_ten():
        return
    if path.startswith(COMPREFACE):
        # Of every second score that is asked for no face is sure enough.
        for options in _options(case):
            options.pop("det_prob_threshold", None)
    if path in ONE_AT_A_TIME:
        _make_room()
    # Of what stands in both, now the query decides and now the body.
    say_once(_options(case)[:: 1 if _number(case.query) % 2 else -1])
    if isinstance(body, dict):
        _make_real(body, path, as_text=case.media_type == "application/json")
    elif isinstance(body, bytes | str):
        _make_real_archive(case, path, body)


def _name_what_exists(case: Case[Any], path: str) -> None:
    """Puts seeds into the path, but for ids that an answer gave: links must lead where they lead."""
    parameters, before = case.path_parameters, dict(case.path_parameters)
    # No job runs here: what asks for a report names one that ran before.
    if not path.endswith("/report") and any(_memory.gave(value) for value in parameters.values()):
        return
    if "sample_id" in parameters:
        subject_id, sample_id = _pick(SEEDS.samples, parameters)
        parameters.update(subject_id=subject_id, sample_id=sample_id)
    for name, known in _known(path, case.method).items():
        if name in parameters and "sample_id" not in parameters and known:
            parameters[name] = _pick(known, parameters[name])
    if parameters != before:
        _ours.add(case.id)


def _options(case: Case[Any]) -> list[dict[str, Any]]:
    """Where the options of a request stand: in its query and in its body."""
    return [options for options in (case.query, case.body) if isinstance(options, dict)]


def _real_of_ten() -> int:
    """Where nobody is enrolled, nothing is left to make up."""
    return REAL if SEEDS.subject_ids else 10


def _cancel(job_id: str) -> None:
    if JOB_ID.fullmatch(job_id):
        httpx.post(f"{URL}/admin/jobs/{job_id}/cancel", headers=ADMIN, timeout=60)


def _make_room() -> None:
    """Cancels what waits: of these jobs one may, and the next would be refused."""
    listed = httpx.get(f"{URL}/admin/jobs", params={"limit": 50}, headers=ADMIN, timeout=60).json()
    for job in listed["jobs"]:
        if job["kind"] in ("retrain", "evaluate") and job["state"] == "queued":
            _cancel(job["job_id"])


def _last(value: object) -> object:
    """The value that the service takes of those that a query gives."""
    return value[-1] if isinstance(value, list) and value else value


def _bound(case: Case[Any], path: str) -> None:
    """A stream ends by itself, and only `play_alone` of `__main__` erases everybody."""
    if path == "/v1/events" and str(_last(case.query.get("follow", "true"))).lower() in TRUE:
        case.query["follow"] = "false"
    if path == "/v1/admin/jobs/{job_id}/events" and case.path_parameters:
        # The events of a job that waits, of whom a link told, would never end: no job runs here.
        _cancel(str(case.path_parameters.get("job_id")))
    if path.startswith(COMPREFACE) and SEEDS.subject_ids:
        if path.endswith("/recognition/faces") and case.method.upper() == "DELETE":
            case.query.setdefault("subject", _pick(SEEDS.subject_ids, dict(case.query)))
        if case.path_parameters and case.path_parameters.get("subject") == "":
            case.path_parameters["subject"] = SEEDS.subject_ids[0]
            _ours.add(case.id)


def _known(path: str, method: str) -> dict[str, list[Any]]:
    jobs = SEEDS.ended_jobs if path.endswith("/events") else SEEDS.job_ids
    if path.startswith("/v1/enroll/bulk/"):
        jobs = SEEDS.bulk_jobs
    elif path == "/v1/admin/evaluate/{job_id}/report":
        jobs = SEEDS.measured_jobs
    subjects = SEEDS.held if path.endswith("/hold") and method.upper() == "DELETE" else SEEDS.subject_ids
    # There are few, and some requests take one away: those have their own.
    half = (len(SEEDS.unknown_ids) + 1) // 2
    taken = SEEDS.unknown_ids[half:] if method.upper() == "DELETE" else SEEDS.unknown_ids[:half]
    return {
        "subject_id": subjects,
        "subject": SEEDS.subject_ids,
        "image_id": [sample for _, sample in SEEDS.samples],
        "space_id": SEEDS.space_ids,
        "job_id": jobs,
        "dataset_id": SEEDS.dataset_ids,
        "key_id": SEEDS.key_ids,
        "event_id": SEEDS.event_ids,
        "unknown_id": taken,
        "version": SEEDS.versions,
        "door": SEEDS.doors,
    }


def _make_real_archive(case: Case[Any], path: str, body: object) -> None:
    number = _number(body) % 10_000
    if path == "/v1/enroll/bulk":
        case.body = bulk_archive(number)
    elif path == "/v1/admin/evaluate/upload":
        case.body = labelled_archive(number)
        case.query.pop("references", None)
    elif path == "/v1/admin/import" and GALLERY:
        case.body = GALLERY
        case.headers.pop("x-halflight-identity", None)
        case.headers["x-halflight-passphrase"] = base64.b64encode(SEEDS.passphrase.encode()).decode()


def _make_real(body: dict[str, Any], path: str, *, as_text: bool) -> None:
    # CompreFace's verifications know neither field.
    if path == "/v1/verify":
        body.pop("reference" if _number(body) % 2 else "subject_id", None)
        if "reference" not in body:
            body["subject_id"] = ""
    if path.endswith("/enroll"):
        body.pop("allow_duplicate", None)
        body |= {"duplicates": "ignore", "allow_mismatch": True if as_text else "true"}
        body |= {"metadata": {"a": 1} if as_text else '{"a": 1}', "display_name": "Ada"}
        body.pop("spectrum", None)
        body.pop("turn", None)
    for name, value in list(body.items()):
        body[name] = _real(name, value, path, as_text=as_text)


def _real(name: str, value: object, path: str, *, as_text: bool) -> object:
    def photo(key: object) -> object:
        chosen = _pick(PHOTOS, key)
        return base64.b64encode(chosen).decode() if as_text else chosen

    match name:
        case "image" | "reference" | "file" | "source_image" | "target_image":
            return photo(value)
        case "thresholds" if SEEDS.tables:
            return _pick(SEEDS.tables, value)
        case "images":
            return [photo(value)]
        case "subject_ids":
            return [_pick(SEEDS.subject_ids, (value, n)) for n in range(1 + _number(value) % 2)]
        case "subject_id" if not path.endswith(("/subjects/{subject_id}", "/enroll")):
            return _pick(SEEDS.subject_ids, value)
        case "bundle":
            return _pick(SEEDS.bundles, value)
        case "dataset":
            return _pick(SEEDS.dataset_ids, value)
    return value


def _negative_parts(case: Case[Any]) -> set[str]:
    if case.meta is None:
        return set()
    components = case.meta.components.items()
    return {kind.value for kind, info in components if info.mode is GenerationMode.NEGATIVE}


def _is_negative(case: Case[Any]) -> bool:
    return (
        case.meta is None
        or case.meta.generation.mode is GenerationMode.NEGATIVE
        or bool(_negative_parts(case))
    )


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:  # noqa: ARG001
    """Counts the answer, and remembers what it gave and took."""
    global _cases
    _remember(case, response)
    status, operation = str(response.status_code), case.operation
    if status == "503" and "retry-after" in response.headers:
        status = "503 with Retry-After"
    documented = case.method.upper() == operation.method.upper()
    name = f"{operation.method.upper()} {operation.path}" if documented else "methods that are not documented"
    with _lock:
        _cases += 1
        _answers[name, status] += 1
        if _cases % WRITE_EVERY == 0:
            _write()


@schemathesis.hook
def filter_failure(context: HookContext, failure: object, case: Case[Any], response: Response) -> bool:  # noqa: ARG001
    """Drops what is no fault: an overload that says so, what no schema can say of a request, and a 404 of
    what this run took away itself."""
    if response.status_code == 503 and "retry-after" in response.headers:
        return False
    if type(failure).__name__ == "AcceptedNegativeData":
        # With a photo of ours, bytes, Schemathesis takes what was right for wrong.
        return _wrong.get(case.id, True)
    if type(failure).__name__ == "EnsureResourceAvailability":
        # An id that we put there was not the one that was made before.
        return case.id not in _ours and not any(map(_memory.took, case.path_parameters.values()))
    if type(failure).__name__ == "RejectedPositiveData":
        return not _is_refusal_right(case, response)
    return not ("Allow" in type(failure).__name__ and case.operation.path in TWO_PATHS)


def _is_refusal_right(case: Case[Any], response: Response) -> bool:
    try:
        problem = json.loads(response.content)
        # CompreFace's shape of a refusal has our code and our text by other names.
        code, detail = problem.get("reason", problem["code"]), problem.get("detail") or problem["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    if NO_SUCH_SET in detail and isinstance(case.body, dict):
        named = case.body.get("dataset")
        return _memory.took(named) or not (named in SEEDS.dataset_ids or _memory.gave(named))
    return is_right(case.operation.path, code, detail)


def _remember(case: Case[Any], response: Response) -> None:
    if not 200 <= response.status_code < 300:
        return
    try:
        answer = json.loads(response.content)
    except ValueError:
        # No JSON gives no id.
        return
    done = Done(
        method=case.method.upper(),
        path=case.operation.path,
        parameters=case.path_parameters,
        query=case.query,
        body=case.body,
        answer=answer,
    )
    _memory.note(done)


@atexit.register
def _write() -> None:
    rows = [[operation, status, count] for (operation, status), count in sorted(_answers.items())]
    written = COUNTS.with_suffix(".part")
    written.write_text(json.dumps({"cases": _cases, "answers": rows}))
    written.replace(COUNTS)
