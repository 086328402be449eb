"""The table over HTTP: its figures equal those of the evaluation; its verdicts; two bundles end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.table.__main__ import table
from benchmarks.table.answers import Answer, Answers
from benchmarks.table.figures import bootstrap_weights, fmr_at, rank1, scored, tar_at, tar_with
from benchmarks.table.probes import Probe, ProbeFile
from benchmarks.table.report import percent
from benchmarks.table.rows import Rate, Threshold
from faces.rates.intervals import Interval
from faces.rates.rank1 import counts_at_rank, success_rate
from faces.rates.scores import Comparison, Side
from faces.types import Spectrum
from training.evaluation.verification import PairScores
from training.synthesis.rendered.family import render_family
from training.synthesis.rendered.model import load_model
from training.synthesis.rendered.pictures import Views

SUBJECTS, PHOTOS, SIZE = 90, 2, 32


def probe(subject: int, photo: int) -> Probe:
    made = ProbeFile(spectrum=Spectrum.NIR, masked=True, file="f")
    return Probe(f"s{subject}", "LFW test", f"{subject}/{photo}", made)


def unit(rows: np.ndarray) -> np.ndarray:
    done: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return done


class Case:
    """Templates of faces, and the answers of a service with them: the same scores in two forms.

    Subject 0 could not be enrolled; the first photo of subject 1 shows no face.
    """

    def __init__(self, top_k: int) -> None:
        rng = np.random.default_rng(3)
        faces = rng.standard_normal((SUBJECTS, SIZE))
        references = unit(faces + 0.8 * rng.standard_normal(faces.shape))
        own = np.repeat(np.arange(SUBJECTS), PHOTOS)
        templates = unit(faces[own] + 1.2 * rng.standard_normal((len(own), SIZE)))
        self.names = [f"s{i}" for i in range(SUBJECTS)]
        self.probes = [probe(i // PHOTOS, i % PHOTOS) for i in range(len(own))]
        failed = own * PHOTOS == 2
        failed[3] = False
        answers = {}
        for i, one in enumerate(self.probes):
            scores = {f"s{j}": float(references[j] @ templates[i]) for j in range(1, SUBJECTS)}
            best = dict(sorted(scores.items(), key=lambda item: -item[1])[:top_k])
            answer = Answer(key=one.key, found=True, threshold=0.5, scores=best)
            answers[one.key] = Answer(key=one.key, found=False) if failed[i] else answer
        self.answers = Answers(answers, frozenset({"s0"}))
        kept = ~failed
        self.comparison = Comparison(
            Side(
                templates[kept],
                own[kept].astype(np.int64),
                tuple(f"p{i}" for i in np.flatnonzero(kept)),
                own[failed].astype(np.int64),
            ),
            Side(
                references[1:],
                np.arange(1, SUBJECTS),
                tuple(f"r{i}" for i in range(1, SUBJECTS)),
                np.array([0]),
            ),
        )


def test_figures_equal_those_of_the_evaluation_on_the_same_scores() -> None:
    case = Case(SUBJECTS)
    assert rank1(case.probes, case.answers, case.names).rate == counts_at_rank(case.comparison).rate
    mine = success_rate(rank1(case.probes, case.answers, case.names))
    assert mine == success_rate(counts_at_rank(case.comparison))
    data = scored(case.probes, case.answers, case.names)
    made = tar_at(data, 0.01, bootstrap_weights(SUBJECTS, bootstraps=200))
    (theirs,) = PairScores(case.comparison).measure([0.01], bootstraps=200)
    assert made.exact
    for part in ("value", "low", "high"):
        assert getattr(made.interval, part) == pytest.approx(getattr(theirs.tar, part))
    assert 0.1 < made.value < 0.95


def test_the_listed_candidates_decide_a_strict_threshold_and_a_loose_one_is_marked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.table.answers.TOP_K", 30)
    draws = bootstrap_weights(SUBJECTS, bootstraps=100)
    whole = scored((case := Case(SUBJECTS)).probes, case.answers, case.names)
    cut = scored((few := Case(30)).probes, few.answers, few.names)
    for got, want in (
        (tar_at(cut, 0.005, draws), tar_at(whole, 0.005, draws)),
        (fmr_at(cut, 0.45, draws), fmr_at(whole, 0.45, draws)),
        (tar_with(cut, 0.45, draws), tar_with(whole, 0.45, draws)),
    ):
        assert got.exact
        assert got.interval == want.interval
    assert not fmr_at(cut, 0.0, draws).exact
    assert not tar_at(cut, 0.45, draws).exact


def test_a_tie_is_a_miss_and_failures_stay_in_the_denominator() -> None:
    answers = Answers(
        {
            probe(0, 1).key: Answer(key="", found=True, scores={"s0": 0.7, "s1": 0.7}),
            probe(0, 2).key: Answer(key="", found=True, scores={"s0": 0.7, "s1": 0.6}),
            probe(1, 1).key: Answer(key="", found=False),
        },
        frozenset(),
    )
    hits = rank1([probe(0, 1), probe(0, 2), probe(1, 1), probe(1, 2)], answers, ["s0", "s1"])
    assert (hits.successes.tolist(), hits.probes.tolist()) == ([1, 0], [2, 2])


def test_fmr_counts_only_comparisons_that_were_made() -> None:
    case = Case(SUBJECTS)
    data = scored(case.probes, case.answers, case.names)
    made = fmr_at(data, 0.3, bootstrap_weights(SUBJECTS, bootstraps=50))
    scores, mated = case.comparison.scores, case.comparison.mated
    assert made.value == pytest.approx(float(np.mean(scores[~mated] >= 0.3)), abs=1e-6)
    served = fmr_at(data, None, bootstrap_weights(SUBJECTS, bootstraps=50))
    assert served.value == pytest.approx(float(np.mean(scores[~mated] >= 0.5)), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "low", "high", "exact", "verdict"),
    [
        (0.0010, 0.0006, 0.0015, True, "yes"),
        (0.0004, 0.0002, 0.0008, True, "yes, stricter than it says"),
        (0.0016, 0.0011, 0.0022, True, "no, but its interval reaches into it"),
        (0.0030, 0.0020, 0.0042, True, "no"),
        (0.0010, 0.0006, 0.0015, False, "not settled by the hundred best"),
    ],
)
def test_the_verdict_compares_the_observed_fmr_with_the_stated_bound(
    value: float, low: float, high: float, exact: bool, verdict: str
) -> None:
    rate = Rate(Interval(value, low, high), exact=exact)
    point = Threshold("nir-masked", 1e-3, 0.3, 358, 0.0013, rate, rate, rate)
    assert point.verdict == verdict


def test_an_undecided_figure_is_marked_with_a_star() -> None:
    assert percent(Rate(Interval(0.5, 0.4, 0.6))) == "50.0 [40.0, 60.0]"
    assert percent(Rate(Interval(0.5, 0.4, 0.6), exact=False)) == "50.0 [40.0, 60.0] *"


@pytest.mark.realdata
@pytest.mark.slow
def test_two_bundles_get_the_same_probes_and_each_is_asked_once(
    shared: Path, bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()
    app.command()(table)
    asked = [str(tmp_path), str(bundle_dir), str(bundle_dir), "--models", str(shared / "models")]
    asked += ["--detector", str(bundle_dir), "--subjects", "3", "--of-each", "1", "--masked", "2"]
    asked += ["--probes", "1", "--group-probes", "1", "--workers", "1"]
    model = load_model(shared / "data" / "ict_facekit")
    views = Views(vis=1, nir=0, nir_masked=1)
    drawn = tmp_path / "rendered"
    render_family(drawn, model, subjects=2, seed=3, split="test", views=views, workers=1)
    asked += ["--rendered", str(drawn)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    first, second = json.loads((tmp_path / "table.json").read_bytes())["bundles"]
    assert [row["probes"] for row in first["conditions"]] == [3, 3, 3, 3]
    assert first["conditions"][0]["rank1"]["rate"]["value"] == 1.0
    assert {row["group"] for row in first["groups"]} == {"asian", "south_asian", "london_mixed"}
    further = {(row["people"], row["condition"]): row for row in first["further"]}
    assert set(further) == {
        ("real masks", "vis-masked"),
        ("real masks", "nir-masked"),
        ("rendered", "nir-masked"),
    }
    assert further["rendered", "nir-masked"]["probes"] == further["rendered", "nir-masked"]["references"] == 2
    assert further["real masks", "vis-masked"]["references"] == 6
    assert further["real masks", "vis-masked"]["probes"] == further["real masks", "nir-masked"]["probes"] >= 3
    assert all(
        row["rank1"]["minus"] == {"value": 0.0, "low": 0.0, "high": 0.0} for row in second["conditions"]
    )
    assert "too few to say" in done.stdout
    (tmp_path / "table.json").unlink()
    monkeypatch.setattr("benchmarks.table.answers.Served", None)
    again = CliRunner().invoke(app, asked)
    assert again.exit_code == 0, "a bundle that was asked is not asked again"
    assert (tmp_path / "table.json").is_file()
