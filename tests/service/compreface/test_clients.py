"""Double Take's and Viseron's own requests, and what they make of the answers."""

from __future__ import annotations

import base64

import httpx
import pytest

from tests.conftest import sample_bytes
from tests.service.api.test_errors import picture, two_faces
from tests.service.compreface.conftest import Compatible

ANNA = ("Anna Müller", "s01")
BERT = ("bert", "s02")


def refused(answer: httpx.Response, status: int, code: int, reason: str) -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"message", "code", "reason"}
    assert (body["code"], body["reason"]) == (code, reason)
    return str(body["message"])


def test_double_take_trains_recognises_and_removes(compatible: Compatible) -> None:
    client = compatible.double_take()
    for name, sample in (ANNA, BERT):
        made = client.train(name, sample_bytes(sample))
        assert made.status_code == 201
        assert made.json()["subject"] == name
        assert len(made.json()["image_id"]) == 36
    for name, sample in (ANNA, BERT):
        found = client.normalize(client.recognize(sample_bytes(sample, "nir_masked_1.jpg")).json())
        assert [(one["name"], one["match"]) for one in found] == [(name.lower(), True)]
        assert found[0]["width"] > 20
        assert found[0]["height"] > 20
    stranger = client.normalize(client.recognize(sample_bytes("s13", "nir_masked_1.jpg")).json())
    assert [one["match"] for one in stranger] == [False]
    assert client.normalize(client.recognize(picture()).json()) == []
    assert client.remove(ANNA[0]).json() == {"deleted": 1}
    gone = client.normalize(client.recognize(sample_bytes("s01")).json())
    assert [one["match"] for one in gone] == [False]


def test_viseron_trains_and_recognises_with_its_defaults(compatible: Compatible) -> None:
    # DEFAULT_* of its component; the similarity that it wants is 0.5 by default.
    options = {"limit": 0, "det_prob_threshold": 0.8, "prediction_count": 1, "status": False}
    sdk = compatible.sdk(options=options)
    assert sdk.delete_all("bert") == {"deleted": 0}
    assert "message" not in sdk.add(sample_bytes("s02"), "bert")
    (found,) = sdk.recognize(sample_bytes("s02", "nir_masked_2.jpg"))["result"]
    assert found["subjects"][0]["subject"] == "bert"
    assert found["subjects"][0]["similarity"] >= 0.95
    assert found.keys() == {"box", "subjects"}
    (stranger,) = sdk.recognize(sample_bytes("s13"))["result"]
    assert stranger["subjects"][0]["similarity"] < 0.5
    refusal = sdk.recognize(picture())
    assert "result" not in refusal
    assert refusal["code"] == 28


def test_every_option_and_plugin_that_there_is(compatible: Compatible) -> None:
    plain = compatible.sdk()
    plain.add(sample_bytes("s01"), "anna")
    plain.add(sample_bytes("s02"), "bert")
    plugins = "landmarks,mask,calculator,age,gender"
    asked = compatible.sdk(
        options={"limit": 1, "prediction_count": 2, "status": True, "face_plugins": plugins}
    )
    answer = asked.recognize(two_faces(0.6))
    (found,) = answer["result"]
    assert found["subjects"][0]["subject"] == "anna"
    assert len(found["subjects"]) == 2
    assert found["subjects"][0]["similarity"] > found["subjects"][1]["similarity"]
    assert len(found["landmarks"]) == 5
    assert all(isinstance(number, int) for point in found["landmarks"] for number in point)
    assert found["mask"]["value"] == "without_mask"
    assert found["mask"]["probability"] > 0.5
    assert sum(number * number for number in found["embedding"]) == pytest.approx(1, abs=1e-3)
    assert found["execution_time"].keys() == {"detector", "calculator"}
    assert answer["plugins_versions"].keys() == {"detector", "calculator", "landmarks", "mask"}
    both = plain.recognize(two_faces(0.6))["result"]
    assert [one["subjects"][0]["subject"] for one in both] == ["anna", "bert"]
    masked = compatible.sdk(options={"face_plugins": "mask"}).recognize(
        sample_bytes("s01", "nir_masked_1.jpg")
    )
    assert masked["result"][0]["mask"]["value"] == "with_mask"


def test_base64_as_the_documentation_has_it(compatible: Compatible) -> None:
    with compatible.foreign() as client:
        body = {"file": base64.b64encode(sample_bytes("s01")).decode()}
        made = client.post("recognition/faces", params={"subject": "anna"}, json=body)
        assert made.status_code == 201
        body["file"] = base64.b64encode(sample_bytes("s01", "vis_2.jpg")).decode()
        (found,) = client.post("recognition/recognize", json=body).json()["result"]
        assert found["subjects"][0]["subject"] == "anna"
        image_id = made.json()["image_id"]
        (same,) = client.post(f"recognition/faces/{image_id}/verify", json=body).json()["result"]
        assert same["similarity"] >= 0.95
        two = {"source_image": body["file"], "target_image": body["file"]}
        (compared,) = client.post("verification/verify", json=two).json()["result"]
        assert compared["face_matches"][0]["similarity"] == pytest.approx(1, abs=0.01)


def test_examples_are_verified_and_images_compared(compatible: Compatible) -> None:
    sdk = compatible.sdk()
    image_id = sdk.add(sample_bytes("s01"), "anna")["image_id"]
    (same,) = sdk.verify_example(sample_bytes("s01", "nir_masked_1.jpg"), image_id)["result"]
    assert same["similarity"] >= 0.95
    both = sdk.verify_example(two_faces(0.6), image_id)["result"]
    assert [one["similarity"] >= 0.95 for one in both] == [True, False]
    (compared,) = sdk.verify(sample_bytes("s02", "vis_2.jpg"), two_faces(0.6))["result"]
    assert compared["source_image_face"].keys() == {"box"}
    assert [one["similarity"] >= 0.95 for one in compared["face_matches"]] == [False, True]
    with compatible.foreign() as client:
        files = {"file": ("a.jpg", sample_bytes("s01"), "image/jpeg")}
        refused(client.post("recognition/faces/no-such/verify", files=files), 404, 11, "sample_not_found")


def test_subjects_and_examples_are_listed_renamed_merged_and_deleted(compatible: Compatible) -> None:
    sdk = compatible.sdk()
    assert sdk.subjects("POST", "Anna Müller") == {"subject": "Anna Müller"}
    assert sdk.subjects("POST", "Anna Müller")["reason"] == "subject_exists"
    first = sdk.add(sample_bytes("s01"), "Anna Müller")
    second = sdk.add(sample_bytes("s01", "vis_2.jpg"), "Anna Müller")
    other = sdk.add(sample_bytes("s02"), "bert")
    assert sdk.subjects("GET") == {"subjects": ["Anna Müller", "bert"]}
    listed = sdk.list()
    assert listed.pop("faces") == sorted((first, second, other), key=lambda one: one["image_id"])
    assert listed == {"page_number": 0, "page_size": 20, "total_pages": 1, "total_elements": 3}
    with compatible.foreign() as client:
        page = client.get("recognition/faces/", params={"page": 1, "size": 2}).json()
        assert (len(page["faces"]), page["total_pages"]) == (1, 2)
        his = client.get("recognition/faces", params={"subject": "bert"}).json()
        assert his["faces"] == [other]
    assert sdk.subjects("PUT", "Anna Müller", "anna") == {"updated": True}
    assert sdk.subjects("GET") == {"subjects": ["anna", "bert"]}
    assert sdk.subjects("PUT", "anna", "Änne/2") == {"updated": True}
    assert sdk.subjects("GET") == {"subjects": ["bert", "Änne/2"]}
    assert sdk.delete(first["image_id"]) == {"image_id": first["image_id"], "subject": "Änne/2"}
    assert sdk.delete(first["image_id"])["code"] == 11
    assert sdk.subjects("PUT", "bert", "Änne/2") == {"updated": True}
    assert sdk.subjects("GET") == {"subjects": ["Änne/2"]}
    assert sdk.list()["total_elements"] == 2
    assert sdk.subjects("DELETE", "Änne/2") == {"subject": "Änne/2"}
    assert sdk.subjects("DELETE", "Änne/2")["reason"] == "subject_not_found"
    assert sdk.list()["total_elements"] == 0


def test_everybody_is_deleted_by_an_admin_alone(compatible: Compatible) -> None:
    sdk, admin = compatible.sdk(), compatible.sdk("admin")
    for path in ("recognition/faces", "recognition/subjects"):
        sdk.add(sample_bytes("s01"), "anna")
        sdk.add(sample_bytes("s02"), "bert")
        with compatible.foreign() as client:
            refused(client.delete(path), 403, 1, "forbidden")
            refused(client.delete("recognition/faces", params={"subject": ""}), 400, 26, "invalid_parameter")
        assert admin.list()["total_elements"] == 2
        with compatible.foreign("admin") as client:
            assert client.delete(path).json() == {"deleted": 2}
        assert admin.subjects("GET") == {"subjects": []}


def test_the_use_cases_are_our_own(compatible: Compatible) -> None:
    sdk = compatible.sdk()
    sdk.add(sample_bytes("s01"), "anna")
    again = sdk.add(sample_bytes("s01", "vis_2.jpg"), "somebody else")
    assert again["reason"] == "duplicate_face"
    sdk.recognize(sample_bytes("s01", "nir_masked_1.jpg"))
    with compatible.own("admin") as own:
        assert [one["subject_id"] for one in own.get("/subjects").json()["subjects"]] == ["anna"]
        asked = {"image": ("p.jpg", sample_bytes("s01", "nir_masked_1.jpg"), "image/jpeg")}
        (found,) = own.post("/identify", files=asked).json()["results"]
        assert found["decision"] == "match"
        told = [one["action"] for one in own.get("/admin/audit").json()["entries"]]
        assert told.count("subject.identify") >= 2
        assert "subject.enrol" in told


def test_what_is_wrong_is_refused_in_its_own_shape(compatible: Compatible) -> None:
    with compatible.foreign() as client:
        photo = {"file": ("a.jpg", sample_bytes("s01"), "image/jpeg")}
        told = refused(client.post("recognition/recognize", files={"file": picture()}), 400, 28, "no_face")
        assert told == "No face is found in the given image"
        refused(client.post("recognition/faces", files=photo), 400, 26, "invalid_parameter")
        two = {"file": ("a.jpg", two_faces(), "image/jpeg")}
        refused(
            client.post("recognition/faces", params={"subject": "x"}, files=two), 400, 31, "multiple_faces"
        )
        for query in ("limit=-1", "det_prob_threshold=2", "prediction_count=0", "nonsense=1"):
            wrong = client.post(f"recognition/recognize?{query}", files=photo)
            refused(wrong, 400, 26, "invalid_parameter")
        broken = {"file": ("a.jpg", b"no image at all", "image/jpeg")}
        refused(client.post("recognition/recognize", files=broken), 415, 21, "unsupported_media_type")
        refused(client.post("recognition/recognize", files={"image": b"x"}), 400, 26, "invalid_parameter")
        json = {"content-type": "application/json"}
        broken_json = client.post("recognition/subjects", content=b"{", headers=json)
        refused(broken_json, 400, 26, "malformed_request")
