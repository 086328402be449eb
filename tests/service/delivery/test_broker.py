"""What may stand for a broker, and a connection by TLS to a real one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiomqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.delivery.broker import Broker, BrokerError, Refused
from tests.service.delivery.mosquitto import CONFIGURATION, PASSWORD, USER, Mosquitto

TLS = "certfile {room}/server.pem\nkeyfile {room}/server.key\n"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"url": "http://broker"}, "mqtt://HOST"),
        ({"url": "mqtt://me:pw@broker"}, "without user"),
        ({"url": "mqtt://broker:70000"}, "number up to 65535"),
        ({"url": "mqtt://broker:0"}, "not 0"),
        ({"url": "mqtt://broker/topic"}, "mqtt://HOST"),
        ({"url": "mqtt://broker", "password": "pw"}, "needs a user"),
        ({"url": "mqtt://broker", "user": "a", "password": "pw", "password_file": Path("x")}, "not both"),
        ({"url": "mqtt://broker", "ca": Path("x")}, "mqtts:// alone"),
    ],
)
def test_what_is_no_broker_is_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(BrokerError, match=why) as refused:
        Broker(**given)  # type: ignore[arg-type]
    assert "pw" not in str(refused.value)


def authority(room: Path, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority, whose certificate becomes a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = certificate(subject, subject, key, key, x509.BasicConstraints(ca=True, path_length=0))
    (room / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made, key


def certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(identifier, critical=False).add_extension(authority_key, critical=False)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return builder.sign(signer, hashes.SHA256())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker with a certificate of the authority `ours` for 127.0.0.1; `other` signed nothing."""
    if shutil.which("mosquitto") is None:
        pytest.skip("no Mosquitto: CI installs it")
    made = Mosquitto(tmp_path / "broker", CONFIGURATION + TLS)
    ours, signer = authority(made.room, "ours")
    authority(made.room, "other")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = certificate(name, ours.subject, key, signer, host)
    (made.room / "server.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (made.room / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    made.allow("allowed")
    made.start()
    yield made
    made.stop()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_and_a_password_from_a_file(broker: Mosquitto) -> None:
    file = broker.room / "password"
    file.write_text(PASSWORD + "\n")
    url = f"mqtts://127.0.0.1:{broker.port}"
    ours = Broker(url=url, user=USER, password_file=file, ca=broker.room / "ours.pem")
    ours.check_files()
    async with ours.client("one") as client:
        await client.send("allowed", b"1")
        with pytest.raises(Refused, match="Not authorized"):
            await client.send("forbidden", b"1")
        # The refusal was of that message alone.
        await client.send("allowed", b"2")
    other = Broker(url=url, user=USER, password_file=file, ca=broker.room / "other.pem")
    with pytest.raises(aiomqtt.MqttError, match="certificate verify failed"):
        async with other.client("two"):
            pass
    plain = Broker(url=f"mqtt://127.0.0.1:{broker.port}", user=USER, password_file=file)
    with pytest.raises(aiomqtt.MqttError):
        async with plain.client("three", timeout=5):
            pass
