"""The client of JavaScript, built from its sources, in Node against a real service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Keyed
from tests.clients.test_examples import ADDRESS, PAGE, blocks, place, run
from tests.conftest import REPO, Service, free_port

__all__ = ["place"]
SOURCE = REPO / "service" / "clients" / "typescript"
TRIES = """
import { answered, Client, Problem } from "halflight-client";
const statuses = [];
const noted = async (...asked) => {
  const response = await fetch(...asked);
  statuses.push(response.status);
  return response;
};
const refusal = async (asked) => {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return [error.status, error.code];
  }
};
"""
LIMITED = """
const client = new Client("URL", { fetch: noted, patienceS: 300 });
const began = performance.now();
for (let each = 0; each < 3; each++) await answered(client.api.GET("/v1/whoami"));
const tookS = (performance.now() - began) / 1000;
const refused = statuses.filter((status) => status === 429).length;
const hasty = new Client("URL", { patienceS: 0 });
const said = [];
for (let each = 0; each < 100 && said.length === 0; each++) {
  const got = await refusal(answered(hasty.api.GET("/v1/whoami")));
  if (Array.isArray(got)) said.push(got);
}
console.log(JSON.stringify({ refused, waited: tookS >= refused, said }));
"""
REFUSED = """
const blob = new Blob(["no image"]);
const wrong = new Client("URL", { key: "hl_wrong_key" });
const client = new Client("URL/v1/", { key: process.env.HALFLIGHT_KEY });
const nobody = new Client("http://127.0.0.1:PORT", { patienceS: 0 });
const said = [
  await refusal(wrong.identify(blob)),
  await refusal(client.identify(blob)),
  await refusal(client.subject("nobody")),
  await refusal(nobody.identify(blob)),
  await refusal(client.enrolArchive(blob)),
];
const stopping = new AbortController();
setTimeout(() => stopping.abort(), 500);
for await (const event of client.events({ signal: stopping.signal })) said.push(event);
console.log(JSON.stringify(said));
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package. Skips without Node or what npm installed."""
    if shutil.which("node") is None:
        pytest.skip("no Node: the client of JavaScript is built where there is one")
    if not (SOURCE / "node_modules" / ".bin" / "tsc").exists():
        pytest.skip("no node_modules: make client")
    made = tmp_path_factory.mktemp("package")
    shutil.copytree(SOURCE, made, ignore=shutil.ignore_patterns("node_modules", "dist"), dirs_exist_ok=True)
    (made / "node_modules").symlink_to(SOURCE / "node_modules")
    done = subprocess.run(["node_modules/.bin/tsc"], cwd=made, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    return made


@pytest.fixture
def modules(place: Path, package: Path) -> Path:
    """The place of the examples, with the package installed."""
    (place / "node_modules").mkdir()
    (place / "node_modules" / "halflight-client").symlink_to(package)
    return place


def node(script: str, keyed: Keyed, place: Path) -> str:
    (place / "example.mjs").write_text(script, encoding="utf-8")
    return run(["node", "example.mjs"], keyed, place)


def test_the_examples_of_javascript(keyed: Keyed, modules: Path) -> None:
    first, second = blocks(PAGE, "js")
    told = node(first.replace(ADDRESS, keyed.url), keyed, modules).split()
    assert told[:4] == ["2", "[]", "anna", "match"]
    assert told[5:7] == ["anna", "2"]
    assert told[8] == "match"
    assert told[9].isdecimal()
    assert node(second.replace(ADDRESS, keyed.url), keyed, modules).strip() == "operator"


def test_refusals_have_status_and_code(keyed: Keyed, modules: Path) -> None:
    script = TRIES + REFUSED.replace("URL", keyed.url).replace("PORT", str(free_port()))
    assert node(script, keyed, modules).strip() == (
        '[[401,"unauthorized"],[415,"unsupported_media_type"],[404,"subject_not_found"],[0,"refused"],'
        '[422,"invalid_archive"]]'
    )


def test_a_limit_of_the_rate_is_waited_for(keyed: Keyed, limited: Service, modules: Path) -> None:
    told = node(TRIES + LIMITED.replace("URL", limited.url), keyed, modules)
    refused = int(told.split('"refused":')[1].split(",")[0])
    assert refused >= 2
    assert '"waited":true,"said":[[429,"rate_limited"]]' in told


def test_the_package_holds_its_types(package: Path) -> None:
    names = {path.name for path in (package / "dist").iterdir()}
    assert {"index.js", "index.d.ts", "client.js", "schema.d.ts"} <= names
