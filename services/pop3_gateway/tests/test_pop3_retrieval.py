"""Big messages, slow clients and reading ahead: what the process holds is bounded."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_common.errors import Unavailable
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AccountId, BodyId
from pop3_gateway.ahead import ReadAhead
from pop3_gateway.connection import Pop3Connection

from tests.support.wire import WAIT_SECONDS

MEGABYTE = 1024 * 1024
BIG = 30 * MEGABYTE
LINE = b".a line that begins with a dot, so that it is stuffed, and that is 80 octets...\r\n"


def big_message(size: int = BIG) -> bytes:
    return (b"Subject: big\r\n\r\n" + LINE * (size // len(LINE) + 1))[: size - 2] + b"\r\n"


async def test_thirty_megabytes_arrive_to_the_byte(pop3) -> None:
    content = big_message()
    await pop3.fill([content])
    wire = await pop3.logged_in()
    assert await wire.say("RETR 4") == f"+OK {BIG} octets"
    stuffed = await _until_end(wire)
    assert hashlib.sha256(stuffed.replace(b"\r\n..", b"\r\n.")).digest() == hashlib.sha256(content).digest()
    assert pop3.gateway.ahead.held_bytes == 0, "a big message is streamed, never held"
    assert await wire.say("NOOP") == "+OK"


async def test_a_client_that_does_not_read_stops_the_store_not_our_memory(start, monkeypatch) -> None:
    pop3 = await start(auth_require_tls=False)
    await pop3.fill([big_message()])
    asked, read = [], pop3.store.read.read

    async def counted(*args, **kwargs):
        async for chunk in read(*args, **kwargs):
            asked.append(len(chunk))
            yield chunk

    monkeypatch.setattr(pop3.store.read, "read", counted)
    wire = await pop3.connect("pop3")
    sock = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    await wire.login()
    wire.reader._transport.pause_reading()
    paused = asyncio.Event()
    pause = Pop3Connection.pause_writing

    def told(self) -> None:
        pause(self)
        paused.set()

    monkeypatch.setattr(Pop3Connection, "pause_writing", told)
    wire.send(b"RETR 4\r\nQUIT\r\n")
    await asyncio.wait_for(paused.wait(), WAIT_SECONDS)
    at_pause = len(asked)
    other = await pop3.connect("pop3")
    for _ in range(300):  # turns of the event loop in which the server could go on
        await other.say("CAPA")
        await other.reader.readuntil(b"\r\n.\r\n")
    assert len(asked) <= at_pause + 1
    assert sum(asked) < BIG / 2
    wire.reader._transport.resume_reading()
    assert (await asyncio.wait_for(wire.reader.read(), 30)).endswith(b".\r\n+OK Bye\r\n")
    assert sum(asked) == BIG


async def test_a_client_that_goes_away_within_a_big_message_ends_the_read(start, monkeypatch) -> None:
    pop3 = await start(auth_require_tls=False)
    await pop3.fill([big_message()])
    ended, read = asyncio.Event(), pop3.store.read.read

    async def told(*args, **kwargs):
        try:
            async for chunk in read(*args, **kwargs):
                yield chunk
        finally:
            ended.set()

    monkeypatch.setattr(pop3.store.read, "read", told)
    wire = await pop3.connect("pop3")
    await wire.login()
    assert (await wire.say("RETR 4")).startswith("+OK")
    wire.writer.transport.abort()
    await asyncio.wait_for(ended.wait(), WAIT_SECONDS)
    await pop3.gateway.finish()
    assert pop3.account.lease is None


async def test_a_read_that_fails_midway_cuts_the_connection(pop3, monkeypatch) -> None:
    """An answer that was begun can't be taken back, and must not look whole."""
    await pop3.fill([big_message(2 * MEGABYTE)])
    read = pop3.store.read.read

    async def broken(*args, **kwargs):
        async for chunk in read(*args, **kwargs):
            yield chunk
            break
        raise Unavailable("mongodb went away")

    monkeypatch.setattr(pop3.store.read, "read", broken)
    wire = await pop3.logged_in()
    wire.send(b"RETR 4\r\nNOOP\r\n")
    try:
        answer = await wire.rest()
    except ConnectionError as error:
        answer = str(error).encode()
    assert not answer.endswith(b".\r\n")
    assert b"mongodb" not in answer


def batches(pop3, monkeypatch) -> list[int]:
    """How many messages each call asks for, as they come."""
    asked: list[int] = []
    contents = pop3.store.read.contents

    async def told(account_id, body_ids, max_bytes):
        asked.append(len(body_ids))
        return await contents(account_id, body_ids, max_bytes)

    monkeypatch.setattr(pop3.store.read, "contents", told)
    return asked


@pytest.mark.parametrize("count", [1, 64, 65, 200])
async def test_messages_in_order_are_asked_for_in_batches(pop3, monkeypatch, count: int) -> None:
    await pop3.fill([b"Subject: %d\r\n\r\n" % n for n in range(count - 3)] if count > 3 else [])
    asked = batches(pop3, monkeypatch)
    wire = await pop3.logged_in()
    held = []
    for number in range(1, count + 1):
        await wire.retrieve(number)
        held.append(pop3.gateway.ahead.held_bytes)
    total = max(count, 3)
    assert asked == [min(64, total - first) for first in range(0, count, 64)]
    assert max(held) < 64 * 100
    await wire.say("QUIT")
    assert pop3.gateway.ahead.held_bytes == 0, "what nobody will ask for is let go"


async def test_what_is_marked_deleted_is_not_read_ahead(pop3, monkeypatch) -> None:
    asked = batches(pop3, monkeypatch)
    wire = await pop3.logged_in()
    await wire.say("DELE 2")
    await wire.retrieve(1)
    assert asked == [2]


def message_ids(count: int) -> list[BodyId]:
    return [BodyId(os.urandom(16)) for _ in range(count)]


async def store_with(messages: list[bytes]) -> tuple[MemoryStore, AccountId, list[BodyId]]:
    store = MemoryStore()
    account_id = store.add_account("alice@example.test", "x")
    ids = message_ids(len(messages))
    store.accounts[account_id].bodies.update(zip(ids, messages, strict=True))
    return store, account_id, ids


async def test_all_sessions_together_hold_no_more_than_the_limit() -> None:
    store, account_id, ids = await store_with([b"x" * 100 for _ in range(10)])
    ahead = ReadAhead(store.read, limit=350)
    await ahead.fetch(account_id, ids[:2], 200)
    await ahead.fetch(account_id, ids[2:4], 200)
    assert ahead.held_bytes == 300
    assert ahead.take(account_id, ids[0]) is None, "the oldest went first"
    assert ahead.take(account_id, ids[1]) == b"x" * 100
    assert ahead.take(account_id, ids[1]) is None, "each is given once"
    ahead.forget(account_id, ids)
    assert ahead.held_bytes == 0


async def test_calls_fetch_no_more_than_the_limit_at_once(monkeypatch) -> None:
    store, account_id, ids = await store_with([b"x" * 100 for _ in range(4)])
    reached, opened, contents, calls = asyncio.Event(), asyncio.Event(), store.read.contents, []

    async def slow(*args):
        calls.append(args)
        reached.set()
        await opened.wait()
        return await contents(*args)

    monkeypatch.setattr(store.read, "contents", slow)
    ahead = ReadAhead(store.read, limit=300)
    first = asyncio.create_task(ahead.fetch(account_id, ids[:2], 200))
    await reached.wait()
    await ahead.fetch(account_id, ids[2:], 200)
    assert len(calls) == 1
    assert ahead.held_bytes == 0
    opened.set()
    await first
    await ahead.fetch(account_id, ids[2:3], 100)
    assert len(calls) == 2
    assert ahead.held_bytes == 300


async def test_no_account_gets_anothers_message() -> None:
    store, account_id, ids = await store_with([b"private"])
    ahead = ReadAhead(store.read)
    await ahead.fetch(account_id, ids, 7)
    assert ahead.take(AccountId(os.urandom(16)), ids[0]) is None
    assert ahead.take(account_id, ids[0]) == b"private"


@given(st.lists(st.tuples(st.sampled_from("ftr"), st.integers(0, 7), st.integers(0, 7)), max_size=40))
async def test_the_count_of_held_bytes_is_what_is_held(steps: list[tuple[str, int, int]]) -> None:
    store, account_id, ids = await store_with([b"x" * (n * 10) for n in range(8)])
    ahead = ReadAhead(store.read, limit=150)
    for step, low, high in steps:
        wanted = ids[low : high + 1]
        if step == "f" and wanted:
            await ahead.fetch(account_id, wanted, sum(n * 10 for n in range(low, high + 1)))
        elif step == "t":
            ahead.take(account_id, ids[low])
        else:
            ahead.forget(account_id, wanted)
        assert ahead.held_bytes == sum(map(len, ahead._held.values())) <= 150


async def _until_end(wire) -> bytes:
    """A multi-line answer's lines, still stuffed, without the final dot."""
    received = bytearray()
    while not received.endswith(b"\r\n.\r\n"):
        chunk = await asyncio.wait_for(wire.reader.read(MEGABYTE), WAIT_SECONDS)
        assert chunk, "the connection ended within the message"
        received += chunk
    return bytes(received[:-3])
