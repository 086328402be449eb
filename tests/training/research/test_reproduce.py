"""The command for the paper's tables, on a real layout and on the stand-in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from faces.types import Pixels, Spectrum
from tests.training.data.trees import casia_tree
from training.__main__ import app
from training.data.casia import load_casia
from training.data.loaded import NO_PLACE, Place, places_of
from training.data.prepared import PreparedSet, Row, SetInfo
from training.data.records import Fold, Sample
from training.data.set_writer import SetWriter
from training.finetune.recipe import load_recipe
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.research.reproduce.published import FIG4, TABLE1, TABLE2, On
from training.research.reproduce.trunk import trunk_departures

SIDE_PX = 32
BACKBONE = BackboneConfig(side_px=SIDE_PX, dimension=16, width=0.125)
QUICK = ("--iterations", "2", "--batch", "2", "--bootstraps", "10")


def picture(subject: str, rng: np.random.Generator) -> Pixels:
    """Stripes of the subject's own frequency, with noise."""
    frequency = hashlib.sha256(subject.encode()).digest()[0] / 80 + 0.2
    wave = np.sin(np.arange(SIDE_PX) * frequency)[None, :, None]
    noise = rng.normal(0, 10, (SIDE_PX, SIDE_PX, 3))
    return np.asarray(np.clip(128 + 90 * wave + noise, 0, 255), np.uint8)


def make_set(
    root: Path, name: str, samples: Sequence[Sample], fold: Fold | None, *, generator: str | None = None
) -> PreparedSet:
    """Every sample, NIR ones in a masked copy too."""
    synthetic = "masks are drawn; nobody wore one"
    info = SetInfo(name=name, alignment="arcface-112", side_px=SIDE_PX, made_by="a test", synthetic=synthetic)
    writer, rng = SetWriter(root, info), np.random.default_rng(0)
    places = {} if fold is None else places_of(fold)
    for sample in samples:
        place: Place = places.get(sample.path, NO_PLACE)
        for masked in (False, True) if sample.spectrum is Spectrum.NIR else (False,):
            row = Row(
                source=sample.path.as_posix(),
                subject=sample.subject,
                spectrum=sample.spectrum,
                masked=masked,
                split=place.split,
                role=place.role,
                mask="drawn" if masked else None,
                generator=generator if sample.spectrum is Spectrum.NIR else None,
            )
            writer.add(row, picture(sample.subject, rng))
    return writer.close()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("tree")
    casia_tree(root)
    return root


@pytest.fixture(scope="module")
def casia(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """All folds' pictures, without a split in the rows, as `prepare casia` makes it."""
    return make_set(tmp_path_factory.mktemp("casia"), "casia-view2", load_casia(tree).samples(), None)


@pytest.fixture(scope="module")
def fold1(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """As `prepare casia --fold 1` makes it."""
    fold = load_casia(tree).folds()[0]
    samples = (*fold.train, *fold.gallery, *fold.probes)
    return make_set(tmp_path_factory.mktemp("fold1"), fold.name, samples, fold)


@pytest.fixture(scope="module")
def standin(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    fold = load_casia(tree).folds()[0]
    samples = (*fold.train, *fold.gallery, *fold.probes)
    root = tmp_path_factory.mktemp("standin")
    return make_set(root, "stripes", samples, fold, generator="a generator")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "start.pt"
    save_encoder(path, BACKBONE.build(), BACKBONE)
    return path


def call(table: str, out: Path, *words: object) -> Result:
    return CliRunner().invoke(app, ["reproduce", table, str(out), *map(str, words), *QUICK])


def table_rows(text: str) -> list[list[str]]:
    """The cells of every line of a table."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]


def test_table1_is_made_from_the_protocol_with_the_papers_figures_beside(
    casia: PreparedSet, tree: Path, start: Path, tmp_path: Path
) -> None:
    words = ("--casia", casia.root, "--casia-root", tree, "--start", start, "--fold", 2)
    done = call("table1", tmp_path, *words)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "table1.md").read_text()
    assert page in done.stdout
    assert "SYNTHETIC" not in page
    # The paper: six rows, grouped by method, two figures each.
    above, below = page.split("below this line stands what the paper does not print")
    heads, _, *rows = table_rows(above)
    assert heads == ["method", "trained", "tested", "rank-1, %", "paper", "VR@FAR 0.1 %, %", "paper"]
    assert [row[:3] for row in rows] == [
        [method, trained, tested]
        for method in ("plain training", "HSST")
        for trained, tested in (("non-masked", "non-masked"), ("non-masked", "masked"), ("masked", "masked"))
    ]
    figures = [("98.25", "97.74"), ("53.88", "42.36"), ("83.9", "77.23")]
    figures += [("99.3", "98.79"), ("67.52", "59.35"), ("93.6", "90.25")]
    assert [(row[4], row[6]) for row in rows] == figures
    assert all("[" in row[3] and "†" in row[5] for row in rows)
    # Below: VR at 1 % of the same rows, and the pairs that the paper leaves out.
    heads, _, *rest = table_rows(below)
    assert heads == ["test subjects of", "arm", "probes", "rank-1, %", "VR@FAR 1 %, %", "VR@FAR 0.1 %, %"]
    assert {row[0] for row in rest} == {"CASIA NIR-VIS 2.0"}
    whole = [row[1:3] for row in rest if row[3].strip()]
    states = [[f"{m} softmax, trained masked", "unmasked NIR"] for m in ("plain", "HSST")]
    assert len(rest) == 8
    assert whole == states

    assert "loop.iterations = 2 instead of 10000" in page
    assert "task.method.queue = 4 instead of 128" in page
    assert "backbone.side_px = 32 instead of 144" in page
    assert "trunk: its checkpoint does not say what it was pre-trained with" in page
    facts = json.loads((tmp_path / "table1.json").read_text())
    assert len(facts["results"]) == 4
    assert {result["fold"] for result in facts["results"]} == {"casia-view2-fold2"}
    trained = {result["arm"]: result["recipe"]["p_mask"] for result in facts["results"]}
    assert sorted(trained.values()) == [0.0, 0.0, 1.0, 1.0]
    assert trained["HSST softmax, trained masked"] == 1.0
    cell = facts["results"][0]["cells"][1]
    assert cell["masked"] is True
    assert cell["subjects"] == 4
    assert 0 <= cell["rank1"]["low"] <= cell["rank1"]["value"] <= cell["rank1"]["high"] <= 100
    # A log that is no terminal shows that training and evaluation go on.
    label = "4 of 4, HSST softmax, trained masked, casia-view2-fold2"
    assert f"{label}: training: 2 of 2, loss" in done.stderr
    assert f"{label}: evaluating on own test subjects: " in done.stderr

    other = call("table1", tmp_path, *words, "--seed", 1)
    assert other.exit_code == 2
    assert "finished otherwise (seed = 0 instead of 1)" in other.stderr


def test_fig4_has_the_deviations_over_folds_of_eight_arms(
    casia: PreparedSet, tree: Path, start: Path, tmp_path: Path
) -> None:
    """The paper, III.C: view 2, plain and HSST by four losses, mean and deviation of rank-1 and VR@1 %."""
    assert FIG4.folds == tuple(range(1, 11))
    words = ("--casia", casia.root, "--casia-root", tree, "--start", start, "--fold", 1, "--fold", 2)
    done = call("fig4", tmp_path, *words)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "fig4.png").read_bytes().startswith(b"\x89PNG")
    assert "not the paper's: 2 of its 10 folds" in done.stdout
    facts = json.loads((tmp_path / "fig4.json").read_text())
    arms = [(row["loss"], row["method"]) for row in facts["rows"]]
    losses = ("softmax", "AM", "Arc", "triplet")
    assert arms == [(loss, method) for loss in losses for method in ("plain training", "HSST")]
    for row in facts["rows"]:
        mine = [result for result in facts["results"] if result["arm"] == row["arm"]]
        assert [result["fold"] for result in mine] == ["casia-view2-fold1", "casia-view2-fold2"]
        assert all(result["recipe"]["p_mask"] == 1.0 for result in mine)
        rank1, vr = row["values"]
        assert (rank1["figure"], vr["figure"]) == ("rank-1", "VR@FAR 1 %")
        masked = [next(c for c in result["cells"] if c["masked"]) for result in mine]
        assert rank1["folds"] == [cell["rank1"]["value"] for cell in masked]
        assert rank1["mean"] == pytest.approx(np.mean(rank1["folds"]))
        assert rank1["std"] == pytest.approx(np.std(rank1["folds"]))
        assert vr["folds"] == [cell["vr"][0]["vr"]["value"] for cell in masked]
    (line,) = (row for row in table_rows(done.stdout) if row[:2] == ["triplet", "HSST"])
    assert " ± " in line[2]
    assert " ± " in line[3]


def test_departures_say_what_the_trunk_was_pre_trained_with(start: Path, tmp_path: Path) -> None:
    feed = {"p_mask": 0.3, "grey": 0.0}
    history = {"recipe": {"feed": feed, "distil": 0.0}, "set": "lfw-vis", "start": None}
    net = BACKBONE.build()
    save_encoder(tmp_path / "masked.pt", net, BACKBONE, history=history)
    assert trunk_departures(tmp_path / "masked.pt") == (
        "trunk: feed.p_mask = 0.3 instead of 0",
        "trunk: pre-trained on lfw-vis instead of MS1M-v1c",
    )
    paper = {"recipe": {"feed": {"p_mask": 0.0, "grey": 0.0}, "distil": 0.0}, "set": "ms1m", "start": None}
    save_encoder(tmp_path / "paper.pt", net, BACKBONE, history=paper)
    assert trunk_departures(tmp_path / "paper.pt") == ()
    assert trunk_departures(start) == ("trunk: its checkpoint does not say what it was pre-trained with",)


def test_evaluate_knows_the_folds_of_a_protocol(
    casia: PreparedSet, tree: Path, start: Path, tmp_path: Path
) -> None:
    words = ["evaluate", start, casia.root, "--dataset", "casia", "--root", tree, "--bootstraps", 10]
    chosen = ["--fold", 1, "--fold", 3, "--out", tmp_path, "--fmr", 0.01]
    done = CliRunner().invoke(app, [*map(str, words), *map(str, chosen)])
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "folds.json").read_text())
    assert [fold["fold"] for fold in facts["folds"]] == ["casia-view2-fold1", "casia-view2-fold3"]
    masked = [fold["conditions"][0] for fold in facts["folds"]]
    assert {cell["condition"] for cell in masked} == {"nir-masked"}
    rates = [cell["figures"]["rank1"]["value"] for cell in masked]
    assert facts["conditions"][0]["rank1"] == {"mean": np.mean(rates), "std": np.std(rates), "folds": 2}
    assert "casia-view2-fold3: embedding" in done.stderr
    assert f"{100 * np.mean(rates):.2f} ± {100 * np.std(rates):.2f}" in done.stdout
    unknown = CliRunner().invoke(app, [*map(str, words), "--fold", "11"])
    assert unknown.exit_code == 2
    assert "casia has 10 folds: there is no fold 11" in unknown.stderr


def test_a_bundle_is_a_start(fold1: PreparedSet, bundle_dir: Path, tmp_path: Path) -> None:
    words = ("--casia", fold1.root, "--start", bundle_dir, "--set", "loop.optimiser=adamw")
    done = call("table1", tmp_path, *words, "--arm", "HSST softmax, trained masked")
    assert done.exit_code == 0, done.output
    assert f"trunk: the embedder of the bundle {bundle_dir.name}" in done.stdout
    assert "backbone.kind = imported instead of mobilefacenet" in done.stdout


def test_a_set_of_another_crop_size_stops_before_any_training(fold1: PreparedSet, tmp_path: Path) -> None:
    other = BACKBONE.model_copy(update={"alignment": "arcface-144"})
    save_encoder(tmp_path / "start.pt", other.build(), other)
    done = call("table1", tmp_path / "out", "--casia", fold1.root, "--start", tmp_path / "start.pt")
    assert done.exit_code == 2, done.output
    assert "is aligned to arcface-112, the network wants arcface-144: prepare the set" in done.stderr
    assert not (tmp_path / "out").exists()


def test_finished_arms_are_not_run_again_and_folds_are_averaged(
    casia: PreparedSet, tree: Path, start: Path, tmp_path: Path
) -> None:
    words = ("--casia", casia.root, "--casia-root", tree, "--start", start)
    arm = ("--arm", "plain softmax, trained masked")
    assert call("table1", tmp_path, *words, *arm, "--fold", 1).exit_code == 0
    (finished,) = tmp_path.glob("*/*/result.json")
    stamp = finished.stat().st_mtime_ns
    both = call("table1", tmp_path, *words, *arm, "--fold", 1, "--fold", 2)
    assert both.exit_code == 0, both.output
    assert finished.stat().st_mtime_ns == stamp
    rates = [
        json.loads(path.read_text())["cells"][1]["rank1"]["value"]
        for path in sorted(tmp_path.glob("*/*/result.json"))
    ]
    (row,) = (row for row in table_rows(both.stdout) if row[:3] == ["plain training", "masked", "masked"])
    assert row[3:5] == [f"{np.mean(rates):.2f} ± {np.std(rates):.2f}", "83.9"]


def test_table2_evaluates_the_same_networks_on_other_data_sets(
    fold1: PreparedSet, tree: Path, start: Path, tmp_path: Path
) -> None:
    fold = load_casia(tree).folds()[1]
    oulu = make_set(tmp_path / "oulu", "oulu-strong-seed0", (*fold.gallery, *fold.probes), fold)
    words = ("--casia", fold1.root, "--start", start, "--oulu", oulu.root)
    done = call("table2", tmp_path / "out", *words, "--arm", "HSST AM", "--arm", "IDR", "--arm", "SST")
    assert done.exit_code == 0, done.output
    heads, _, *rows = table_rows(done.stdout)
    at = heads.index("Oulu-CASIA: VR@FAR 1 %, %")
    assert [row[0] for row in rows if len(row) == len(heads)] == ["IDR", "HSST AM"]
    (row,) = (row for row in rows if row[0] == "HSST AM")
    assert row[at + 1] == "91"
    assert "[" in row[at]
    assert row[at + 3] == "78.4"
    # SST is not in the paper, so it stands below.
    assert [row[1] for row in rows if row[0] == "Oulu-CASIA" and row[2] == "masked NIR"][-1] == "SST"
    assert "task.method.shared = 12 instead of 384" in done.stdout
    assert "backbone.kind = mobilefacenet instead of ir50" in done.stdout
    unknown = call("table2", tmp_path / "out", *words, "--arm", "HSST")
    assert unknown.exit_code == 2
    assert "no arm 'HSST'" in unknown.stderr


@pytest.mark.parametrize("table", ["table1", "fig4", "queue-sizes"])
def test_the_standin_is_synthetic_in_every_line_and_file(
    table: str, standin: PreparedSet, start: Path, tmp_path: Path
) -> None:
    done = call(table, tmp_path, "--standin", standin.root, "--trunk", start)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if set(line) - set("| -")]
    assert all("SYNTHETIC" in line for line in lines)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    tables = {path.name for path in made if path.parent == tmp_path}
    assert tables == {f"SYNTHETIC-{table}.{e}" for e in (["md", "json"] + ["png"] * (table != "table1"))}
    assert all("synthetic" in str(path.relative_to(tmp_path)).lower() for path in made)
    texts = {path: path.read_text() for path in made if path.suffix in (".md", ".json", ".jsonl")}
    for path, text in (*texts.items(), (tmp_path, done.output)):
        assert not [name for name in ("casia", "oulu", "buaa") if name in text.lower()], path
        assert not [figure for figure in ("98.25", "53.88", "93.6", "90.25") if figure in text], path
    for path in made:
        if path.name in ("result.json", f"SYNTHETIC-{table}.json"):
            assert json.loads(path.read_text())["synthetic"] is True
    if table != "table1":
        assert (tmp_path / f"SYNTHETIC-{table}.png").read_bytes().startswith(b"\x89PNG")
    if table == "queue-sizes":
        assert [k for k in (2, 4, 6, 8) if f"K = {k} " in done.stdout] == [2, 4, 6]


def test_a_set_that_is_not_what_its_option_says_is_refused(
    casia: PreparedSet,
    fold1: PreparedSet,
    standin: PreparedSet,
    tree: Path,
    start: Path,
    tmp_path: Path,
) -> None:
    for words, told in (
        (("--casia", standin.root, "--start", start), "stripes is another data set"),
        (("--standin", fold1.root, "--trunk", start), "comes from a generator"),
        (("--standin", standin.root, "--trunk", start, "--casia", fold1.root), "never share a table"),
        (("--casia", casia.root, "--start", start), "no split in its rows"),
        (("--casia", fold1.root), "needs --start"),
        (("--casia", casia.root, "--casia-root", tree, "--start", start, "--fold", 11), "no fold 11"),
        ((), "give --casia SET --start CHECKPOINT, or --standin SET --trunk FILE"),
        (("--casia", fold1.root, "--start", start, "--fold", 2), "--casia-root"),
        (("--casia", fold1.root, "--start", start, "--oulu", fold1.root), "--oulu: "),
    ):
        done = call("table1", tmp_path, *words)
        assert done.exit_code == 2, done.output
        assert told in done.stderr.replace("\n", " ")
    assert not any(tmp_path.iterdir())


def test_every_arm_has_the_figures_that_the_paper_prints() -> None:
    """The paper, Tables I and II: the claim is 83.9 -> 93.6, and every arm of Table II has seven figures."""
    masked = {arm.name: p for arm in TABLE1.arms for p in arm.paper if p.masked}
    assert masked["plain softmax, trained masked"].rank1 == 83.9
    assert masked["HSST softmax, trained masked"].rank1 == 93.6
    printed = [arm for arm in TABLE2.arms if arm.paper]
    assert len(printed) == 10
    assert all([p.on for p in arm.paper] == list(On) for arm in printed)
    for arm in (*TABLE1.arms, *TABLE2.arms, *FIG4.arms):
        assert load_recipe(arm.recipe, arm.changes).loop.iterations == 10_000
