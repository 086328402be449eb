"""Plans of the paper's tables and figure, and the stand-in, on a generated tree at toy length."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from typer.testing import Result as Called

from faces.types import Pixels, Spectrum
from tests.training.data.trees import buaa_tree, casia_tree, oulu_tree
from training.__main__ import app
from training.data.buaa import load_buaa
from training.data.casia import load_casia
from training.data.loaded import NO_PLACE, Place, places_of
from training.data.oulu import load_oulu
from training.data.prepared import PreparedSet, Row, SetInfo
from training.data.records import Fold, Sample
from training.data.set_writer import SetWriter
from training.finetune.recipe import load_recipe
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.research.compare.grid import at_best_rate, best_rates
from training.research.compare.plan import PLANS, load_plan, plan_names
from training.research.compare.printed import differences_of
from training.research.compare.result import Found, Result, read_result, results_in
from training.research.compare.tables import lines_of
from training.research.compare.trunk import trunk_departures
from training.synthesis.assets import CHECKOUT

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


def call(plan: str, data: Path, out: Path, *words: object) -> Called:
    return CliRunner().invoke(app, ["compare", plan, str(data), str(out), *map(str, words), *QUICK])


def table_rows(text: str) -> list[list[str]]:
    """The cells of every line of a table."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]


def test_table1_is_made_from_the_protocol_with_the_papers_figures_beside(
    casia: PreparedSet, tree: Path, start: Path, tmp_path: Path
) -> None:
    words = ("--root", tree, "--start", start, "--fold", 2)
    done = call("table1", casia.root, tmp_path, *words)
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
    papers = [("98.25", "97.74"), ("53.88", "42.36"), ("83.9", "77.23")]
    papers += [("99.3", "98.79"), ("67.52", "59.35"), ("93.6", "90.25")]
    assert [(row[4], row[6]) for row in rows] == papers
    assert all("[" in row[3] and "†" in row[5] for row in rows)
    # Below: VR at 1 % of the same rows, and the pairs that the paper leaves out.
    heads, _, *rest = table_rows(below)
    figures = ["rank-1, %", "VR@FAR 1 %, %", "VR@FAR 0.1 %, %"]
    assert heads == ["test subjects of", "arm", "lr", "seeds", "probes", *figures]
    gains = [row for row in rest if row[2].startswith("plain")]
    rest = rest[:8]
    assert {row[0] for row in rest} == {"CASIA NIR-VIS 2.0"}
    assert {tuple(row[2:4]) for row in rest} == {("0.0005", "1")}
    whole = [[row[1], row[4]] for row in rest if row[5].strip()]
    assert whole == [[f"{m} softmax, trained masked", "unmasked NIR"] for m in ("plain", "HSST")]
    # HSST minus plain, with its paired interval.
    assert [row[1:4] for row in gains] == [
        [f"HSST softmax, trained {s}", f"plain softmax, trained {s}", f"{probes} NIR"]
        for s in ("masked", "unmasked")
        for probes in ("masked", "unmasked")
    ]
    assert all(row[4][0] in "+-" and "[" in row[4] for row in gains)

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
    cell = facts["results"][0]["found"]["own"]["nir-masked"]
    assert len(cell["hits"]) == len(cell["probes"]) == 4
    assert cell["rank1"] == pytest.approx(100 * sum(cell["hits"]) / sum(cell["probes"]), abs=1e-3)
    assert 0 <= cell["vr"][0]["vr"]["low"] <= cell["vr"][0]["vr"]["value"] <= 100
    # A log that is no terminal shows that training and evaluation go on.
    label = "4 of 4, HSST softmax, trained masked, casia-view2-fold2, seed 0"
    assert f"{label}: training: 2 of 2, loss" in done.stderr
    assert f"{label}: evaluating on own: " in done.stderr

    other = call("table1", casia.root, tmp_path, *words, "--set", "loop.momentum=0.5")
    assert other.exit_code == 2
    assert "finished otherwise (loop.momentum = 0.9 instead of 0.5)" in other.stderr


def test_fig4_has_the_deviations_over_folds_of_eight_arms(
    casia: PreparedSet, tree: Path, start: Path, tmp_path: Path
) -> None:
    """The paper, III.C: view 2, plain and HSST by four losses, mean and deviation of rank-1 and VR@1 %."""
    assert load_plan("fig4").file.folds == tuple(range(1, 11))
    words = ("--root", tree, "--start", start, "--fold", 1, "--fold", 2)
    done = call("fig4", casia.root, tmp_path, *words)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "fig4.png").read_bytes().startswith(b"\x89PNG")
    assert "not the plan's: 2 of its 10 folds" in done.stdout
    facts = json.loads((tmp_path / "fig4.json").read_text())
    arms = [(row["loss"], row["method"]) for row in facts["rows"]]
    losses = ("softmax", "am", "arc", "triplet")
    assert arms == [(loss, method) for loss in losses for method in ("plain training", "HSST")]
    for row in facts["rows"]:
        mine = [result for result in facts["results"] if result["arm"] == row["arm"]]
        assert [result["fold"] for result in mine] == ["casia-view2-fold1", "casia-view2-fold2"]
        assert all(result["recipe"]["p_mask"] == 1.0 for result in mine)
        rank1, vr = row["values"]
        assert (rank1["figure"], vr["figure"]) == ("rank-1", "VR@FAR 1 %")
        masked = [result["found"]["own"]["nir-masked"] for result in mine]
        assert rank1["folds"] == pytest.approx([cell["rank1"] for cell in masked], abs=1e-3)
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
    assert trunk_departures(tmp_path / "masked.pt", "pretrain-paper") == (
        "trunk: feed.p_mask = 0.3 instead of 0",
        "trunk: pre-trained on lfw-vis instead of MS1M-v1c",
    )
    paper = {"recipe": {"feed": {"p_mask": 0.0, "grey": 0.0}, "distil": 0.0}, "set": "ms1m", "start": None}
    save_encoder(tmp_path / "paper.pt", net, BACKBONE, history=paper)
    assert trunk_departures(tmp_path / "paper.pt", "pretrain-paper") == ()
    unsaid = ("trunk: its checkpoint does not say what it was pre-trained with",)
    assert trunk_departures(start, "pretrain-paper") == unsaid


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
    words = ("--start", bundle_dir, "--set", "loop.optimiser=adamw")
    done = call("table1", fold1.root, tmp_path, *words, "--arm", "HSST softmax, trained masked")
    assert done.exit_code == 0, done.output
    assert f"trunk: the embedder of the bundle {bundle_dir.name}" in done.stdout
    assert "backbone.kind = imported instead of mobilefacenet" in done.stdout


def test_a_set_of_another_crop_size_stops_before_any_training(fold1: PreparedSet, tmp_path: Path) -> None:
    other = BACKBONE.model_copy(update={"alignment": "arcface-144"})
    save_encoder(tmp_path / "start.pt", other.build(), other)
    done = call("table1", fold1.root, tmp_path / "out", "--start", tmp_path / "start.pt")
    assert done.exit_code == 2, done.output
    assert "is aligned to arcface-112, the network wants arcface-144: prepare the set" in done.stderr
    assert not (tmp_path / "out").exists()


def test_finished_arms_are_not_run_again_and_folds_are_averaged(
    casia: PreparedSet, tree: Path, start: Path, tmp_path: Path
) -> None:
    words = ("--root", tree, "--start", start, "--arm", "plain softmax, trained masked")
    assert call("table1", casia.root, tmp_path, *words, "--fold", 1).exit_code == 0
    (finished,) = tmp_path.rglob("result.json")
    stamp = finished.stat().st_mtime_ns
    both = call("table1", casia.root, tmp_path, *words, "--fold", 1, "--fold", 2)
    assert both.exit_code == 0, both.output
    assert finished.stat().st_mtime_ns == stamp
    rates = [result.found["own"]["nir-masked"].rank1 for result in results_in(tmp_path)]
    (row,) = (row for row in table_rows(both.stdout) if row[:3] == ["plain training", "masked", "masked"])
    assert row[3:5] == [f"{np.mean(rates):.2f} ± {np.std(rates):.2f}", "83.9"]
    # The table alone needs neither the set nor the start.
    alone = CliRunner().invoke(app, ["compare", "table1", "-", str(tmp_path), "--only-table"])
    assert alone.exit_code == 0, alone.output
    assert row in table_rows(alone.stdout)


def few(fold: Fold) -> Fold:
    """Four test subjects of a fold with two pictures of each spectrum."""
    kept = sorted({sample.subject for sample in fold.gallery})[:4]
    gallery, probes = (
        tuple(sample for name in kept for sample in [s for s in side if s.subject == name][:2])
        for side in (fold.gallery, fold.probes)
    )
    return Fold(fold.name, (), gallery, probes)


def test_table2_evaluates_the_same_networks_on_other_data_sets(
    fold1: PreparedSet, start: Path, tmp_path: Path
) -> None:
    oulu_tree(tmp_path / "tree-oulu", subjects=80, frames=8)
    buaa_tree(tmp_path / "tree-buaa")
    loaded = {"oulu": load_oulu(tmp_path / "tree-oulu"), "buaa": load_buaa(tmp_path / "tree-buaa")}
    others = {}
    for name, source in loaded.items():
        fold = few(source.folds()[0])
        others[name] = make_set(tmp_path / name, fold.name, (*fold.gallery, *fold.probes), fold)
    words = ("--start", start, "--test", f"oulu={others['oulu'].root}")
    done = call("table2", fold1.root, tmp_path / "out", *words)
    assert done.exit_code == 0, done.output
    heads, _, *rows = table_rows(done.stdout)
    mine = [row for row in rows if len(row) == len(heads)]
    names = ["softmax", "AM-softmax", "Arc-softmax", "Triplet", "IDR", "W-CNN"]
    names += [f"HSST ({loss})" for loss in names[:4]]
    assert [row[0] for row in mine] == names
    at = heads.index("Oulu-CASIA: VR@FAR 1 %, %")
    (row,) = (row for row in mine if row[0] == "HSST (AM-softmax)")
    assert row[at + 1] == "91"
    assert "[" in row[at]
    assert row[at + 3] == "78.4"
    # What the paper lacks stands below: five arms more, and rank-1 of Oulu-CASIA.
    below = [row[1] for row in rows if row[0] == "Oulu-CASIA" and row[4] == "masked NIR"]
    assert below[-5:] == ["plain+ softmax", "plain+ am", "plain+ arc", "SST", "in-batch"]
    assert "task.method.shared = 12 instead of 384" in done.stdout
    assert "backbone.kind = mobilefacenet instead of ir50" in done.stdout
    # A test set that comes later is evaluated by the finished networks.
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("encoder.pt")}
    assert len(stamps) == 15
    later = call("table2", fold1.root, tmp_path / "out", *words, "--test", f"buaa={others['buaa'].root}")
    assert later.exit_code == 0, later.output
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    (row,) = (row for row in table_rows(later.stdout) if row[0] == "HSST (AM-softmax)")
    assert all("[" in row[i] for i in range(1, 15, 2))
    unknown = call("table2", fold1.root, tmp_path / "out", *words, "--arm", "HSST")
    assert unknown.exit_code == 2
    assert "no arm 'HSST'" in unknown.stderr


@pytest.mark.parametrize("table", ["table1", "fig4", "queue-sizes"])
def test_the_standin_is_synthetic_in_every_line_and_file(
    table: str, standin: PreparedSet, start: Path, tmp_path: Path
) -> None:
    arms = [f"HSST softmax, {k} batch{'es' * (k > 1)}" for k in (1, 2, 3)] * (table == "queue-sizes")
    words = [word for arm in arms for word in ("--arm", arm)]
    done = call(table, standin.root, tmp_path, "--start", start, *words)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if set(line) - set("| -")]
    assert all("SYNTHETIC" in line for line in lines)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    tables = {path.name for path in made if path.parent == tmp_path}
    assert tables == {f"SYNTHETIC-{table}.{e}" for e in (["md", "json"] + ["png"] * (table != "table1"))}
    runs = [path for path in made if path.parent != tmp_path and path.parent.name != "cache"]
    assert all("synthetic" in str(path.relative_to(tmp_path)) for path in runs)
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
        more = call(table, standin.root, tmp_path / "more", "--start", start)
        assert more.exit_code == 2
        assert "6 training subjects do not fill a batch of 2 or a queue of 8" in more.stderr
        assert not (tmp_path / "more").exists()


def test_a_set_that_is_not_what_its_option_says_is_refused(
    casia: PreparedSet,
    fold1: PreparedSet,
    standin: PreparedSet,
    tree: Path,
    start: Path,
    tmp_path: Path,
) -> None:
    real, made = ("--start", start), standin.root
    for data, words, told in (
        (fold1.root, (*real, "--test", f"oulu={made}"), "they never share a table"),
        (casia.root, real, "no split in its rows"),
        (fold1.root, (), "give --start"),
        (fold1.root, (*real, "--fold", 2), "--root"),
        (fold1.root, (*real, "--test", f"oulu={fold1.root}"), "oulu: casia-view2-fold1 is another data set"),
        (fold1.root, (*real, "--test", "oulu"), "expected NAME=SET, as"),
        (casia.root, (*real, "--root", tree, "--fold", 11), "no fold 11"),
        (fold1.root, (*real, "--lr", 0.1, "--lr", 0.01), "has no row of role"),
    ):
        done = call("table2", data, tmp_path / "out", *words)
        assert done.exit_code == 2, done.output
        assert told in done.stderr.replace("\n", " ")
    unknown = call("table3", fold1.root, tmp_path / "out", *real)
    assert (
        "table3.toml: no such plan; there are: fair-alike, fair-casia, fair-strong, fig4, queue-sizes,"
        in unknown.stderr
    )
    assert not any(tmp_path.iterdir())


def test_every_row_has_the_figures_that_the_paper_prints() -> None:
    """The paper, Tables I and II: the claim is 83.9 -> 93.6, and every row of Table II has seven figures."""
    rows = {row.labels: row.paper for row in load_plan("table1").rows}
    assert rows["plain training", "masked", "masked"] == (83.9, 77.23)
    assert rows["HSST", "masked", "masked"] == (93.6, 90.25)
    assert len(rows) == 6
    assert [len(row.paper) for row in load_plan("table2").rows] == [7] * 10
    for name in plan_names():
        plan = load_plan(name)
        for arm in plan.arms:
            if arm.recipe is not None:
                recipe = load_recipe(arm.recipe, (*plan.file.set, *arm.changes))
                assert recipe.loop.iterations == 10_000, arm.name


def test_the_standins_arms_are_all_baselines_methods_and_controls() -> None:
    names = {arm.name for arm in load_plan("standin").arms}
    assert {"zero-shot", "grey-only", "IDR", "W-CNN", "SST", "in-batch"} <= names
    losses = ("softmax", "am", "arc", "triplet")
    assert {f"{kind} {loss}" for kind in ("plain", "HSST") for loss in losses} <= names
    assert {f"HSST softmax, {mode} BN" for mode in ("joint", "frozen", "dsbn")} <= names
    # As many as in the committed series: the start, and 18 arms in each of four modes.
    assert len(names) == 1 + 4 * 18


def standin_set(root: Path) -> PreparedSet:
    """Stripes of pseudo-NIR and their VIS photos of the same source, in three splits."""
    info = SetInfo(name="stripes", alignment="arcface-112", side_px=SIDE_PX, made_by="a test")
    writer, rng = SetWriter(root, info), np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        for number in range(count):
            for photo in range(3):
                for spectrum, masked in ((Spectrum.VIS, False), (Spectrum.NIR, False), (Spectrum.NIR, True)):
                    nir, first = spectrum is Spectrum.NIR, photo == 0
                    if split != "train" and nir == first:
                        continue
                    row = Row(
                        source=f"{split}{number}/{photo}",
                        subject=f"{split}{number}",
                        spectrum=spectrum,
                        masked=masked,
                        split=split,
                        role="none" if split == "train" else "probe" if nir else "gallery",
                        generator="a generator" if nir else None,
                    )
                    writer.add(row, picture(row.subject, rng))
    return writer.close()


def test_the_standin_chooses_rates_on_validation_and_compares_seeds(start: Path, tmp_path: Path) -> None:
    made = standin_set(tmp_path / "set")
    arms = ("zero-shot", "plain softmax", "plain+ softmax", "HSST softmax", "grey-only")
    words = [word for arm in arms for word in ("--arm", arm)]
    plain = [*words, "--seed", "0", "--seed", "1", "--lr", "0.001", "--lr", "0.01"]
    out, short = tmp_path / "out", ("--iterations", "2", "--batch", "4")
    done = CliRunner().invoke(
        app,
        ["compare", "standin", str(made.root), str(out), "--start", str(start), *plain, *short],
    )
    # The plan's queues of 128 columns do not fit eight subjects, which is found before any work.
    assert done.exit_code == 2
    assert "HSST softmax: 8 training subjects do not fill" in done.stderr
    assert not out.exists()
    small = tmp_path / "small.toml"
    text = (PLANS / "standin.toml").read_text()
    small.write_text(text.replace("queue = 128", "queue = 4"))
    words = ["compare", str(small), str(made.root), str(out), "--start", str(start), *plain, *short]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    results = list(results_in(out))
    assert len(results) == 1 + 4 * (2 + 1)
    assert all("validation" in r.found for r in results if r.recipe is not None)
    best = best_rates(results)
    for arm in arms[1:]:
        rates = {r.lr: r.found["validation"] for r in results if r.arm == arm and r.seed == 0}
        means = {lr: np.mean([one.rank1 for one in found.values()]) for lr, found in rates.items()}
        assert means[best[arm]] == max(means.values())
        assert [r.lr for r in results if r.arm == arm and r.seed == 1] == [best[arm]]
    rows = table_rows(done.stdout)
    assert {row[0] for row in rows[2:] if row[0] != "---"} <= {
        "SYNTHETIC test",
        "SYNTHETIC own test subjects",
        "SYNTHETIC",
    }
    gains = [row for row in rows if row[2] == "HSST softmax"]
    assert [row[3] for row in gains] == ["plain softmax"] * 2 + ["plain+ softmax"] * 2
    # The control never learns from near-infrared: its recipe says so.
    (grey,) = (r for r in results if r.arm == "grey-only" and r.seed == 1)
    assert grey.recipe is not None
    assert grey.recipe["grey_probes"] is True
    again = CliRunner().invoke(app, words)
    assert again.stdout == done.stdout


FAIR = {
    "fair-alike": ("plain softmax", "plain+ softmax", "HSST softmax", "HSST am"),
    "fair-strong": ("plain arc, frozen BN", "plain+ arc, frozen BN", "HSST arc, frozen BN"),
    "fair-casia": ("plain arc", "plain+ arc", "HSST arc"),
}


@pytest.mark.parametrize("name", FAIR)
def test_the_plans_that_are_written_before_their_runs_can_be_run(
    name: str, start: Path, tmp_path: Path
) -> None:
    made, alike = standin_set(tmp_path / "set"), standin_set(tmp_path / "alike")
    small = tmp_path / f"{name}.toml"
    small.write_text((PLANS / f"{name}.toml").read_text().replace("queue = 128", "queue = 4"))
    arms = ("zero-shot", *FAIR[name])
    words = ["compare", str(small), str(made.root), str(tmp_path / "out"), "--start", str(start)]
    words += [word for arm in arms for word in ("--arm", arm)]
    words += ["--iterations", "2", "--batch", "4", "--seed", "0", "--bootstraps", "10"]
    words += ["--test", f"alike={alike.root}"] if name != "fair-casia" else ["--lr", "0.001"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert {result.arm for result in results_in(tmp_path / "out")} == set(arms)
    tests = {test for result in results_in(tmp_path / "out") for test in result.found} - {"validation"}
    assert tests == ({"own", "alike"} if name != "fair-casia" else {"own"})


def test_the_plans_compare_hsst_with_both_baselines_at_what_the_paper_or_validation_chose() -> None:
    alike = load_plan("fair-alike")
    losses = ("softmax", "am", "arc", "triplet")
    wanted = {(f"HSST {loss}", f"plain {loss}") for loss in losses}
    wanted |= {(f"HSST {loss}", f"plain+ {loss}") for loss in losses[:3]}
    assert set(alike.differences) == wanted
    # The rates of the first committed series.
    rates = {arm.name: arm.changes[-1] for arm in alike.arms if arm.recipe is not None}
    assert {name for name, rate in rates.items() if rate == "loop.lr=1e-3"} == {
        "plain+ softmax",
        "plain+ am",
        "plain+ arc",
        "HSST am",
    }
    assert set(rates.values()) == {"loop.lr=1e-3", "loop.lr=3e-3"}
    strong = load_plan("fair-strong")
    assert set(strong.differences) == {
        (f"{a}, frozen BN", f"{b}, frozen BN") for a, b in wanted if a.split()[1] in ("softmax", "arc")
    }
    assert "task.distil=0.0" in strong.file.set
    casia = load_plan("fair-casia")
    assert (casia.file.iterations, casia.file.batch, casia.file.queue) == (4000, 64, 128)
    assert [plan.file.seeds for plan in (alike, strong, casia)] == [(0, 1, 2), (0,), (0,)]
    chosen = {arm.name: arm.changes[-1] for arm in casia.arms if arm.recipe is not None}
    assert chosen == {name: rates[name] for name in chosen}


@pytest.mark.slow
def test_two_processes_find_what_one_finds(start: Path, tmp_path: Path) -> None:
    made = standin_set(tmp_path / "set")
    words = ["--start", str(start), "--arm", "zero-shot", "--arm", "plain+ softmax", "--seed", "0"]
    words += ["--lr", "0.001", "--lr", "0.01", "--iterations", "2", "--batch", "4"]
    pages = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        done = CliRunner().invoke(
            app, ["compare", "standin", str(made.root), str(out), *words, "--workers", workers]
        )
        assert done.exit_code == 0, done.output
        pages.append((out / "SYNTHETIC-standin.md").read_text())
    assert pages[0] == pages[1]


def result_of(arm: str, lr: float, seed: int, hits: tuple[int, int], validation: float) -> Result:
    """A finished run: two subjects with two probes each, equal in both conditions."""
    tried = Found(hits=hits, probes=(2, 2), rank1=25.0 * sum(hits))
    conditions = ("nir-masked", "nir-unmasked")
    found = {
        "validation": {name: tried.model_copy(update={"rank1": validation}) for name in conditions},
        "own": dict.fromkeys(conditions, tried),
    }
    return Result(arm=arm, fold="one", lr=lr, seed=seed, found=found)


def test_rates_are_compared_on_the_seeds_that_all_of_them_have() -> None:
    runs = [
        result_of("HSST am", 0.1, 0, (2, 2), 50.0),
        result_of("HSST am", 0.01, 0, (0, 0), 60.0),
        result_of("HSST am", 0.1, 1, (1, 1), 90.0),
    ]
    assert best_rates(runs) == {"HSST am": 0.01}
    assert [run.lr for run in at_best_rate(runs)] == [0.01]


def test_differences_are_paired_over_subjects_and_seeds() -> None:
    plan = load_plan("standin")
    runs = [result_of("plain+ am", 0.1, seed, (0, 1), 1.0) for seed in (0, 1)]
    runs += [result_of("HSST am", 0.1, seed, (1, 2), 1.0) for seed in (0, 1)]
    (masked, unmasked) = differences_of(plan, runs, ["own"])
    assert (masked.arm, masked.minus, masked.masked) == ("HSST am", "plain+ am", True)
    # Each subject gains one of two probes under both systems' same draw: no spread is left.
    assert (masked.gain.value, masked.gain.low, masked.gain.high) == pytest.approx((50.0, 50.0, 50.0))
    assert unmasked.gain == masked.gain
    assert any("+50.0 [+50.0, +50.0]" in line for line in lines_of(plan, runs))


def test_the_committed_series_can_still_be_read(tmp_path: Path) -> None:
    """Two runs of benchmarks/standin-runs-2.tar.gz, whose files say `test` and have no fold."""
    with tarfile.open(CHECKOUT / "benchmarks" / "standin-runs-2.tar.gz") as archive:
        members = [m for m in archive if m.name.split("/")[0].split(",")[0] in ("HSST_am", "plain+_am")]
        archive.extractall(tmp_path, members, filter="data")
    found = [read_result(path) for path in tmp_path.rglob("result.json")]
    assert found
    assert all(one is not None and one.of("own", masked=True) is not None for one in found)
    done = CliRunner().invoke(app, ["compare", "standin", "-", str(tmp_path), "--only-table"])
    assert done.exit_code == 0, done.output
    # As docs/history/standin-second-series.md has it.
    (row,) = (r for r in table_rows(done.stdout) if r[2] == "HSST am, joint BN" and r[4] == "masked NIR")
    assert row[3] == "plain+ am, joint BN"
    assert row[5] == "-1.3 [-2.8, +0.2]"
    assert (tmp_path / "SYNTHETIC-standin.md").is_file()
