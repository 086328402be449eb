"""Signatures after Standard Webhooks, addresses that may be sent to, and the outbox on both databases."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from service.store.database import Database
from service.store.outbox import NewEvent
from service.webhooks.signing import headers, secret_bytes
from service.webhooks.target import Target, Unreachable

NOW = datetime.now(UTC)


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
            await uow.outbox.add(NewEvent(f"{number:024x}", NOW, name, b"{}"))
        await uow.outbox.add(NewEvent(f"{9:024x}", NOW, "gone", b"{}"))
        await uow.commit()
    async with db.write(erasing=True) as uow:
        await uow.subjects.delete("anna")
        await uow.commit()
    async with db.write() as uow:
        due = await uow.outbox.claim(NOW, NOW + timedelta(seconds=9), 10)
        assert [one.event_id for one in due] == [f"{1:024x}", f"{2:024x}"]
        assert [one.body for one in due] == [b"{}", b"{}"]
        assert await uow.outbox.claim(NOW, NOW, 10) == []
        await uow.outbox.confirm(due[0].event_id)
        await uow.outbox.fail(due[1].event_id, "status 500", None)
        assert await uow.outbox.count() == (0, 1)
        assert await uow.outbox.replay(None, NOW) == 1
        assert await uow.outbox.count() == (1, 0)
        await uow.commit()
