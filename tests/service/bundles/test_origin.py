"""Bundles from a URL: fetched, verified, written for other replicas; nothing is believed without proof."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from faces.bundle import BundleError, read, verify
from service.bundles.origin import OPTIONAL_FILES, BundleOrigin, OriginError
from service.bundles.registry import FETCH_DIR, BundleStore, manifest_digest
from service.bundles.s3 import S3Credentials, sign
from service.bundles.signing import SIGNATURE_NAME
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.bundles.object_store import CREDENTIALS, TOKEN, Store, serving
from tests.service.spaces.support import make_ready, space_of, variant, wait_state

AWS = {
    "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
    "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
    "AWS_SESSION_TOKEN": str(CREDENTIALS.session_token),
}


@pytest.fixture
def wide(tmp_path: Path, bundle_dir: Path) -> Path:
    variant(bundle_dir, tmp_path / "made" / "wide")
    (tmp_path / "made" / "wide" / "MODEL_CARD.md").write_text("what it is")
    return tmp_path / "made" / "wide"


@pytest.fixture(params=["https", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with serving(Store(s3=request.param == "s3")) as running:
        yield running


def origin_of(store: Store) -> BundleOrigin:
    if store.s3:
        return BundleOrigin("s3://models/faces", env=AWS | {"AWS_ENDPOINT_URL_S3": store.url})
    return BundleOrigin(f"{store.url}/models/faces", token=TOKEN, env={})


def put(store: Store, bundle: Path, name: str) -> None:
    """As an operator would, with tools of the store's own."""
    for path in bundle.iterdir():
        store.objects[f"/models/faces/{name}/{path.name}"] = path.read_bytes()


def test_a_bundle_registered_by_one_replica_is_found_by_another(
    store: Store, wide: Path, tmp_path: Path
) -> None:
    put(store, wide, "wide")
    one = BundleStore(tmp_path / "one", origin_of(store), publish=True)
    waiting = one.find_by_name("wide")
    digest = one.install(waiting)
    one.discard(waiting)
    assert digest == manifest_digest(read(wide))
    two = BundleStore(tmp_path / "two", origin_of(store))
    found = two.find_by_digest(digest)
    verify(found)
    assert (found.root / "MODEL_CARD.md").read_text() == "what it is"
    asked = len(store.asked)
    two.find_by_digest(digest)
    assert len(store.asked) == asked, "what is here is not fetched again"
    # Written whole, the manifest last; never twice.
    written = [line for line in store.asked if line.startswith("PUT")]
    assert written[-1].endswith(f"sha256/{digest}/manifest.json")
    one.install(read(wide))
    assert [line for line in store.asked if line.startswith("PUT")] == written
    for place in ("one", "two"):
        assert list((tmp_path / place / FETCH_DIR).iterdir()) == []


def test_a_bundle_that_fails_verification_is_not_kept(store: Store, wide: Path, tmp_path: Path) -> None:
    put(store, wide, "wide")
    digest = manifest_digest(read(wide))
    put(store, wide, f"sha256/{digest}")
    network = read(wide).manifest.encoder.probe.path
    here = BundleStore(tmp_path / "here", origin_of(store))
    for name in ("wide", f"sha256/{digest}"):
        whole = store.objects[f"/models/faces/{name}/{network}"]
        for wrong, told in ((whole[:-1] + b"x", "digest"), (whole + b"x", "larger"), (whole[:-1], "digest")):
            store.objects[f"/models/faces/{name}/{network}"] = wrong
            with pytest.raises(BundleError, match=told) as error:
                here.find_by_name("wide") if name == "wide" else here.find_by_digest(digest)
            assert store.url not in str(error.value)
    put(store, wide, "sha256/" + "0" * 64)
    with pytest.raises(BundleError, match="another bundle"):
        here.find_by_digest("0" * 64)
    del store.objects["/models/faces/wide/" + network]
    with pytest.raises(BundleError, match="lacks"):
        here.find_by_name("wide")
    with pytest.raises(BundleError, match="no such bundle"):
        here.find_by_name("none")
    store.writable = False
    store.objects.clear()
    with pytest.raises(BundleError, match="takes no bundle"):
        BundleStore(tmp_path / "there", origin_of(store), publish=True).install(read(wide))
    assert list((tmp_path / "here" / FETCH_DIR).iterdir()) == []
    assert not (tmp_path / "here" / "sha256").is_dir()


def test_an_origin_that_refuses_or_is_unreachable_is_reported(store: Store, tmp_path: Path) -> None:
    stranger = BundleOrigin(f"{store.url}/models/faces", token="wrong", env={})  # noqa: S106
    if store.s3:
        env = AWS | {"AWS_SECRET_ACCESS_KEY": "wrong", "AWS_ENDPOINT_URL": store.url}
        stranger = BundleOrigin("s3://models/faces", env=env)
    with pytest.raises(BundleError, match=r"refuses \(status 403\)"):
        BundleStore(tmp_path, stranger).find_by_name("wide")
    silent = BundleOrigin("http://127.0.0.1:1/models", env={})
    with pytest.raises(BundleError, match="cannot be reached") as error:
        BundleStore(tmp_path, silent).find_by_name("wide")
    assert "127.0.0.1" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["http://models.example/x", "ftp://x/y", "file://host/x", "s3://", "models", ""]
)
def test_other_origin_addresses_are_refused(url: str) -> None:
    with pytest.raises(OriginError):
        BundleOrigin(url, env={})


def test_a_query_in_the_address_is_sent_with_every_request(tmp_path: Path) -> None:
    with serving(Store()) as store:
        origin = BundleOrigin(f"{store.url}/models/?signature=abc", token=TOKEN, env={})
        with pytest.raises(BundleError, match="no such bundle"):
            BundleStore(tmp_path, origin).find_by_name("wide")
        assert store.asked == ["GET /models/wide/manifest.json?signature=abc"]


def test_a_bundle_is_fetched_with_its_signature() -> None:
    assert SIGNATURE_NAME in OPTIONAL_FILES


def test_the_s3_signature_equals_the_documented_example() -> None:
    """Amazon S3 API reference, "Using the Authorization Header", example GET Object."""
    request = httpx.Request(
        "GET", "https://examplebucket.s3.amazonaws.com/test.txt", headers={"range": "bytes=0-9"}
    )
    credentials = S3Credentials(
        access_key="AKIAIOSFODNN7EXAMPLE",
        secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # noqa: S106
    )
    sign(request, credentials, datetime(2013, 5, 24, tzinfo=UTC))
    assert request.headers["authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


@pytest.mark.slow
def test_replicas_without_a_shared_directory_follow_an_activation(
    start_service: StartService, tmp_path: Path, wide: Path
) -> None:
    """One database, one address, and nothing else in common."""
    database = f"sqlite+aiosqlite:///{tmp_path / 'common.db'}"
    env = {"HALFLIGHT_DATABASE_URL": database, "HALFLIGHT_BUNDLE_URL": wide.parent.as_uri()}
    env |= {"HALFLIGHT_BUNDLE_PUBLISH": "true", "HALFLIGHT_MASTER_KEY": "ab" * 32}
    env |= {"HALFLIGHT_LOG_POLL_S": "0.05", "HALFLIGHT_INTRA_OP_THREADS": "1"}
    one = start_service(data=tmp_path / "one", **env)
    two = start_service(data=tmp_path / "two", **env)
    with one.client() as here, two.client() as there:
        assert enroll(here, "s01", sample_bytes("s01")).status_code == 201
        new = make_ready(here, "wide")
        assert here.post(f"/admin/spaces/{new}/activate").status_code == 200
        wait_state(there, new, "active")
        for _ in range(600):
            answer = identify(there, sample_bytes("s01")).json()
            if answer["space_id"] == new:
                break
        assert answer["space_id"] == new
        assert answer["results"][0]["candidates"][0]["subject_id"] == "s01"
        assert space_of(there, new)["message"] == ""
    refused = start_service(wait=False, HALFLIGHT_BUNDLE_URL="http://models.example/x")
    assert refused.process is not None
    assert refused.process.wait(timeout=300) == 2
