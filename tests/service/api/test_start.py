"""HTTPS by two settings; and a service that cannot start says why in a sentence, with exit code 2."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.store.database import Database
from tests.conftest import StartService
from tests.service.store.support import KEYS


def write_certificate(place: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = place / "cert.pem", place / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def test_two_settings_make_it_https(start_service: StartService, tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    service = start_service(wait=False, HALFLIGHT_TLS_CERT=str(cert), HALFLIGHT_TLS_KEY=str(key))
    trust = ssl.create_default_context(cafile=str(cert))
    url = service.url.replace("http://", "https://")
    with httpx.Client(verify=trust, transport=httpx.HTTPTransport(verify=trust, retries=60)) as client:
        assert client.get(f"{url}/health/live").json() == {"status": "live"}
        assert client.get(f"{url}/subjects").status_code == 200
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{service.url}/health/live", timeout=10)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("HALFLIGHT_DATABASE_URL", "postgresql://127.0.0.1:1/none", "the database cannot be opened"),
        ("HALFLIGHT_DATABASE_URL", "nonsense://x", "the database URL is wrong"),
        ("HALFLIGHT_DATA_DIR", "/proc/none", "/proc/none: "),
        ("HALFLIGHT_LOG_LEVEL", "loud", "loud is no level"),
        ("HALFLIGHT_MASTER_KEY", "zz", "a master key is 64 hexadecimal digits"),
        ("HALFLIGHT_TLS_CERT", "cert.pem", "tls_cert and tls_key belong together"),
        ("HALFLIGHT_PROVIDERS", "NoSuchProvider", "NoSuchProvider"),
        ("HALFLIGHT_PROVIDERS", '["open', "HALFLIGHT_PROVIDERS"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_a_sentence(
    tmp_path: Path, bundle_dir: Path, setting: str, value: str, said: str
) -> None:
    command = [sys.executable, "-m", "service.cli.main", "serve", "--port", "0"]
    env = {"HALFLIGHT_DATA_DIR": str(tmp_path), "HALFLIGHT_BUNDLE_DIR": str(bundle_dir), setting: value}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode in (2, 3)
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 5


def test_a_database_sealed_under_another_master_key_is_not_opened(tmp_path: Path, bundle_dir: Path) -> None:
    async def sealed() -> None:
        db = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}", KEYS)
        await db.migrate()
        await db.close()

    asyncio.run(sealed())
    command = [sys.executable, "-m", "service.cli.main", "serve", "--port", "0"]
    env = {"HALFLIGHT_DATA_DIR": str(tmp_path), "HALFLIGHT_BUNDLE_DIR": str(bundle_dir)}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert "does not hold" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "master.key").exists()
