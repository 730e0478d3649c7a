"""What one device does through one pod, another sees through another pod: within a second, in order.

The four pods in play: smtp_ingress, imap_gateway and pop3_gateway 1 and 2, with two of storage_api behind them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import pytest
from mailboat_local.stack import Stack

from tests.support.imap import Client
from tests.support.stack import Account, Live, message

pytestmark = pytest.mark.stack
SECONDS = 1.0
"""The promise: seen within a second (p99)."""

Change = Callable[[Live, Account, Client], Awaitable[object]]


async def idle(client: Client) -> None:
    """Into IDLE."""
    client.send(b"i IDLE\r\n")
    assert (await client.response()).startswith(b"+")


async def done(client: Client) -> list[bytes]:
    """Out of IDLE; what else was told."""
    client.send(b"DONE\r\n")
    *told, last = await client.until(b"i ")
    assert last.startswith(b"i OK"), last
    return told


async def told(client: Client, line: bytes, seconds: float = SECONDS) -> list[bytes]:
    """Lines up to and with the first that matches; TimeoutError if it doesn't come in time."""
    seen: list[bytes] = []
    async with asyncio.timeout(seconds):
        while not (seen and re.fullmatch(line, seen[-1])):
            seen.append(await client.response())
            assert seen[-1], f"the connection ended after {seen}"
    return seen


async def deliver(live: Live, account: Account, _client: Client) -> None:
    await live.deliver(account, message("news"))


async def append(_live: Live, _account: Account, client: Client) -> None:
    assert b" OK" in await client.append("INBOX", message("appended"), r"\Seen")


async def flag(_live: Live, _account: Account, client: Client) -> None:
    await client.ok(r"STORE 2 +FLAGS (\Flagged $Forwarded)")


async def expunge(_live: Live, _account: Account, client: Client) -> None:
    await client.ok(r"STORE 1:2 +FLAGS.SILENT (\Deleted)")
    await client.ok("EXPUNGE")


async def move(_live: Live, _account: Account, client: Client) -> None:
    await client.ok("MOVE 3 Trash")


CHANGES: list[tuple[Change, bytes]] = [
    (deliver, rb"\* 4 EXISTS"),
    (append, rb"\* 4 EXISTS"),
    (flag, rb"\* 2 FETCH \(UID \d+ FLAGS \(\\Flagged \$Forwarded\)\)"),
    (expunge, rb"\* 1 EXPUNGE"),
    (move, rb"\* 3 EXPUNGE"),
]


async def two(live: Live, messages: int = 3) -> tuple[Account, Client, Client]:
    """An account with some messages, selected through both pods."""
    account = live.account()
    one = await live.imap(1, account)
    for number in range(messages):
        assert b" OK" in await one.append("INBOX", message(f"message {number}"))
    await one.ok("SELECT INBOX")
    return account, one, await live.imap(2, account, "INBOX")


@pytest.mark.parametrize(("change", "seen"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
async def test_idle_on_another_pod_is_told_within_a_second(live: Live, change: Change, seen: bytes) -> None:
    account, one, other = await two(live)
    await idle(other)
    await change(live, account, one)
    await told(other, seen)
    await done(other)


@pytest.mark.parametrize(("change", "seen"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
async def test_noop_on_another_pod_knows_at_once(live: Live, change: Change, seen: bytes) -> None:
    account, one, other = await two(live)
    await change(live, account, one)
    lines = await other.ok("NOOP")
    assert [line for line in lines if re.fullmatch(seen, line)], lines


async def test_two_hundred_changes_are_seen_in_order_and_in_time(live: Live) -> None:
    """One pod appends, then flags, as fast as it can; each change shows on the other, in that order."""
    _account, one, other = await two(live, 0)
    await idle(other)
    seen: list[float] = []

    async def watch() -> None:
        while len(seen) < 200:
            line = await other.response()
            if found := re.fullmatch(rb"\* (\d+) EXISTS", line):
                seen.extend([time.monotonic()] * (int(found[1]) - len(seen)))
            elif found := re.fullmatch(rb"\* (\d+) FETCH \(UID (\d+) FLAGS \(\\Flagged(?: \\Recent)?\)\)", line):
                assert int(found[1]) == int(found[2]) == len(seen) - 99, (line, len(seen))
                seen.append(time.monotonic())
            else:
                assert line.endswith(b" RECENT"), line

    watching = asyncio.create_task(watch())
    answered: list[float] = []
    for _ in range(100):
        assert b" OK" in await one.append("INBOX", message("x"))
        answered.append(time.monotonic())
    async with asyncio.timeout(SECONDS):
        while len(seen) < 100:  # noqa: ASYNC110 - a flag must not meet its message on the way: it would be told with it
            await asyncio.sleep(0.005)
    for number in range(1, 101):
        await one.ok(rf"STORE {number} +FLAGS.SILENT (\Flagged)")
        answered.append(time.monotonic())
    async with asyncio.timeout(5):
        await watching
    delays = sorted(late - said for late, said in zip(seen, answered, strict=True))
    print(f"delays: p50 {delays[100] * 1000:.0f} ms, p99 {delays[197] * 1000:.0f} ms, most {delays[-1] * 1000:.0f} ms")
    assert delays[197] < SECONDS, delays[-5:]
    assert await done(other) == []


async def test_both_pods_change_one_mailbox_and_agree(live: Live) -> None:
    """Sessions on both pods add, flag and expunge at once: afterwards both show the same messages with the same flags."""
    _account, one, other = await two(live, 40)

    async def work(client: Client, keyword: str, first: int) -> None:
        for number in range(first, 41, 8):
            await client.ok(f"UID STORE {number} +FLAGS.SILENT ({keyword})")
            await client.ok(rf"UID STORE {number + 1} +FLAGS.SILENT (\Deleted)")
            await client.ok(f"UID EXPUNGE {number + 1}")
            assert b" OK" in await client.append("INBOX", message(keyword))

    await asyncio.gather(work(one, "one", 1), work(other, "two", 5))
    views = []
    for client in (one, other):
        await client.ok("NOOP")
        lines = await client.ok("UID FETCH 1:* (FLAGS)")
        views.append([re.sub(rb"\\Recent ?", b"", line).replace(b" )", b")") for line in lines])
    assert views[0] == views[1]
    assert len(views[0]) == 40
    assert sum(b"one" in line for line in views[0]) == sum(b"two" in line for line in views[0]) == 5


async def test_a_mailbox_deleted_on_one_pod_ends_the_session_on_the_other(live: Live) -> None:
    account, one, _ = await two(live, 0)
    await one.ok("CREATE Projects")
    other = await live.imap(2, account, "Projects")
    await idle(other)
    await one.ok("DELETE Projects")
    assert (await told(other, rb"\* BYE .*"))[-1].startswith(b"* BYE")
    assert await other.response() == b""
    names = await (await live.imap(2, account)).ok('LIST "" *')
    assert not [line for line in names if b"Projects" in line]


async def test_a_folder_made_on_one_pod_can_be_used_on_the_other_at_once(live: Live) -> None:
    account = live.account()
    one, other = await live.imap(1, account), await live.imap(2, account)
    await one.ok("CREATE Projects/2026")
    assert b" OK" in await other.append("Projects/2026", message("plan"))
    await other.ok("RENAME Projects/2026 Projects/old")
    assert await one.ok("STATUS Projects/old (MESSAGES UIDNEXT)") == [b"* STATUS Projects/old (MESSAGES 1 UIDNEXT 2)"]


async def test_a_maildrop_is_one_sessions_on_all_pods(live: Live) -> None:
    """RFC 1939 4: the lock holds on another pod, too; what QUIT removes is told to IMAP on a third."""
    account, one, other = await two(live, 2)
    await idle(other)
    session = await live.pop3(1, account)
    second = await live.pop3(2)
    await second.say(f"USER {account.address}")
    assert (await second.say(f"PASS {account.password}")).startswith("-ERR [IN-USE]")
    assert (await session.say("DELE 1")).startswith("+OK")
    assert (await session.say("QUIT")).startswith("+OK")
    await told(other, rb"\* 1 EXPUNGE")
    assert b"* 1 EXPUNGE" in await one.ok("NOOP")
    again = await live.pop3(2, account)
    assert (await again.say("STAT")).startswith("+OK 1 ")


async def test_a_dead_pods_clients_go_on_at_another(live: Live) -> None:
    """kill -9 of a gateway with an IDLE session and a POP3 lock: nothing is locked out and nothing is lost."""
    account, one, other = await two(live, 1)
    await idle(one)
    stack: Stack = live.stack
    await asyncio.to_thread(stack.kill, "imap_gateway-1")
    try:
        assert await one.response() == b""
        assert b" OK" in await other.append("INBOX", message("after the death"))
        assert b"* 2 EXISTS" in await (await live.imap(2, account)).ok("SELECT INBOX")
    finally:
        await asyncio.to_thread(stack.start, "imap_gateway-1")
    assert b"* 2 EXISTS" in await (await live.imap(1, account)).ok("SELECT INBOX")
