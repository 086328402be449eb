"""Card numbers by published examples, and what takes them: programs, serial lines, addresses."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.doors.building import build
from service.doors.document import DoorsError
from service.doors.outputs.base import Output, OutputFailed
from service.doors.wiegand import CardError, encode, number_bits
from tests.service.doors.support import doors_text, relay

ADA = {"card": 324}
# Facility 90, number 324.
BITS = "00101101000000001010001000"


@pytest.mark.parametrize(
    ("bits", "facility", "number", "expected"),
    [
        # README of the package wiegand-encoder.
        (26, 90, 324, BITS),
        # README of jonathansm/wiegand-26bit-calculator.
        (26, 227, 57600, "01110001111100001000000000"),
        # Manual of Civintec's CN56, 6.4.3 and 6.4.5: the bytes D4 1B 81 and 89 D4 1B 81.
        (26, 0xD4, 0x1B81, "11101010000011011100000010"),
        (34, 0x89D4, 0x1B81, "1100010011101010000011011100000011"),
        # Manual of Hikvision's DS-2CD7A26G0/P-IZHSWG, page 9: 1234567890.
        (34, 1234567890 >> 16, 1234567890 & 0xFFFF, "1010010011001011000000010110100100"),
    ],
)
def test_published_examples(bits: int, facility: int, number: int, expected: str) -> None:
    assert encode(facility, number, bits=bits) == expected


@given(st.sampled_from([26, 34]), st.integers(0, 65_535), st.integers(0, 65_535))
def test_parity_and_content(bits: int, facility: int, number: int) -> None:
    facility %= 1 << (bits - 18)
    sent = encode(facility, number, bits=bits)
    assert len(sent) == bits
    assert sent[: bits // 2].count("1") % 2 == 0
    assert sent[bits // 2 :].count("1") % 2 == 1
    assert int(sent[1:-1], 2) == (facility << 16) + number


@pytest.mark.parametrize(
    ("card", "facility"),
    [
        (None, 1),
        ("", 1),
        (True, 1),
        (1.0, 1),
        (-1, 1),
        (65_536, 1),
        ("12 34", 1),
        ("7:1", 1),
        ("1", None),
        ("256:1", None),
        (["1"], 1),
        ("１", 1),
    ],
)
def test_what_is_no_card_number_is_refused(card: object, facility: int | None) -> None:
    with pytest.raises(CardError):
        number_bits(card, bits=26, facility=facility)


def test_a_card_may_name_its_facility() -> None:
    assert number_bits("90:324", bits=26, facility=None) == BITS
    assert number_bits("324", bits=26, facility=90) == BITS


def made(tmp_path: Path, output: str) -> Output:
    path = tmp_path / "doors.toml"
    path.write_text(doors_text(output=output))
    _, outputs = build(path)
    return outputs["front"]


def wiegand(hand_to: str) -> str:
    return f'kind = "wiegand"\nfacility = 90\nhand_to = {{ {hand_to} }}'


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "send"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return wiegand(f'kind = "command", command = ["{path}", "--door", "1"]')


async def failing(output: Output, metadata: dict[str, Any], left_s: float = 2.0) -> str:
    with pytest.raises(OutputFailed) as failed:
        await output.open(metadata, left_s)
    return failed.value.reason


async def test_a_program_gets_the_number_on_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFLIGHT_MASTER_KEY", "a-secret-of-the-service")
    text = f'cat > {tmp_path}/got; echo "$@" > {tmp_path}/asked; env > {tmp_path}/env'
    await made(tmp_path, program(tmp_path, text)).open(ADA, 5.0)
    assert (tmp_path / "got").read_text() == f"{BITS}\n"
    assert (tmp_path / "asked").read_text() == "--door 1\n"
    assert "a-secret-of-the-service" not in (tmp_path / "env").read_text()


async def test_a_program_that_fails_or_hangs_does_not_open_later(tmp_path: Path) -> None:
    assert await failing(made(tmp_path, program(tmp_path, "exit 3")), ADA) == "output_refused"
    hanging = program(tmp_path, f"(sleep 2; touch {tmp_path}/opened) & sleep 2; touch {tmp_path}/opened")
    assert await failing(made(tmp_path, hanging), ADA, 0.5) == "output_too_slow"
    await asyncio.sleep(3)
    assert not (tmp_path / "opened").exists()
    missing = wiegand('kind = "command", command = ["/nonexistent/send"]')
    assert await failing(made(tmp_path, missing), ADA) == "output_unreachable"


async def test_without_a_card_nothing_is_sent(tmp_path: Path) -> None:
    output = made(tmp_path, program(tmp_path, f"touch {tmp_path}/opened"))
    assert await failing(output, {}) == "no_card"
    assert await failing(output, {"card": "none"}) == "no_card"
    assert not (tmp_path / "opened").exists()


async def test_an_address_gets_the_number_as_json(tmp_path: Path) -> None:
    with relay(tmp_path / "calls") as opened:
        hand_to = f'kind = "http", url = "http://127.0.0.1:{opened.port}/card"'
        await made(tmp_path, wiegand(hand_to)).open(ADA, 5.0)
        (call,) = opened.calls()
    assert (call["path"], call["body"]) == ("/card", f'{{"bits":26,"number":"{BITS}"}}')


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """The far end of a serial line, and the device of the near one."""
    far, near = pty.openpty()
    tty.setraw(near)
    yield far, os.ttyname(near)
    os.close(near)
    os.close(far)


async def test_a_serial_line_gets_the_number(line: tuple[int, str], tmp_path: Path) -> None:
    far, device = line
    await made(tmp_path, wiegand(f'kind = "serial", device = "{device}"')).open(ADA, 5.0)
    assert select.select([far], [], [], 5.0)[0]
    assert os.read(far, 100) == f"{BITS}\n".encode()


async def test_no_number_is_thrown_away_on_its_way(line: tuple[int, str], tmp_path: Path) -> None:
    # The kernel moves a number to the far end when it has time, after the near one is told that it is sent.
    far, device = line
    output = made(tmp_path, wiegand(f'kind = "serial", device = "{device}"'))
    for _ in range(1000):
        await output.open(ADA, 5.0)
        assert select.select([far], [], [], 5.0)[0]
        assert os.read(far, 100) == f"{BITS}\n".encode()


async def test_a_serial_line_that_is_gone_or_stuck_sends_nothing_later(
    line: tuple[int, str], tmp_path: Path
) -> None:
    gone = wiegand(f'kind = "serial", device = "{tmp_path}/none"')
    assert await failing(made(tmp_path, gone), ADA) == "output_unreachable"
    far, device = line
    with open(device, "wb", buffering=0) as stuck:  # noqa: ASYNC230, PTH123 - a line, which blocks nobody
        os.set_blocking(stuck.fileno(), False)
        # The kernel moves some of it on after each write, until the far end holds all that it can.
        for _ in range(20):
            while stuck.write(b"x" * 512) or stuck.write(b"x"):
                pass
            await asyncio.sleep(0.02)
    output = made(tmp_path, wiegand(f'kind = "serial", device = "{device}"'))
    assert await failing(output, ADA, 0.5) == "output_too_slow"
    os.set_blocking(far, False)
    held = b""
    for _ in range(100):
        try:
            held += os.read(far, 65_536)
        except BlockingIOError:
            await asyncio.sleep(0.01)
    assert BITS.encode() not in held


def test_a_key_of_a_secure_channel_is_checked_and_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("osdp")
    (tmp_path / "osdp.key").write_text("00112233445566778899aabbccddeefg")
    with pytest.raises(DoorsError) as refused:
        made(tmp_path, 'kind = "osdp"\ndevice = "/dev/null"\nkey_file = "osdp.key"')
    assert "doors.front.output" in str(refused.value)
    assert "0011" not in str(refused.value)
    with pytest.raises(DoorsError, match="give `key_file` for the secure channel"):
        made(tmp_path, 'kind = "osdp"\ndevice = "/dev/null"')
