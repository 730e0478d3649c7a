"""Clients that drip, and those that hurry: a command has its time as a whole, a message must come at a pace, and what it held is given back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from smtp_ingress import aiosmtpd_session as session
from smtp_ingress.reply import Reply
from smtp_ingress.session import Session

from tests.support.stack import until
from tests.support.wire import Wire

IDLE = "421 4.4.2 Idle too long, closing"


async def dripped(wire: Wire, piece: bytes) -> str:
    """The next reply to a client that sends a piece again and again, well within each time-out.

    IDLE too if the connection was reset: what was on its way when the server closed takes its last reply along.
    """
    reply = asyncio.ensure_future(wire.reply())
    while not reply.done():
        if not wire.writer.transport.is_closing():
            wire.send(piece)
        await asyncio.wait((reply,), timeout=0.02)
    try:
        return reply.result()
    except ConnectionError:
        return IDLE


async def envelope(wire: Wire) -> None:
    for line in ("EHLO client.example", "MAIL FROM:<bob@elsewhere.example>", "RCPT TO:<alice@example.test>"):
        assert (await wire.say(line)).startswith("250")


async def test_a_command_in_drips_is_idle(ingress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "COMMAND_SECONDS", 0.3)
    assert await dripped(await ingress.connect(), b"x") == IDLE


async def test_a_line_without_end_is_idle_and_kept_nowhere(ingress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "COMMAND_SECONDS", 0.3)
    assert await dripped(await ingress.connect(), b"x" * 20_000) == IDLE


async def test_commands_at_leisure_are_not(ingress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "COMMAND_SECONDS", 0.3)
    wire = await ingress.connect()
    start = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - start < 0.6:
        assert (await wire.say("NOOP")).startswith("250")


async def test_data_in_drips_is_cut_and_gives_its_octets_back(ingress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "DATA_SECONDS", 0.3)
    wire = await ingress.connect()
    await envelope(wire)
    assert (await wire.say("DATA")).startswith("354")
    assert await dripped(wire, b"Subject: drip\r\n") == IDLE
    await until(lambda: ingress.service.budget.used == 0)
    assert await ingress.inbox() == []


@pytest.mark.parametrize("piece", [b"x", b"BDAT 1\r\nx", b"NOOP\r\n"], ids=["octets", "chunks", "commands"])
async def test_chunks_in_drips_are_cut_and_give_their_octets_back(
    ingress: Any, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(session, "DATA_SECONDS", 0.3)
    wire = await ingress.connect()
    await envelope(wire)
    wire.send(b"BDAT 100000\r\n" + b"x" * 99_998 + b"\r\n")
    assert await wire.reply() == "250 2.0.0 Chunk received"
    if piece == b"x":
        wire.send(b"BDAT 1000000 LAST\r\n")
    reply = await dripped(wire, piece)
    while reply.startswith("250"):
        reply = await dripped(wire, piece)
    assert reply == IDLE
    await until(lambda: ingress.service.budget.used == 0)


async def test_a_message_at_its_pace_is_taken(ingress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than DATA_SECONDS in all, but PACE_BYTES within each."""
    monkeypatch.setattr(session, "DATA_SECONDS", 0.4)
    monkeypatch.setattr(session, "PACE_BYTES", 1000)
    wire = await ingress.connect()
    await envelope(wire)
    assert (await wire.say("DATA")).startswith("354")
    loop = asyncio.get_running_loop()
    start = loop.time()
    while loop.time() - start < 0.9:
        wire.send(b"X: " + b"y" * 500 + b"\r\n")
        await asyncio.wait((loop.create_future(),), timeout=0.02)
    assert (await wire.say(b"\r\nbody\r\n.")).startswith("250 2.0.0 Ok")
    assert len(await ingress.inbox()) == 1


async def test_many_commands_of_one_client_let_others_in_between(ingress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailboat_common.turn.TURN_SECONDS", 0.0)
    ran, command = 0, Session.command

    async def counted(of: Session, line: bytes) -> Reply:
        nonlocal ran
        ran += 1
        return await command(of, line)

    many, one = await ingress.connect(), await ingress.connect()
    monkeypatch.setattr(Session, "command", counted)
    many.send(b"NOOP\r\n" * 4000)
    assert (await one.say("NOOP")).startswith("250")
    assert ran < 4000
