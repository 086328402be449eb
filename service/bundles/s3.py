"""Signs requests for S3 and compatible stores: AWS Signature Version 4, in the `Authorization` header.

Covers only what the service needs: object paths without a query, and bodies of known digest.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import httpx

ALGORITHM, SERVICE = "AWS4-HMAC-SHA256", "s3"
BODY_DIGEST = "x-amz-content-sha256"
EMPTY_BODY_DIGEST = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Credentials:
    """Credentials from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION."""

    access_key: str
    secret_key: str
    session_token: str | None = None
    region: str = "us-east-1"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> S3Credentials | None:
        """Returns None, for anonymous requests, if the environment names no credentials."""
        if not env.get("AWS_ACCESS_KEY_ID") or not env.get("AWS_SECRET_ACCESS_KEY"):
            return None
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
        return cls(
            access_key=env["AWS_ACCESS_KEY_ID"],
            secret_key=env["AWS_SECRET_ACCESS_KEY"],
            session_token=env.get("AWS_SESSION_TOKEN") or None,
            region=region,
        )


class S3Auth(httpx.Auth):
    """Signs each request. A request with a body carries its SHA-256 in `x-amz-content-sha256`."""

    def __init__(self, credentials: S3Credentials) -> None:
        self._credentials = credentials

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        sign(request, self._credentials, datetime.now(UTC))
        yield request


def sign(request: httpx.Request, credentials: S3Credentials, now: datetime) -> None:
    """Sets the headers that S3 requires; signs `host`, `range` and every `x-amz-` header."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    request.headers["x-amz-date"] = stamp
    digest = request.headers.setdefault(BODY_DIGEST, EMPTY_BODY_DIGEST)
    if credentials.session_token is not None:
        request.headers["x-amz-security-token"] = credentials.session_token
    signed = {
        name.lower(): " ".join(value.split())
        for name, value in request.headers.items()
        if name.lower() in ("host", "range") or name.lower().startswith("x-amz-")
    }
    names = ";".join(sorted(signed))
    path = quote(request.url.path, safe="/-_.~")
    lines = [f"{name}:{signed[name]}\n" for name in sorted(signed)]
    canonical = "\n".join((request.method, path, "", "".join(lines), names, digest))
    scope = f"{day}/{credentials.region}/{SERVICE}/aws4_request"
    text = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, credentials.region, SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    request.headers["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope},SignedHeaders={names},Signature={signature}"
    )
