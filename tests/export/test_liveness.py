"""A network that looks for a living face goes into a bundle, and the service denies by it.

The network of these tests is a toy: it takes dark faces for attacks. It says nothing about liveness.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.graph import ExportError
from export.liveness import FILE, add_liveness
from faces.bundle import BundleError, parse_manifest, read, verify
from service.settings import builtin_bundle
from tests.conftest import Service, sample_bytes
from tests.service.doors.support import doors_text
from tests.service.doors.test_service import audited, doors, until

SIDE = 48
FACTS = """
licence = "a toy of the tests"
region = "box"
padding = 0.5
input_px = 48
threshold = 0.5
spectra = ["nir", "vis"]

[normalisation]
order = "rgb"
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]

[errors]
bpcer = 0.0
bona_fide = 1
data = "one rendered face, synthetic: a toy of the tests, which tells dark from bright"
attacks = [{ kind = "darkened picture", apcer = 0.0, presentations = 1 }]
"""


def toy(path: Path, *, outputs: int = 1) -> Path:
    """Writes a network whose probability of life rises with the brightness of a crop: half at 25 %."""
    shape: list[str | int | None] = ["batch", 3, SIDE, SIDE]
    nodes = [
        helper.make_node("ReduceMean", ["crop", "axes"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "half"], ["above"]),
        helper.make_node("Mul", ["above", "steep"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
        helper.make_node("Reshape", ["probability", "column"], ["one"]),
        helper.make_node("Concat", ["one"] * outputs, ["live"], axis=1),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("half", TensorProto.FLOAT, [], [-0.5]),
        helper.make_tensor("steep", TensorProto.FLOAT, [], [40.0]),
        helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("live", TensorProto.FLOAT, ["batch", outputs])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def facts(folder: Path, text: str = FACTS) -> Path:
    path = folder / "facts.toml"
    path.write_text(text)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    place = tmp_path / "bundle"
    shutil.copytree(builtin_bundle(), place)
    return place


def test_a_bundle_gets_the_network_its_error_rates_and_a_section_of_its_card(
    bundle: Path, tmp_path: Path
) -> None:
    before = read(bundle).manifest
    assert before.liveness is None
    spec = add_liveness(bundle, toy(tmp_path / "net.onnx"), facts(tmp_path))
    made = read(bundle)
    verify(made)
    assert made.manifest.liveness == spec
    assert made.manifest.licences[FILE] == "a toy of the tests"
    assert made.manifest.space_id == before.space_id, "it shapes no template"
    assert made.manifest.calibration == before.calibration
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "| attack: darkened picture | 1 | APCER 0.0000 |" in card
    assert card.count("## Liveness") == card.count("## Thresholds") == 1
    add_liveness(
        bundle, toy(tmp_path / "net.onnx"), facts(tmp_path, FACTS.replace("apcer = 0.0", "apcer = 0.25"))
    )
    again = (bundle / "MODEL_CARD.md").read_text()
    assert again.replace("APCER 0.2500", "APCER 0.0000") == card


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("bpcer = 0.0\n", "", "errors.bpcer"),
        (
            'attacks = [{ kind = "darkened picture", apcer = 0.0, presentations = 1 }]',
            "attacks = []",
            "attacks",
        ),
        ("apcer = 0.0", "apcer = 1.5", "errors.attacks.0.apcer"),
        (
            'data = "one rendered face, synthetic: a toy of the tests, which tells dark from bright"',
            "",
            "errors.data",
        ),
        ("threshold = 0.5", "threshold = 1", "threshold"),
        ('spectra = ["nir", "vis"]', "spectra = []", "spectra"),
        ('licence = "a toy of the tests"', "", "licence"),
        ("padding = 0.5", "padded = 0.5", "padded"),
    ],
)
def test_a_network_without_its_error_rates_is_refused(
    bundle: Path, tmp_path: Path, old: str, new: str, key: str
) -> None:
    assert old in FACTS
    with pytest.raises(ExportError, match=key):
        add_liveness(bundle, toy(tmp_path / "net.onnx"), facts(tmp_path, FACTS.replace(old, new)))
    assert read(bundle).manifest.liveness is None


def test_what_is_no_such_network_is_refused(bundle: Path, tmp_path: Path) -> None:
    two = toy(tmp_path / "two.onnx", outputs=2)
    with pytest.raises(ExportError, match="no probability for each crop"):
        add_liveness(bundle, two, facts(tmp_path))
    (tmp_path / "none.onnx").write_bytes(b"no network")
    with pytest.raises(ExportError, match=r"none\.onnx does not take float32"):
        add_liveness(bundle, tmp_path / "none.onnx", facts(tmp_path))
    other = facts(tmp_path, FACTS.replace("input_px = 48", "input_px = 64"))
    with pytest.raises(ExportError, match="64, 64"):
        add_liveness(bundle, toy(tmp_path / "net.onnx"), other)
    assert read(bundle).manifest.liveness is None


def test_a_manifest_states_the_error_rates(bundle: Path, tmp_path: Path) -> None:
    add_liveness(bundle, toy(tmp_path / "net.onnx"), facts(tmp_path))
    text = (bundle / "manifest.json").read_text()
    with pytest.raises(BundleError, match=r"liveness\.errors"):
        parse_manifest(text.replace('"errors"', '"claims"'))


@pytest.fixture
def service(bundle: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    text = FACTS if not hasattr(request, "param") else FACTS.replace('["nir", "vis"]', request.param)
    add_liveness(bundle, toy(tmp_path / "net.onnx"), facts(tmp_path, text))
    rules = '[[doors.front.rules]]\nname = "living"\neffect = "allow"\nwho = { anyone = true }\n'
    path = tmp_path / "doors.toml"
    path.write_text(doors_text(rules + "max_fmr = 1e-2\nlive_ms = 0\n", door="pause_ms = 0"))
    env = {"HALFLIGHT_BUNDLE_DIR": str(bundle), "HALFLIGHT_DOORS_FILE": str(path)}
    running = Service(tmp_path / "data", env).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill()


def picture(*, dark: bool) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(sample_bytes("s01"), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    shown = (pixels * (0.3 if dark else 1.0)).astype(np.uint8)
    return cv2.imencode(".png", shown)[1].tobytes()


def ask(client: httpx.Client, path: str, **data: str) -> dict[str, Any]:
    files = {"image": ("p.png", picture(dark=data.pop("dark", "") == "yes"), "image/png")}
    answer = client.post(path, params={"camera": "entry"}, files=files, data=data)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def enrol(client: httpx.Client) -> None:
    photos = [("images", ("a.jpg", sample_bytes("s01"), "image/jpeg"))]
    client.post("/enroll", data={"subject_id": "ada"}, files=photos).raise_for_status()


@pytest.mark.slow
def test_the_service_denies_by_it_and_a_door_asks_for_it(service: Service) -> None:
    with service.client() as client:
        enrol(client)
        (bright,) = ask(client, "/identify")["results"]
        (dark,) = ask(client, "/identify", dark="yes")["results"]
        assert (bright["decision"], bright["liveness"]) == ("match", "live")
        assert (dark["decision"], dark["liveness"]) == ("unknown", "denied")
        first = dark["candidates"][0]
        assert first["subject_id"] == "ada"
        assert first["score"] >= first["threshold"], "it would have matched"
        assert first["decision"] == "unknown"
        verified = ask(client, "/verify", dark="yes", subject_id="ada")
        assert (verified["decision"], verified["liveness"]) == ("non-match", "denied")
        assert ask(client, "/verify", subject_id="ada")["decision"] == "match"
        until(lambda: len(audited(client, "subject.identify")) == 2)
        entries = audited(client, "subject.identify")
        assert sorted(one["detail"]["liveness"] for one in entries) == ["denied", "live"]
        until(lambda: len(doors(client)["last"]) == 4)
        door = doors(client)
        seen = [(one["outcome"], one["reason"], one["liveness"]) for one in reversed(door["last"])]
        assert door["liveness"] == "asked"
        assert seen[:2] == [("would_open", "allowed", "live"), ("denied", "nobody_recognised", "denied")]


@pytest.mark.slow
@pytest.mark.parametrize("service", ['["nir"]'], indirect=True)
def test_of_light_that_it_was_not_made_for_it_says_nothing(service: Service) -> None:
    with service.client() as client:
        enrol(client)
        (dark,) = ask(client, "/identify", dark="yes")["results"]
        assert (dark["decision"], dark["liveness"]) == ("match", "none")
        until(lambda: len(doors(client)["last"]) == 1)
        assert [(one["outcome"], one["reason"]) for one in doors(client)["last"]] == [("denied", "liveness")]


def test_the_facts_of_the_documents_are_those_of_the_tests() -> None:
    """docs/export.md shows the keys; this keeps them right."""
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    shown = text.partition("```toml\nlicence")[2].partition("```")[0]
    assert tomllib.loads("licence" + shown).keys() == tomllib.loads(FACTS).keys()
