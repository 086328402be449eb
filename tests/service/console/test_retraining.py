"""A retraining in a real Chromium: started, watched, switched to because it is better, and rolled back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.settings import builtin_bundle
from tests.conftest import Service, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.console.conftest import Visiting
from tests.training.jobs.retrain_sets import write_set

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

# Of the shortest training that there is, most goes into the measurement and the export; a busy machine may
# take long over them, and nothing depends on the time.
WAIT_S, SHORTEST_MINUTES = 1800.0, "0.01"
DATASET = "patterns"


@pytest.fixture
def retrainable(tmp_path: Path) -> Iterator[Service]:
    """A service with two subjects and a data set of patterns, on which the new model is the better one."""
    write_set(tmp_path / "sets" / DATASET)
    env = {
        "HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()),
        "HALFLIGHT_DATASETS": str(tmp_path / "sets"),
        "OMP_NUM_THREADS": "1",
    }
    service = Service(tmp_path / "data", env).start()
    with service.client() as client:
        for subject_id in ("s01", "s02"):
            enroll(client, subject_id, sample_bytes(subject_id)).raise_for_status()
    yield service
    service.stop()


def watch(page: Page) -> tuple[list[str], list[float]]:
    """The stages that the page of a job shows until it says that it is done, and every progress."""
    stages, values, end = list[str](), list[float](), time.monotonic() + WAIT_S
    done = page.locator(".badge").get_by_text("Done", exact=True)
    while not done.is_visible():
        assert time.monotonic() < end, stages
        assert not page.locator(".badge").get_by_text("Failed", exact=True).is_visible()
        shown = page.evaluate(
            "() => { const bar = document.querySelector('.progress progress');"
            " return bar && [bar.parentElement.querySelector('.told').textContent, bar.value]; }"
        )
        if shown is not None:
            stage, value = shown
            stages += [stage] if stage and stage not in stages else []
            values.append(float(value))
        page.wait_for_timeout(200)
    return stages, values


def test_a_retraining_is_watched_activated_and_rolled_back(retrainable: Service, visit: Visiting) -> None:
    console = visit(retrainable)
    page = console.page
    with retrainable.client() as client:
        old = client.get("/health/ready").json()["space_id"]
        console.open("jobs")
        page.get_by_role("button", name="Retrain").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Labelled photos").select_option(label="A directory of the service")
        dialog.get_by_role("textbox").fill(DATASET)
        dialog.get_by_label("Method").select_option(label="A matrix behind the model: for few pairs")
        dialog.get_by_label("Minutes").fill(SHORTEST_MINUTES)
        dialog.get_by_label("Switch if it is better").check()
        assert console.inaccessible() == []
        dialog.get_by_role("button", name="Start").click()

        page.get_by_role("heading", name="retrain").wait_for()
        stages, values = watch(page)
        # What happens quickly may be missed; what takes its time is not.
        assert {"evaluating", "exporting"} <= set(stages), stages
        assert values == sorted(values)
        assert len(set(values)) >= 3
        job_id = page.url.rsplit("/", 1)[1]
        job = client.get(f"/admin/jobs/{job_id}").json()
        new = job["metrics"]["space_id"]
        assert job["metrics"]["activated"], job["message"]
        page.get_by_text(job["message"]).first.wait_for()
        assert console.inaccessible() == []
        assert client.get("/health/ready").json()["space_id"] == new != old

        page.get_by_role("link", name=f"Its result is {new}").click()
        page.get_by_role("heading", name="Models", level=1).wait_for()
        card = page.locator(".card").filter(has_text=new)
        card.get_by_text("In service", exact=True).wait_for()
        page.get_by_role("button", name="Switch back to it: halflight-2").click()
        page.get_by_role("dialog").get_by_role("button", name="Switch back to it").click()
        page.get_by_role("button", name="Switch to it: ").wait_for()
        assert client.get("/health/ready").json()["space_id"] == old
        # Nobody was enrolled anew, in either direction.
        answer = identify(client, sample_bytes("s01", "vis_2.jpg")).json()
        assert answer["space_id"] == old
        assert answer["results"][0]["candidates"][0]["subject_id"] == "s01"
        spaces = {one["space_id"]: one for one in client.get("/admin/spaces").json()["spaces"]}
        assert (spaces[old]["state"], spaces[new]["state"]) == ("active", "ready")
        assert [spaces[one]["templates"] for one in (old, new)] == [2, 2]
