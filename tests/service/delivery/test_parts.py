"""Signatures after Standard Webhooks, addresses that may be sent to, and the outbox on both databases."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from service.delivery.receivers import ReceiversError, receivers_of
from service.delivery.signing import headers, secret_bytes
from service.delivery.target import Target, Unreachable
from service.retention import expire_events
from service.settings import Settings
from service.store.database import Database
from service.store.outbox import DeadEvent, NewEvent, Undelivered
from service.store.tables import webhook_outbox

NOW = datetime.now(UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - that of the specification


def test_the_signature_is_that_of_the_specification() -> None:
    key = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!", base64.b64encode(b"x" * 23).decode()])
def test_a_secret_has_24_bytes_at_least(secret: str) -> None:
    with pytest.raises(ValueError, match="the secret"):
        secret_bytes(secret)


@pytest.mark.parametrize("url", ["http://a.example/", "ftp://a", "https://", "https://me:pw@a.example/"])
def test_an_address_is_https_without_a_user(url: str) -> None:
    with pytest.raises(ValueError, match="webhook"):
        Target(url, private=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "0.0.0.0"]
)
async def test_nothing_goes_to_this_network_unless_it_is_opened(host: str) -> None:
    with pytest.raises(Unreachable):
        await Target(f"https://{host}/x", private=False).request()
    url, name = await Target(f"https://{host}:8443/x", private=True).request()
    assert name == f"{host}:8443"
    assert url.port == 8443


async def test_an_erasure_takes_the_events_that_name_the_subject(db: Database) -> None:
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        await uow.subjects.ensure("bert", None)
        for number, name in enumerate(("anna", "bert", None)):
            await uow.outbox.add(NewEvent(f"{number:024x}", NOW, name, b"{}"), ("one", "two"))
        await uow.outbox.add(NewEvent(f"{9:024x}", NOW, "gone", b"{}"), ("one", "two"))
        await uow.commit()
    async with db.write(erasing=True) as uow:
        await uow.subjects.delete("anna")
        await uow.commit()
    for receiver in ("one", "two"):
        async with db.write() as uow:
            due = await uow.outbox.claim(receiver, NOW, NOW + timedelta(seconds=9), 10)
            assert [one.event_id for one in due] == [f"{1:024x}", f"{2:024x}"]
            assert [one.body for one in due] == [b"{}", b"{}"]
            await uow.commit()


async def test_each_receiver_has_a_state_of_its_own(db: Database) -> None:
    first, second = f"{1:024x}", f"{2:024x}"
    async with db.write() as uow:
        for event_id in (first, second):
            await uow.outbox.add(NewEvent(event_id, NOW, None, b"{}"), ("one", "two"))
        await uow.commit()
    later = NOW + timedelta(seconds=9)
    async with db.write() as uow:
        assert await uow.outbox.next_due("one") == NOW
        assert await uow.outbox.next_due("three") is None
        assert len(await uow.outbox.claim("one", NOW, later, 10)) == 2
        assert await uow.outbox.claim("one", NOW, later, 10) == []
        assert await uow.outbox.next_due("one") == later
        assert len(await uow.outbox.claim("two", NOW, later, 10)) == 2
        await uow.outbox.confirm("one", first)
        await uow.outbox.fail("one", second, "status 500", None)
        await uow.outbox.confirm("two", second)
        assert await uow.outbox.count() == {"one": Undelivered(0, 1), "two": Undelivered(1, 0)}
        (dead,) = await uow.outbox.dead(9)
        assert dead == DeadEvent(second, "one", NOW, 1, "status 500")
        assert await uow.outbox.replay(None, "two", NOW) == 0
        assert await uow.outbox.replay([second], None, NOW) == 1
        assert await uow.outbox.count() == {"one": Undelivered(1, 0), "two": Undelivered(1, 0)}
        await uow.outbox.confirm("one", second)
        await uow.commit()
    async with db.write() as uow:
        left = select(webhook_outbox.c.event_id)
        assert (await uow.connection.execute(left)).scalars().all() == [first]
        assert await uow.outbox.expire(NOW) == 0
        assert await uow.outbox.expire(later) == 1
        assert await uow.outbox.count() == {}
        await uow.commit()


async def test_the_last_two_receivers_that_confirm_at_once_leave_nothing(db: Database) -> None:
    names = [f"receiver-{number}" for number in range(6)]
    async with db.write() as uow:
        for number in range(10):
            await uow.outbox.add(NewEvent(f"{number:024x}", NOW, None, b"{}"), names)
        await uow.commit()

    async def confirm(name: str, number: int) -> None:
        async with db.write() as uow:
            await uow.outbox.confirm(name, f"{number:024x}")
            await uow.commit()

    await asyncio.gather(*(confirm(name, number) for number in range(10) for name in names))
    async with db.read() as uow:
        assert (await uow.connection.execute(select(webhook_outbox.c.event_id))).all() == []


async def test_what_nobody_confirms_expires_with_an_audit_entry(db: Database) -> None:
    old = NOW - timedelta(days=31)
    async with db.write() as uow:
        await uow.outbox.add(NewEvent(f"{1:024x}", old, None, b"{}"), ("one",))
        await uow.outbox.add(NewEvent(f"{2:024x}", NOW, None, b"{}"), ("one",))
        await uow.commit()
    assert await expire_events(db, Settings(undelivered_days=0), NOW) == 0
    assert await expire_events(db, Settings(), NOW) == 1
    async with db.read() as uow:
        assert await uow.outbox.count() == {"one": Undelivered(1, 0)}
        (entry,) = await uow.audit.after(0, 10)
        assert (entry.action, entry.detail["events"]) == ("events.expire", 1)


FILE = """
[garage]
url = "https://garage.example/events"
secret = "%s"
attempts = 3

[porch]
url = "http://10.1.2.3/x"
secret_file = "porch.key"
private = true
"""


def test_receivers_come_from_the_settings_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "receivers.toml"
    file.write_text(FILE % SECRET)
    (tmp_path / "porch.key").write_text(SECRET + "\n")
    settings = Settings(
        webhook_url=SecretStr("https://a.example/x"),
        webhook_secret=SecretStr(SECRET),
        webhook_attempts=7,
        receivers_file=file,
    )
    found = receivers_of(settings)
    assert [(one.name, one.kind, one.pace.attempts) for one in found] == [
        ("webhook", "webhook", 7),
        ("garage", "webhook", 3),
        ("porch", "webhook", 15),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "no TOML"),
        ("garage = 1", "write \\[garage\\]"),
        ("[webhook]", "not called webhook"),
        ("[Garage]", "small letters"),
        ("[g]\nurl = 'https://a.example'", "give secret or secret_file"),
        ("[g]\nurl = 'https://a.example'\nsecret = 'hush'", "receiver g: the secret"),
        ("[g]\nurl = 'https://a.example'\nsecret_file = 'none'", "cannot be read"),
        (f"[g]\nurl = 'http://a.example'\nsecret = '{SECRET}'", "goes over https"),
        (f"[g]\nurl = 'https://a.example'\nsecret = '{SECRET}'\nretry = 3", "g.retry"),
    ],
)
def test_a_file_of_receivers_that_is_wrong_stops_the_start(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "receivers.toml"
    file.write_text(text)
    with pytest.raises(ReceiversError, match=why) as refused:
        receivers_of(Settings(receivers_file=file))
    assert "hush" not in str(refused.value)
    assert "example" not in str(refused.value)


def test_a_password_file_of_the_broker_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    settings = Settings(
        mqtt_url="mqtt://127.0.0.1:1883", mqtt_user="home", mqtt_password_file=tmp_path / "none"
    )
    with pytest.raises(ReceiversError, match="the file none cannot be read: No such file"):
        receivers_of(settings)
