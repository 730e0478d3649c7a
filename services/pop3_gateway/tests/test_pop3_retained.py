"""What counts as retrieved, when it is recorded, and what EXPIRE tells: RFC 2449 6.7."""

from __future__ import annotations

import asyncio
import socket

import pytest
from mailboat_common.errors import Refused, RefusedCode, Unavailable
from mailboat_store_client.memory import MemoryStore
from pop3_gateway.expire import FRESH_SECONDS, PlatformDays

from tests.support.wire import within


def recorded(pop3) -> list[int]:
    """UIDs whose days have begun."""
    inbox = pop3.store.by_name(pop3.account, "INBOX")
    return sorted(pop3.account.retrieved.get(inbox.mailbox_id, {}))


async def dropped(pop3, wire) -> None:
    """The client's connection is gone, and the session has ended."""
    released = pop3.released()
    wire.writer.transport.abort()
    await within(released)


# -- what counts


async def test_quit_records_what_retr_gave_and_what_stays(pop3) -> None:
    wire = await pop3.logged_in()
    await wire.retrieve(1)
    await wire.retrieve(3)
    await wire.listing("TOP 2 10")
    await wire.say("DELE 3")
    assert recorded(pop3) == [], "one call, at the end"
    assert await wire.say("QUIT") == "+OK Bye"
    assert recorded(pop3) == [1]
    assert await pop3.inbox() == [1, 2]


async def test_everything_pipelined_counts_with_quit(pop3) -> None:
    wire = await pop3.logged_in()
    wire.send(b"RETR 1\r\nRETR 2\r\nRSET\r\nQUIT\r\n")
    assert (await wire.rest()).endswith(b"+OK Bye\r\n")
    assert recorded(pop3) == [1, 2]


async def test_a_session_without_quit_counts_what_the_client_went_on_from(pop3) -> None:
    wire = await pop3.logged_in()
    await wire.retrieve(2)
    await wire.retrieve(1)
    await wire.say("DELE 1")
    await wire.retrieve(3)  # nothing is said after it
    await dropped(pop3, wire)
    assert recorded(pop3) == [1, 2]
    assert await pop3.inbox() == [1, 2, 3]


async def test_what_was_only_pipelined_does_not_count_without_quit(pop3) -> None:
    wire = await pop3.logged_in()
    wire.send(b"RETR 1\r\nRETR 2\r\nNOOP\r\n")
    while await wire.line() != "+OK 25 octets":
        pass
    while await wire.line() != "+OK":
        pass
    await dropped(pop3, wire)
    assert recorded(pop3) == []


async def test_a_message_that_did_not_leave_whole_does_not_count(start) -> None:
    pop3 = await start(auth_require_tls=False)
    # More than both kernels' buffers hold: the sender's grows to 4 MB, the receiver's is kept small.
    await pop3.fill([b"Subject: big\r\n\r\n" + b"x" * (12 << 20)])
    wire = await pop3.connect("pop3")
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    await wire.login()
    wire.reader._transport.pause_reading()
    wire.send(b"RETR 4\r\n")
    other = await pop3.connect("pop3")
    for _ in range(50):
        await other.say("CAPA")
        await other.reader.readuntil(b"\r\n.\r\n")
    wire.send(b"QUIT\r\n")
    await dropped(pop3, wire)
    await pop3.gateway.finish()
    assert recorded(pop3) == []


async def test_a_read_that_fails_does_not_count(pop3, monkeypatch) -> None:
    async def failing(*_args):
        raise Unavailable("away")

    wire = await pop3.logged_in()
    with monkeypatch.context() as patch:
        patch.setattr(pop3.store.read, "contents", failing)
        assert (await wire.say("RETR 1")).startswith("-ERR")
    await wire.say("QUIT")
    assert recorded(pop3) == []


async def test_idle_time_and_drain_record_as_well(pop3) -> None:
    wire = await pop3.logged_in()
    await wire.retrieve(1)
    await wire.say("NOOP")
    await pop3.server.drain(asyncio.get_running_loop().time() + 10)
    await pop3.gateway.finish()
    assert recorded(pop3) == [1]


@pytest.mark.parametrize("error", [Unavailable("away"), Refused(RefusedCode.NO_MAILBOX, "x")])
async def test_a_record_that_fails_is_not_the_clients_business(pop3, monkeypatch, error: Exception) -> None:
    async def failing(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(pop3.store.write, "record_retrieved", failing)
    wire = await pop3.logged_in()
    await wire.retrieve(1)
    assert await wire.say("QUIT") == "+OK Bye"
    assert await pop3.inbox() == [1, 2, 3]
    assert pop3.account.lease is None


async def test_a_session_that_lists_only_makes_no_call(pop3, monkeypatch) -> None:
    async def never(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr(pop3.store.write, "record_retrieved", never)
    wire = await pop3.logged_in()
    await wire.listing("UIDL")
    assert await wire.say("QUIT") == "+OK Bye"


# -- zero days


async def test_with_no_days_quit_removes_what_was_retrieved(pop3) -> None:
    pop3.account.retention_days = 0
    wire = await pop3.logged_in()
    await wire.retrieve(1)
    await wire.listing("TOP 2 10")
    await wire.say("DELE 3")
    await wire.say("RSET")
    assert await pop3.inbox() == [1, 2, 3]
    assert await wire.say("QUIT") == "+OK Bye"
    assert await pop3.inbox() == [2, 3]
    assert recorded(pop3) == []


async def test_with_no_days_a_session_without_quit_removes_nothing_itself(pop3) -> None:
    pop3.account.retention_days = 0
    wire = await pop3.logged_in()
    await wire.retrieve(1)
    await wire.say("NOOP")
    await dropped(pop3, wire)
    assert await pop3.inbox() == [1, 2, 3]
    assert recorded(pop3) == [1], "the worker removes it later"


async def test_with_no_days_a_lost_lease_removes_nothing(pop3) -> None:
    pop3.account.retention_days = 0
    wire = await pop3.logged_in()
    await wire.retrieve(1)
    pop3.account.lease = None
    await pop3.store.write.lease_maildrop(pop3.account_id, "another pod", 60)
    assert (await wire.say("QUIT")).startswith("-ERR [IN-USE]")
    assert await pop3.inbox() == [1, 2, 3]


# -- EXPIRE


async def expire(wire) -> list[str]:
    return [line for line in await wire.listing("CAPA") if line.startswith("EXPIRE")]


@pytest.mark.parametrize(
    ("domain", "own", "before", "after"),
    [
        (None, None, "EXPIRE NEVER", "EXPIRE NEVER"),
        (30, None, "EXPIRE 30 USER", "EXPIRE 30"),
        (30, 7, "EXPIRE 7 USER", "EXPIRE 7"),
        (30, 60, "EXPIRE 30 USER", "EXPIRE 60"),
        (30, 0, "EXPIRE 0 USER", "EXPIRE 0"),
        (30, -1, "EXPIRE 30 USER", "EXPIRE NEVER"),
        (None, -1, "EXPIRE NEVER", "EXPIRE NEVER"),
    ],
)
async def test_expire_is_the_least_before_login_and_the_users_own_after(
    pop3, domain: int | None, own: int | None, before: str, after: str
) -> None:
    if domain is not None:
        pop3.store.domain_retention["example.test"] = domain
    pop3.account.retention_days = own
    wire = await pop3.connect()
    assert await expire(wire) == [before]
    await wire.login()
    assert await expire(wire) == [after]


async def test_nothing_is_promised_while_the_store_is_away(pop3, monkeypatch) -> None:
    async def failing(*_args):
        raise Unavailable("away")

    wire = await pop3.connect()
    with monkeypatch.context() as patch:
        patch.setattr(pop3.store.read, "maildrop_retention", failing)
        assert await expire(wire) == []
    assert await expire(wire) == ["EXPIRE NEVER"]


async def test_the_platforms_days_are_asked_for_once_a_minute() -> None:
    store, now = MemoryStore(), [0.0]
    days = PlatformDays(store.read, lambda: now[0])
    assert await days.argument() == b"NEVER"
    store.domain_retention["example.test"] = 5
    now[0] = FRESH_SECONDS - 1
    assert await days.argument() == b"NEVER"
    now[0] = FRESH_SECONDS
    assert await days.argument() == b"5 USER"
