"""Tests the face mesh: topology, pinned files, similarities, and the fit on a committed sample."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.bundle import read
from faces.image import DecodeLimits, decode
from faces.types import Face, Image, Spectrum
from tests.conftest import sample_bytes
from tests.service.bundles.origin import CONTENT, Origin, serving
from tests.training.synthesis.portrait import ellipsoid_mesh
from training.networks.onnx_runner import BundleRunner
from training.synthesis import assets
from training.synthesis.assets import CANONICAL_FACE, MESH_NETWORK, Pin, SynthesisError, find_file
from training.synthesis.mesh import FaceMesh, MeshFitter, MeshTopology, load_topology

# Four points and two triangles, with texture lines in another order than the points.
SQUARE_OBJ = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0.9 0.9\nvt 0.1 0.1\nf 1/2 2/1 3/1\n"


@pytest.fixture(scope="module")
def topology(shared: Path) -> MeshTopology:
    return load_topology(shared / "models" / CANONICAL_FACE.file_name)


@pytest.mark.realdata
def test_topology_is_one_disc_with_the_published_texture_map(topology: MeshTopology) -> None:
    assert topology.triangles.min() == 0
    assert topology.triangles.max() == 467
    edges = Counter(
        tuple(sorted((int(t[k]), int(t[(k + 1) % 3])))) for t in topology.triangles for k in range(3)
    )
    assert sum(count == 1 for count in edges.values()) == 36
    assert 468 - len(edges) + 898 == 1
    # Left and right are mirror images in the texture; the nose lies in its middle.
    assert topology.uv[4] == pytest.approx((0.5, 0.473), abs=2e-3)
    assert topology.uv[234, 0] + topology.uv[454, 0] == pytest.approx(1.0, abs=1e-3)
    corners = topology.canonical[topology.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).mean() > 0.95


def test_the_error_of_a_broken_face_model_names_the_file_and_a_remedy(tmp_path: Path) -> None:
    for text in (SQUARE_OBJ, "v 1 2\nf 1/1 1/1 9/9\n", ""):
        path = tmp_path / "face.obj"
        path.write_text(text)
        with pytest.raises(SynthesisError, match=r"face\.obj.*canonical_face_model\.obj"):
            load_topology(path)


def test_a_similarity_scales_depth_with_the_picture() -> None:
    mesh, topology = ellipsoid_mesh()
    turn = cv2.getRotationMatrix2D((80.0, 80.0), 30.0, 2.5)
    moved = mesh.moved(turn)
    expected = mesh.points[:, :2] @ turn[:, :2].T + turn[:, 2]
    assert moved.points[:, :2] == pytest.approx(expected, abs=1e-3)
    assert moved.points[:, 2] == pytest.approx(2.5 * mesh.points[:, 2], abs=1e-3)
    there, here = moved.normals(topology), mesh.normals(topology)
    assert there[:, 2] == pytest.approx(here[:, 2], abs=1e-3)
    assert here[:, 2].mean() < -0.4
    assert np.linalg.norm(here, axis=1) == pytest.approx(1.0, abs=1e-5)
    # A normal of the picture's right half points right.
    assert here[454, 0] > 0.5
    assert here[234, 0] < -0.5


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.array([[1.0, 0, 0], [0, 2, 0]]), np.eye(3)])
def test_a_matrix_that_is_not_a_similarity_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="similarity"):
        ellipsoid_mesh()[0].moved(matrix)


def test_a_mesh_is_finite_and_has_468_points() -> None:
    with pytest.raises(ValueError, match="468"):
        FaceMesh(np.zeros((467, 3), np.float32))
    with pytest.raises(ValueError, match="finite"):
        FaceMesh(np.full((468, 3), np.nan, np.float32))


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No file beside the checkout, an empty cache: what a newcomer has."""
    monkeypatch.setattr(assets, "CHECKOUT", tmp_path / "nowhere" / "checkout")
    monkeypatch.setenv("HALFLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HALFLIGHT_MODEL_DIR", raising=False)
    return tmp_path


@pytest.fixture
def published(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback that has one file."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "thing.bin").write_bytes(b"the right bytes")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/thing.bin"
    server.shutdown()
    thread.join()
    server.server_close()


def pin(url: str | None, content: bytes = b"the right bytes") -> Pin:
    digest = hashlib.sha256(content).hexdigest()
    return Pin(
        file_name="thing.bin", sha256=digest, size=len(content), licence="MIT", origin="a test", url=url
    )


def test_a_pinned_file_is_downloaded_once(alone: Path, published: str) -> None:
    path = find_file(pin(published))
    assert path == alone / "cache" / "models" / "thing.bin"
    assert path.read_bytes() == b"the right bytes"
    # From now on the cache has it, whatever the network does.
    assert find_file(pin("http://127.0.0.1:9/gone")) == path


def test_a_download_with_another_digest_is_deleted(alone: Path, published: str) -> None:
    with pytest.raises(SynthesisError, match="SHA-256; it was thrown away"):
        find_file(pin(published, b"the wrong bytes"))
    assert not list((alone / "cache").rglob("thing*"))


def test_a_download_that_ended_early_goes_on(alone: Path) -> None:
    with serving(Origin(ends_after=70_000)) as origin:
        wanted = pin(origin.url, CONTENT)
        with pytest.raises(SynthesisError, match="cannot be had"):
            find_file(wanted)
        left = next((alone / "cache" / "models").glob("*.partial"))
        assert 0 < left.stat().st_size <= 70_000
        origin.ends_after = None
        assert find_file(wanted).read_bytes() == CONTENT
        assert origin.requests == [None, f"bytes={70_000}-"]
    assert not list((alone / "cache").rglob("*.partial"))


def test_a_file_with_another_digest_is_skipped(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = alone / "bad", alone / "good"
    for place, content in ((bad, b"the fake bytes!"), (good, b"the right bytes")):
        place.mkdir()
        (place / "thing.bin").write_bytes(content)
    monkeypatch.setenv("HALFLIGHT_MODEL_DIR", str(good))
    assert find_file(pin(None), bad) == good / "thing.bin"
    monkeypatch.delenv("HALFLIGHT_MODEL_DIR")
    with pytest.raises(SynthesisError, match=r"another file[\s\S]*no download[\s\S]*HALFLIGHT_MODEL_DIR"):
        find_file(pin(None), bad)


@pytest.mark.realdata
def test_the_shared_files_are_the_pinned_ones(shared: Path, alone: Path) -> None:
    for wanted in (MESH_NETWORK, CANONICAL_FACE):
        assert find_file(wanted, shared / "models") == shared / "models" / wanted.file_name


@pytest.fixture(scope="module")
def fitter(shared: Path) -> MeshFitter:
    return MeshFitter(shared / "models" / MESH_NETWORK.file_name)


@pytest.fixture(scope="module")
def found(bundle_dir: Path) -> tuple[Image, Face]:
    image = decode(
        sample_bytes("s01"), limits=DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24), spectrum=Spectrum.VIS
    )
    faces = BundleRunner(read(bundle_dir)).faces(image)
    assert faces
    return image, faces[0]


@pytest.mark.realdata
def test_the_fit_agrees_with_the_detector(fitter: MeshFitter, found: tuple[Image, Face]) -> None:
    image, face = found
    mesh = fitter.fit(image, face)
    assert mesh is not None
    between = face.inter_eye_px
    eyes = mesh.points[[33, 133]].mean(axis=0), mesh.points[[263, 362]].mean(axis=0)
    for eye, landmark in zip(eyes, face.landmarks, strict=False):
        assert math.dist(eye[:2], landmark) < 0.2 * between
    assert math.dist(mesh.points[4, :2], face.landmarks[2]) < 0.3 * between
    # The nose is nearer to the camera than the cheeks.
    assert mesh.points[4, 2] < mesh.points[[234, 454], 2].min() - 0.5 * between


@pytest.mark.realdata
def test_the_fit_turns_with_the_picture(fitter: MeshFitter, found: tuple[Image, Face]) -> None:
    image, face = found
    centre = (face.box.x + face.box.width / 2, face.box.y + face.box.height / 2)
    turn = cv2.getRotationMatrix2D(centre, 25.0, 1.0)
    pixels = cv2.warpAffine(image.pixels, turn, (image.width, image.height), borderMode=cv2.BORDER_REPLICATE)
    marks = np.array(face.landmarks) @ turn[:, :2].T + turn[:, 2]
    first, second, nose, left, right = ((float(x), float(y)) for x, y in marks)
    turned_face = Face(face.box, (first, second, nose, left, right), face.score)
    straight = fitter.fit(image, face)
    turned = fitter.fit(Image(np.asarray(pixels, np.uint8), image.spectrum), turned_face)
    assert straight is not None
    assert turned is not None
    miss = np.linalg.norm(turned.points[:, :2] - straight.moved(turn).points[:, :2], axis=1)
    assert float(miss.mean()) < 0.06 * face.inter_eye_px


@pytest.mark.realdata
def test_no_face_gives_no_mesh(fitter: MeshFitter, found: tuple[Image, Face]) -> None:
    image, face = found
    blank = Image(np.full_like(image.pixels, 128), image.spectrum)
    assert fitter.fit(blank, face) is None


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"mesh\.onnx"):
        MeshFitter(tmp_path / "mesh.onnx")
