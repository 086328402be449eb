"""The login at Frigate's port 8971: asked for when it is wanted, once its token has ended, and if refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.frigate_api import FrigateApi, FrigateError, Login
from service.cli.output import Failure
from tests.service.cli.command import halflight
from tests.service.frigate.recorder import Recorder

EVENT, PASSWORD = "1607123951.475377-mxkls1", "only-for-the-test"


@pytest.fixture
def guarded() -> Iterator[Recorder]:
    made = Recorder(PASSWORD)
    made.pictures[EVENT] = [b"a picture"]
    yield made
    made.close()


def test_a_login_is_made_once_and_again_when_its_token_has_ended(guarded: Recorder) -> None:
    async def use() -> None:
        async with FrigateApi(guarded.url, Login("halflight", PASSWORD)) as api:
            assert await api.snapshot(EVENT) == b"a picture"
            await api.set_sub_label(EVENT, "Anna", 1.0)
            assert guarded.logins == 1
            guarded.tokens.clear()
            await api.set_sub_label(EVENT, "Bea", 0.5)
            assert guarded.logins == 2
            guarded.tokens.clear()
            assert await api.snapshot(EVENT) == b"a picture"

    asyncio.run(use())
    assert (guarded.logins, guarded.labels) == (3, {EVENT: ("Bea", 0.5)})


def test_a_login_that_is_refused_is_said_and_not_tried_with_every_picture(guarded: Recorder) -> None:
    async def use() -> None:
        async with FrigateApi(guarded.url, Login("halflight", "wrong-one")) as api:
            with pytest.raises(FrigateError, match="the login was refused, status 401"):
                await api.snapshot(EVENT)
            for _ in range(3):
                with pytest.raises(FrigateError, match="refused a moment ago"):
                    await api.snapshot(EVENT)
            with pytest.raises(FrigateError, match="refused a moment ago"):
                await api.set_sub_label(EVENT, "Anna", 1.0)

    asyncio.run(use())
    assert guarded.logins == 1


def test_without_a_user_the_other_port_is_named(guarded: Recorder) -> None:
    async def use() -> None:
        async with FrigateApi(guarded.url) as api:
            with pytest.raises(FrigateError, match="port 5000"):
                await api.snapshot(EVENT)

    asyncio.run(use())
    assert guarded.logins == 0


def test_a_password_is_never_sent_in_clear_nor_shown(tmp_path: Path) -> None:
    login = Login("halflight", PASSWORD)
    assert PASSWORD not in repr(login)
    with pytest.raises(Failure, match="https"):
        FrigateApi("http://192.0.2.9:8971", login)
    (tmp_path / "no.pem").write_text("none")
    with pytest.raises(Failure, match="no certificate"):
        FrigateApi("https://192.0.2.9:8971", login, tmp_path / "no.pem")


def test_a_user_without_a_password_is_refused_at_the_start() -> None:
    done = halflight("frigate", "--frigate", "https://f", "--mqtt", "mqtt://b", "--frigate-user", "me")
    assert (done.code, "a user and a password" in done.err) == (2, True), done.err
