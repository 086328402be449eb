"""What the fuzzing remembers of its own requests, and which refusals it takes for right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzzing.choices import say_once
from benchmarks.fuzzing.excuses import OF_OPERATIONS, is_right
from benchmarks.fuzzing.memory import Done, Memory
from benchmarks.fuzzing.seeds import Seeds
from service.app import create_app
from service.settings import Settings
from service.subjects.free_names import free_name
from tests.conftest import REPO

CORRECT = "/v1/events/{event_id}/correct"
FACES, SUBJECT = "/api/v1/recognition/faces", "/v1/subjects/{subject_id}"
NOBODY: Mapping[str, Any] = {}


def done(
    method: str,
    path: str,
    answer: object,
    *,
    query: Mapping[str, Any] = NOBODY,
    body: object = None,
    **parameters: str,
) -> Done:
    return Done(method=method, path=path, parameters=parameters, query=query, body=body, answer=answer)


def enrolled(subject: str = "ada", image_id: str = "sample-1") -> Memory:
    memory = Memory()
    memory.note(done("POST", FACES, {"image_id": image_id, "subject": subject}, query={"subject": subject}))
    return memory


def test_what_a_delete_takes_is_there_again_when_it_is_made_again() -> None:
    memory, made = Memory(), done("POST", "/v1/admin/datasets", {"dataset_id": "upload-1"})
    assert not memory.gave("upload-1")
    memory.note(made)
    assert memory.gave("upload-1")
    assert not memory.took("upload-1")
    memory.note(
        done("DELETE", "/v1/admin/datasets/{dataset_id}", {"dataset_id": "upload-1"}, dataset_id="upload-1")
    )
    assert memory.took("upload-1")
    # To list it is not to make it.
    memory.note(done("GET", "/v1/admin/datasets", {"datasets": [{"dataset_id": "upload-1"}]}))
    assert memory.took("upload-1")
    memory.note(made)
    assert not memory.took("upload-1")


@pytest.mark.parametrize(
    "erasure",
    [
        done("DELETE", SUBJECT, {"erased": {}}, subject_id="ada"),
        done("DELETE", "/api/v1/recognition/subjects/{subject}", {"subject": "ada"}, subject="ada"),
        done("DELETE", FACES, {"deleted": 1}, query={"subject": "ada"}),
        done("DELETE", FACES + "/{image_id}", {"image_id": "sample-1"}, image_id="sample-1"),
        done("DELETE", SUBJECT + "/samples/{sample_id}", {}, subject_id="ada", sample_id="sample-1"),
        done("POST", "/v1/subjects/delete", {"receipts": [{"subject_id": "ada"}], "not_found": []}),
    ],
)
def test_a_sample_goes_with_its_subject_by_whatever_path(erasure: Done) -> None:
    memory = enrolled()
    memory.note(erasure)
    assert memory.took("sample-1")
    other = enrolled("bert")
    other.note(erasure)
    assert other.took("sample-1") is ("image_id" in erasure.parameters or "sample_id" in erasure.parameters)


def test_what_an_erasure_did_not_find_is_not_taken() -> None:
    memory = enrolled()
    memory.note(done("POST", "/v1/subjects/delete", {"receipts": [], "not_found": ["ada"]}))
    memory.note(done("DELETE", SUBJECT + "/hold", {}, subject_id="ada"))
    assert not memory.took("ada")
    assert not memory.took("sample-1")


@pytest.mark.parametrize(
    ("change", "old"),
    [
        (done("PATCH", SUBJECT, {"subject_id": "eve"}, subject_id="ada"), "ada"),
        (
            done(
                "POST", SUBJECT + "/merge", {"subject_id": "eve", "merged": "ada", "moved": 1, "samples": 3}
            ),
            "ada",
        ),
        (
            done("PUT", "/api/v1/recognition/subjects/{subject}", {}, body={"subject": "eve"}, subject="ada"),
            "ada",
        ),
    ],
)
def test_samples_of_a_renamed_or_merged_subject_stay(change: Done, old: str) -> None:
    memory = enrolled(old)
    memory.note(change)
    assert memory.took(old)
    assert not memory.took("sample-1")
    memory.note(done("DELETE", SUBJECT, {}, subject_id="eve"))
    assert memory.took("sample-1")


def test_a_name_of_compreface_and_the_id_made_of_it_are_one() -> None:
    memory = enrolled("Ada Lovelace")
    subject_id = free_name("Ada Lovelace").subject_id
    assert subject_id != "Ada Lovelace"
    memory.note(done("DELETE", SUBJECT, {}, subject_id=subject_id))
    assert memory.took("Ada Lovelace")
    assert memory.took("sample-1")


@pytest.mark.parametrize("detail", OF_OPERATIONS[CORRECT])
def test_an_excuse_of_one_operation_is_none_of_another(detail: str) -> None:
    assert is_right(CORRECT, "invalid_parameter", detail)
    assert not is_right("/v1/subjects/{subject_id}", "invalid_parameter", detail)


@pytest.mark.parametrize("path", [CORRECT, "/v1/enroll", "/v1/identify", "/v1/admin/thresholds", SUBJECT])
def test_a_field_that_the_service_does_not_know_is_never_excused(path: str) -> None:
    known = "consent_date, metadata, subject_id, threshold"
    for detail in (f"`x` is not known here; known: {known}", "give at least one of `subject_id`, `metadata`"):
        assert not is_right(path, "invalid_parameter", detail)


def test_options_are_said_once_and_the_first_place_wins() -> None:
    query: dict[str, Any] = {"turn": "0", "threshold": 0.5, "camera": "a"}
    body: dict[str, Any] = {"turn": "90", "fmr": 0.1, "fpir": 0.1, "image": b"photo"}
    say_once([query, body])
    assert query == {"turn": "0", "threshold": 0.5, "camera": "a"}
    assert body == {"image": b"photo"}


HOOKS = """
import json
import schemathesis
from benchmarks.fuzzing import hooks
from benchmarks.fuzzing.memory import Done

schema = schemathesis.openapi.from_dict(json.load(open("document.json")))
operation = schema["/v1/admin/datasets/{dataset_id}"]["DELETE"]
EnsureResourceAvailability = type("EnsureResourceAvailability", (), {})

class Answer:
    status_code, headers, content = 404, {}, b"{}"

def sent(dataset_id):
    case = operation.Case(path_parameters={"dataset_id": dataset_id})
    hooks.before_call(None, case, {})
    named = case.path_parameters["dataset_id"]
    return named, hooks.filter_failure(None, EnsureResourceAvailability(), case, Answer())

def note(method, path, parameters):
    hooks._memory.note(Done(method=method, path=path, parameters=parameters, query={}, body=None,
                            answer={"dataset_id": "upload-linked"}))

made_up = [sent(f"made-up-{number}") for number in range(30)]
note("POST", "/v1/admin/datasets", {})
linked = sent("upload-linked")
note("DELETE", "/v1/admin/datasets/{dataset_id}", {"dataset_id": "upload-linked"})
print(json.dumps([made_up, linked, sent("upload-linked")]))
"""


@pytest.mark.slow
def test_an_id_of_a_link_stays_and_its_loss_is_a_finding_unless_this_run_erased_it(tmp_path: Path) -> None:
    """What Schemathesis called "created resource not found" was an id that the benchmark had put there."""
    (tmp_path / "document.json").write_text(json.dumps(create_app(Settings()).openapi()))
    Seeds(dataset_ids=["upload-seed"]).write(tmp_path / "seeds.json")
    env = {**os.environ, "PYTHONPATH": str(REPO), "FUZZING_SEEDS": "seeds.json", "FUZZING_KEY": "none"}
    env |= {"FUZZING_COUNTS": "counts.json", "FUZZING_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", HOOKS]
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    made_up, linked, erased = json.loads(ran.stdout)
    # The benchmark's own id is no created resource; what was made up is as Schemathesis judges it.
    assert {(named == "upload-seed", finding) for named, finding in made_up} == {(True, False), (False, True)}
    assert linked == ["upload-linked", True]
    assert erased == ["upload-linked", False]
