"""Requests as clients of CompreFace send them, byte for byte in shape, after their own sources.

Double Take: jakowenko/double-take and skrashevich/double-take, api/src/util/detectors/compreface.js.
Python SDK, which Viseron uses: exadel-inc/compreface-python-sdk, compreface/client and compreface/common.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

import httpx

from tests.conftest import ANSWER_S


class DoubleTake:
    """axios with form-data: a part with file name and type, the key in `x-api-key`, options in the query."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._headers = url, {"x-api-key": key}

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        return httpx.request(method, self._url + path, headers=self._headers, timeout=ANSWER_S, **request)

    def recognize(self, photo: bytes, plugins: str = "undefined") -> httpx.Response:
        """The fork puts `face_plugins=undefined` into the URL where nobody has configured any."""
        return self._send(
            "POST",
            f"/api/v1/recognition/recognize?face_plugins={plugins}&det_prob_threshold=0.8",
            files={"file": ("a.jpg", photo, "image/jpeg")},
        )

    def train(self, name: str, photo: bytes) -> httpx.Response:
        return self._send(
            "POST",
            "/api/v1/recognition/faces",
            params={"subject": name},
            files={"file": ("a.jpg", photo, "image/jpeg")},
        )

    def remove(self, name: str) -> httpx.Response:
        return self._send("DELETE", "/api/v1/recognition/faces", params={"subject": name})

    @staticmethod
    def normalize(answer: dict[str, Any]) -> list[dict[str, Any]]:
        """What it makes of an answer, with its default confidences of 60 and 40."""
        if "result" not in answer:
            if answer["code"] == 28:
                return []
            raise ValueError(answer["message"])
        found = []
        for one in answer["result"]:
            best = one["subjects"][0] if one["subjects"] else None
            confidence = round(best["similarity"] * 100, 2) if best else 0
            box = one["box"]
            known = best is not None and confidence >= 40
            found.append(
                {
                    "name": best["subject"].lower() if known and best else "unknown",
                    "match": confidence >= 60,
                    "width": box["x_max"] - box["x_min"],
                    "height": box["y_max"] - box["y_min"],
                }
            )
        return found


class PythonSdk:
    """requests with requests_toolbelt's MultipartEncoder: parts without a type, options joined by hand."""

    def __init__(self, url: str, key: str, options: Mapping[str, object]) -> None:
        self._url, self._key, self._options = url, key, options

    def _path(self, path: str, *names: str, begin: str = "") -> str:
        options = "".join(f"&{name}={self._options[name]}" for name in names if name in self._options)
        return f"{path}?{begin}{options}"

    def _ask(self, method: str, path: str, content: bytes | None, kind: str) -> dict[str, Any]:
        headers = {"Content-Type": kind, "x-api-key": self._key}
        url = f"{self._url}/api/v1{path}"
        found: dict[str, Any] = httpx.request(
            method, url, content=content, headers=headers, timeout=ANSWER_S
        ).json()
        return found

    def _send(self, path: str, **photos: bytes) -> dict[str, Any]:
        boundary = secrets.token_hex(16)
        begin = 'Content-Disposition: form-data; name="{}"; filename="image.jpg"'
        body = b"".join(
            f"--{boundary}\r\n{begin.format(name)}\r\n\r\n".encode() + photo + b"\r\n"
            for name, photo in photos.items()
        )
        kind = f"multipart/form-data; boundary={boundary}"
        return self._ask("POST", path, body + f"--{boundary}--\r\n".encode(), kind)

    def recognize(self, photo: bytes) -> dict[str, Any]:
        every = ("limit", "det_prob_threshold", "prediction_count", "status", "face_plugins")
        return self._send(self._path("/recognition/recognize", *every), file=photo)

    def add(self, photo: bytes, subject: str) -> dict[str, Any]:
        url = self._path("/recognition/faces", "det_prob_threshold", begin=f"subject={subject}")
        return self._send(url, file=photo)

    def verify_example(self, photo: bytes, image_id: str) -> dict[str, Any]:
        return self._send(self._path(f"/recognition/faces/{image_id}/verify", "limit", "status"), file=photo)

    def verify(self, source: bytes, target: bytes) -> dict[str, Any]:
        every = ("limit", "det_prob_threshold", "prediction_count", "status", "face_plugins")
        url = self._path("/verification/verify", *every)
        return self._send(url, source_image=source, target_image=target)

    def list(self) -> dict[str, Any]:
        return self._json("GET", "/recognition/faces")

    def delete(self, image_id: str) -> dict[str, Any]:
        return self._json("DELETE", f"/recognition/faces/{image_id}")

    def delete_all(self, subject: str) -> dict[str, Any]:
        return self._json("DELETE", f"/recognition/faces?subject={subject}")

    def subjects(self, method: str, name: str = "", new: str = "") -> dict[str, Any]:
        path = "/recognition/subjects" + (f"/{name}" if name and method != "POST" else "")
        body = {"POST": {"subject": name}, "PUT": {"subject": new, "api_endpoint": name}}.get(method)
        return self._json(method, path, body)

    def _json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return self._ask(
            method, path, None if body is None else json.dumps(body).encode(), "application/json"
        )
