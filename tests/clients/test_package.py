"""The client is one package: light, typed, whole in the wheel, and as wide as the API."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from halflight import client
from halflight.client import options, types
from service.app import create_app
from service.settings import Settings
from tests.conftest import REPO

PYTHON_CLIENT = REPO / "service" / "clients" / "python"
HEAVY = {"cv2", "faces", "faiss", "fastapi", "numpy", "onnxruntime", "service", "sqlalchemy", "starlette"}
SHOW = "import sys, halflight.client as c; print(c.__file__, *{m.partition('.')[0] for m in sys.modules})"

# What the client reads of each schema; what it leaves out stands here with the reason.
READ: dict[str, type[types.Answer]] = {
    "CalibrationOut": types.Calibration,
    "CandidateOut": types.Candidate,
    "ConditionOut": types.Condition,
    "DecisionOut": types.Decision,
    "ConditionMetOut": types.DoorCheck,
    "DeadEventOut": types.DeadLetter,
    "DetectOut": types.Detections,
    "DetectedOut": types.Detection,
    "DoorOut": types.Door,
    "DoorOutcomeOut": types.DoorOutcome,
    "DoorRuleOut": types.DoorRule,
    "DoorTestOut": types.DoorTest,
    "DoorsOut": types.Doors,
    "DuplicateOut": types.Duplicate,
    "EmbedOut": types.Embeddings,
    "EmbeddedOut": types.Embedding,
    "EnrolOut": types.Enrolment,
    "EnrolledSampleOut": types.EnrolledSample,
    "ErasedManyOut": types.ErasedMany,
    "ErasedOut": types.Erased,
    "FaceOut": types.Face,
    "HoldOut": types.Hold,
    "IdentifiedOut": types.Identified,
    "IdentifyOut": types.Identification,
    "JobOut": types.Job,
    "MergedOut": types.Merged,
    "MissedOut": types.Missed,
    "PoseOut": types.Pose,
    "QualityOut": types.Quality,
    "ReceiptOut": types.Receipt,
    "ReceiverOut": types.Receiver,
    "ReferenceOut": types.Reference,
    "RejectedOut": types.Rejected,
    "ReplayedOut": types.Redelivered,
    "RuleExplainedOut": types.DoorRuleCheck,
    "SampleOut": types.Sample,
    "SearchOut": types.Search,
    "SeenTrackOut": types.SeenTrack,
    "SightingOut": types.Sighting,
    "SourceReport": types.SourceReport,
    "StreamEndOut": types.StreamEnd,
    "SubjectDetailOut": types.SubjectDetail,
    "SubjectOut": types.Subject,
    "SubjectReceiptOut": types.SubjectReceipt,
    "SubjectsOut": types.SubjectPage,
    "SubmittedOut": types.Submitted,
    "TrackFrameOut": types.TrackFrame,
    "TrackOut": types.TrackDecision,
    "TrackSubjectOut": types.TrackSubject,
    "VerifyOut": types.Verification,
    "VotesOut": types.Votes,
    "WarningOut": types.EnrolmentWarning,
    "WatcherOut": types.Watcher,
    "WatcherReport": types.WatcherReport,
    "WatchersOut": types.Watchers,
    "WebhooksOut": types.Receivers,
    "WhoamiOut": types.Whoami,
}
OWN = {"place"}
# What a job was asked for is the service's own affair; the version is 1 as long as fields are only added.
LEFT_OUT = {
    "JobOut": {"request"},
    "DecisionOut": {"schema_version"},
    "DoorOutcomeOut": {"schema_version", "kind"},
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


@pytest.mark.parametrize("name", READ)
def test_answers_have_the_fields_of_the_openapi_document(name: str, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    if name not in schemas:
        assert name in ("DecisionOut", "MissedOut", "SeenTrackOut", "StreamEndOut"), (
            "events stand in no schema of OpenAPI"
        )
        from service.api.schemas import events

        schema = getattr(events, name).model_json_schema(mode="serialization")
    else:
        schema = schemas[name]
    fields = READ[name].model_fields
    assert fields.keys() - OWN == schema["properties"].keys() - LEFT_OUT.get(name, set())
    # What the service may leave out, the client does not need.
    needed = {field for field, info in fields.items() if info.is_required()}
    assert needed <= set(schema.get("required", ()))


def query(document: dict[str, Any], method: str, path: str) -> set[str]:
    return {one["name"] for one in document["paths"][path][method]["parameters"] if one["in"] == "query"}


def keys(options_type: Any) -> set[str]:
    return set(options_type.__required_keys__ | options_type.__optional_keys__)


def test_options_are_those_of_the_openapi_document(document: dict[str, Any]) -> None:
    for path, known in (
        ("identify", options.IdentifyOptions),
        ("verify", options.VerifyOptions),
        ("embed", options.EmbedOptions),
        ("tracks", options.TrackOptions),
        ("detect", options.SeenOptions),
        ("enroll/bulk", options.SharedOptions),
    ):
        assert keys(known) == query(document, "post", f"/v1/{path}") - {"track"}, path
    assert keys(options.SubjectFilter) == query(document, "get", "/v1/subjects") - {"cursor", "limit"}
    body = document["paths"]["/v1/enroll"]["post"]["requestBody"]["content"]["multipart/form-data"]
    form = set(body["schema"]["properties"])
    # `allow_duplicate` is the older form of `duplicates`.
    assert keys(options.EnrolOptions) == form - {"subject_id", "images", "allow_duplicate"}
    asked = set(document["components"]["schemas"]["DoorTestIn"]["properties"])
    assert keys(options.DoorOptions) == asked - {"subject_id", "camera"}
    assert keys(options.Change) == set(document["components"]["schemas"]["PatchIn"]["properties"])


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: [str(each) for each in inspect.signature(method).parameters.values()]
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    waiting, awaited = methods(client.Client), methods(client.AsyncClient)
    assert awaited.pop("aclose") == waiting.pop("close")
    assert awaited == waiting
    assert len(waiting) >= 18


def loaded(place: Path) -> tuple[Path, set[str]]:
    """Where a bare interpreter finds the client, and the packages that it loads for it."""
    env = {**os.environ, "PYTHONPATH": str(place)}
    said = subprocess.run(
        [sys.executable, "-c", SHOW], env=env, cwd=place, check=True, capture_output=True, text=True
    )
    where, *modules = said.stdout.split()
    return Path(where), set(modules)


def test_the_client_loads_nothing_of_the_service() -> None:
    where, modules = loaded(PYTHON_CLIENT)
    assert where.is_relative_to(PYTHON_CLIENT)
    assert {"httpx", "pydantic"} <= modules
    assert not modules & HEAVY


@pytest.mark.slow
def test_the_wheel_holds_the_client_and_its_types(tmp_path: Path) -> None:
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ":!models", ":!tests"],
        cwd=REPO,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (REPO / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPO / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*pip, "--wheel-dir", str(wheels), str(source)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert {"halflight/py.typed", "halflight/client/__init__.py", "service/console/dist/index.html"} <= names
    assert not any(name.startswith(("service/clients", "service/console/app")) for name in names)
    where, modules = loaded(tmp_path / "site")
    assert where == tmp_path / "site" / "halflight" / "client" / "__init__.py"
    assert not modules & HEAVY
