"""MongoDB and RabbitMQ away, at a start and later: clients get a temporary refusal or nothing at all changes for them,
no process dies, everything is ready again by itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.imap import Client
from tests.support.stack import OUTSIDER, Account, Live, Smtp, message, stuffed
from tests.support.wire import Wire

pytestmark = pytest.mark.stack
HELD_SECONDS = 45.0
"""Calls are held for 30 s, in case it is only a fail-over."""


@asynccontextmanager
async def without(live: Live, server: str, *restarted: str) -> AsyncIterator[None]:
    """Kills a server, starts some services anew without it; afterwards the server is back and all are ready.

    No other process may have died meanwhile.
    """
    await asyncio.to_thread(live.stack.kill, server)
    try:
        for name in restarted:
            await asyncio.to_thread(live.stack.stop, name)
            await asyncio.to_thread(live.stack.start, name, None)
        pids = {name: live.stack.pid(name) for name in live.services()}
        yield
        assert {name: live.stack.pid(name) for name in live.services()} == pids
    finally:
        await asyncio.to_thread(live.stack.start, server)
        await live.until_ready()


async def until_failing(live: Live, name: str, dependency: str) -> None:
    """Waits until a process is not ready for want of a dependency."""
    async with asyncio.timeout(60):
        while dependency not in await live.failing(name):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def late(client: Wire, line: bytes) -> str:
    """The first line of the answer to something that is held for long."""
    client.send(line)
    answer: bytes = await asyncio.wait_for(client.reader.readuntil(b"\r\n"), HELD_SECONDS)
    return answer.decode().strip()


async def mail_is_refused_for_now(client: Smtp, account: Account) -> None:
    """451 to RCPT, or at the end of the data if the address was known; never 250."""
    assert (await client.say(f"MAIL FROM:<{OUTSIDER}>")).startswith("250")
    answer = await late(client, f"RCPT TO:<{account.address}>\r\n".encode())
    if answer.startswith("250"):
        assert (await client.say("DATA")).startswith("354")
        answer = await late(client, stuffed(message("refused by SMTP")))
    assert re.match(r"451 4\.\d\.\d ", answer), answer
    assert (await client.say("RSET")).startswith("250")


async def changes_are_refused_for_now(client: Client) -> None:
    """FETCH FLAGS is answered from memory, APPEND says NO [UNAVAILABLE]; the session stays."""
    flags = await client.ok("FETCH 1 FLAGS")
    assert len(flags) == 1, flags
    async with asyncio.timeout(HELD_SECONDS):
        answer = await client.append("INBOX", message("refused by IMAP"))
    assert b" NO [UNAVAILABLE]" in answer, answer


async def a_login_is_refused_for_now(client: Client, account: Account) -> None:
    async with asyncio.timeout(HELD_SECONDS):
        answer = (await client.command(f'LOGIN {account.address} "{account.password}"'))[-1]
    assert b" NO [UNAVAILABLE]" in answer, answer


async def reading_is_refused_for_now(client: Wire) -> None:
    answer = await late(client, b"RETR 1\r\n")
    assert answer.startswith("-ERR [SYS/TEMP] "), answer


async def test_mongodb_away(live: Live) -> None:
    account = live.account()
    smtp = await live.smtp(1)
    assert (await smtp.transaction(OUTSIDER, account.address, message("first"))).startswith("250")
    imap, stranger, pop3 = await live.imap(1, account, "INBOX"), await live.imap(1), await live.pop3(1, account)
    async with without(live, "mongod-1", "storage_api-2", "imap_gateway-2"):
        await asyncio.gather(
            mail_is_refused_for_now(smtp, account),
            changes_are_refused_for_now(imap),
            a_login_is_refused_for_now(stranger, account),
            reading_is_refused_for_now(pop3),
            *(until_failing(live, name, "mongodb") for name in live.services("storage_api", "storage_worker")),
            *(until_failing(live, name, "storage") for name in live.services("smtp_ingress", "imap_gateway")),
        )
        assert {name: (await live.page(name, "/livez"))[0] for name in live.services()} == dict.fromkeys(
            live.services(), 200
        )
    # The sessions that have seen it all go on.
    assert (await smtp.transaction(OUTSIDER, account.address, message("second"))).startswith("250")
    assert b" OK" in await imap.append("INBOX", message("third"))
    await imap.ok("NOOP")
    subjects = await imap.ok("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
    assert [re.findall(rb"Subject: (.*)\r", line)[0] for line in subjects] == [b"first", b"second", b"third"]
    await stranger.login(account.address, account.password)
    assert (await pop3.say("RETR 1")).startswith("+OK")


async def idle_sees(live: Live, account: Account, watcher: Client, pod: int, seconds: float) -> None:
    """A delivery shows to a session in IDLE in time."""
    watcher.send(b"i IDLE\r\n")
    assert (await watcher.response()).startswith(b"+")
    await live.deliver(account, message("news"), pod)
    async with asyncio.timeout(seconds):
        lines = await watcher.until(b"* ")
    assert lines[-1].endswith(b"EXISTS"), lines
    watcher.send(b"DONE\r\n")
    assert (await watcher.until(b"i "))[-1].startswith(b"i OK")


async def connected(live: Live, name: str) -> bool:
    """Whether a process says that it has a connection to RabbitMQ."""
    _, text = await live.page(name, "/metrics")
    return 'mailboat_dependency_up{dependency="rabbitmq"} 1.0' in text


async def test_rabbitmq_away(live: Live) -> None:
    account = live.account()
    old = await live.imap(2, account, "INBOX")
    async with without(live, "rabbitmq-1", "storage_api-1", "imap_gateway-1"):
        await live.until_ready("storage_api-1", "storage_api-2", "imap_gateway-1", "imap_gateway-2", "smtp_ingress-1")
        new = await live.imap(1, account, "INBOX")
        for watcher, pod in ((old, 1), (new, 2), (old, 2), (new, 1)):
            await idle_sees(live, account, watcher, pod, 2.0)
        for name in live.services("delivery_worker"):
            await until_failing(live, name, "rabbitmq")
        assert not await connected(live, "imap_gateway-1")
    async with asyncio.timeout(60):
        for name in live.services("imap_gateway", "storage_api", "delivery_worker"):
            while not await connected(live, name):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    for watcher, pod in ((old, 1), (new, 2)):
        await watcher.ok("NOOP")
        await idle_sees(live, account, watcher, pod, 1.0)
