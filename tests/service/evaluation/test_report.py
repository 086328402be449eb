"""The report is one page that loads nothing, and names from outside cannot become markup."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from pathlib import Path

from faces.types import Role
from service.evaluation.charts import det_chart, histogram_chart
from service.evaluation.figures import DetPoint
from service.evaluation.measure import Setting, measure
from service.evaluation.report import FACTS, PAGE, THRESHOLDS, write_report
from service.spaces.threshold_table import ThresholdTable
from tests.service.evaluation.made import People, usual

SETTING = Setting(space_id="sp-made", fmr_points=(0.1, 1e-2))
EVIL = '<script>alert("x")</script>&"'


def written(out: Path, *, count: int = 20) -> str:
    people = People(0)
    people.lose(Role.PROBE, 1)
    lost = people.made[0]
    named = replace(lost, photo=replace(lost.photo, name=EVIL, subject=EVIL))
    evaluation = measure([*usual(count), named], SETTING)
    write_report(
        out, evaluation, made_at="2026-11-29", title=EVIL, picture=lambda _name: "data:image/jpeg;base64,AA=="
    )
    return (out / PAGE).read_text()


def test_the_page_stands_alone_and_escapes_what_it_quotes(tmp_path: Path) -> None:
    page = written(tmp_path / "out")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    addresses = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^" )>]+)', page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    for heading in (
        "What the photos support",
        "DET",
        "CMC",
        "The worst mistakes",
        "Photos without a template",
    ):
        assert heading in page


def test_the_folder_is_for_its_owner_and_the_table_is_the_one_to_install(tmp_path: Path) -> None:
    written(tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    facts = json.loads((tmp_path / "out" / FACTS).read_text())
    table = ThresholdTable.model_validate_json((tmp_path / "out" / THRESHOLDS).read_text())
    assert facts["thresholds"] == table.model_dump(mode="json")
    assert table.space_id == "sp-made"
    assert facts["kind"] == "halflight-evaluation"


def test_a_report_without_thresholds_leaves_no_older_ones(tmp_path: Path) -> None:
    written(tmp_path)
    assert (tmp_path / THRESHOLDS).exists()
    written(tmp_path, count=5)
    assert not (tmp_path / THRESHOLDS).exists()


def test_a_curve_is_drawn_where_its_points_are() -> None:
    chart = det_chart([("all", [DetPoint(1.0, 0.0), DetPoint(0.01, 0.1)])])
    points = re.search(r'points="([^"]+)"', chart)
    assert points is not None
    (x1, y1), (x2, y2) = (tuple(map(float, p.split(","))) for p in points[1].split())
    # FMR 1 at the right, .01 at the left end; FNMR 0 at the bottom, .1 half way up.
    assert (x1, x2) == (448.0, 56.0)
    assert y1 == 276.0
    assert y2 == (276.0 + 14.0) / 2


def test_a_histogram_shows_shares_of_each_kind() -> None:
    (one,) = measure(usual(20), SETTING).pairs
    assert sum(one.histogram.mated) == one.mated
    assert sum(one.histogram.non_mated) == one.coverage.comparisons
    chart = histogram_chart(one.histogram, [("FMR 0.1", one.suggested[0].threshold)])
    assert chart.count('class="area') == 2
    assert "FMR 0.1" in chart
