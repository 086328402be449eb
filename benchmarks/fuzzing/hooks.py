"""What Schemathesis loads: real ids and photos in part of the requests, and a count of the answers."""

from __future__ import annotations

import atexit
import base64
import json
import os
import threading
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, HookContext, Response

from benchmarks.backfill import SAMPLES
from benchmarks.fuzzing.seeds import Seeds, archive

SEEDS = Seeds.read(Path(os.environ["FUZZING_SEEDS"]))
COUNTS = Path(os.environ["FUZZING_COUNTS"])
PHOTOS = [path.read_bytes() for path in sorted(SAMPLES.glob("s0[1-6]/*.jpg"))]
# Of ten requests so many name something that is there.
REAL = 7
# No schema can say these: made-up bytes are no photo of a face, and so on.
CONTENT = {
    *("no_face", "multiple_faces", "low_quality", "undecodable_image", "unsupported_media_type"),
    *("image_too_large", "image_too_costly", "wrong_spectrum", "unsure_orientation", "invalid_archive"),
    *("unsupported_fmr", "photos_disagree", "subject_mismatch", "duplicate_face", "body_too_large"),
}
# What else no schema can say, by part of its text: it needs two fields, a clock, or what is there.
BEYOND_SCHEMAS = (
    *("is not one this service gave", "no such directory", "holds no bundle", "is past", "into itself"),
    *("give one of", "say different things", "not all", "one of them", "not both", "needs `metadata_key`"),
    *("is no base64", "is a data URL", "is empty", "give `subject_id`", "may not be null", "calendar"),
    *("null character", "surrogate", "levels at most", "bytes at most", "`metadata`", "control character"),
    *("a subject_id has", "is given twice", "letters that no subject_id has"),
    *("be one file", "send 1 to", "cannot be trained", "threshold"),
)
# `/subjects/delete` is also the path of a subject who is called so, and names that path's methods too.
TWO_PATHS = ("/v1/subjects/delete",)

_lock = threading.Lock()
_answers: Counter[tuple[str, str]] = Counter()
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
    if parameters and "path_parameters" not in negative and _number(parameters) % 10 < REAL:
        if "sample_id" in parameters:
            subject_id, sample_id = _pick(SEEDS.samples, parameters)
            parameters.update(subject_id=subject_id, sample_id=sample_id)
        for name, known in _known(path).items():
            if name in parameters and "sample_id" not in parameters:
                parameters[name] = _pick(known, parameters[name])
    # What is to be refused for its body must not become right.
    if _is_negative(case) or _number((body, parameters, dict(case.query))) % 10 >= REAL:
        return
    for first, *others in (("fmr", "threshold", "fpir"), ("duplicates", "allow_duplicate")):
        for options in (case.query, body):
            if isinstance(options, dict) and first in options:
                for other in others:
                    options.pop(other, None)
    if isinstance(body, dict):
        _make_real(body, path, as_text=case.media_type == "application/json")


def _known(path: str) -> dict[str, list[Any]]:
    jobs = SEEDS.ended_jobs if path.endswith("/events") else SEEDS.job_ids
    return {
        "subject_id": SEEDS.subject_ids,
        "space_id": SEEDS.space_ids,
        "job_id": jobs,
        "dataset_id": SEEDS.dataset_ids,
        "key_id": SEEDS.key_ids,
    }


def _make_real(body: dict[str, Any], path: str, *, as_text: bool) -> None:
    if path.endswith("/verify"):
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
        case "image" | "reference":
            return photo(value)
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
    return case.meta is None or case.meta.generation.mode is GenerationMode.NEGATIVE


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:  # noqa: ARG001
    """Counts the answer."""
    global _cases
    status, operation = str(response.status_code), case.operation
    if status == "503" and "retry-after" in response.headers:
        status = "503 with Retry-After"
    documented = case.method.upper() == operation.method.upper()
    name = f"{operation.method.upper()} {operation.path}" if documented else "methods that are not documented"
    with _lock:
        _cases += 1
        _answers[name, status] += 1


@schemathesis.hook
def filter_failure(context: HookContext, failure: object, case: Case[Any], response: Response) -> bool:  # noqa: ARG001
    """Drops what is no fault: an overload that says so, and what no schema can say of a request."""
    if response.status_code == 503 and "retry-after" in response.headers:
        return False
    if type(failure).__name__ == "RejectedPositiveData":
        try:
            problem = json.loads(response.content)
            beyond = any(text in problem["detail"] for text in BEYOND_SCHEMAS)
        except (ValueError, KeyError, TypeError):
            return True
        return problem["code"] not in CONTENT and not beyond
    return not ("Allow" in type(failure).__name__ and case.operation.path in TWO_PATHS)


@atexit.register
def _write() -> None:
    rows = [[operation, status, count] for (operation, status), count in sorted(_answers.items())]
    COUNTS.write_text(json.dumps({"cases": _cases, "answers": rows}))
