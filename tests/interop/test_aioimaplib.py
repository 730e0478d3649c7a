"""aioimaplib, of Home Assistant and others: it waits in IDLE for most of its life. (It knows no STARTTLS.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aioimaplib import IMAP4_SSL  # type: ignore[import-untyped]

from tests.interop.far import Server, large
from tests.support.stack import Account, LiveStack, message

pytestmark = pytest.mark.stack

Connect = Callable[[int], Awaitable[IMAP4_SSL]]


@pytest.fixture
def account(live_stack: LiveStack) -> Account:
    return live_stack.account()


@pytest.fixture
async def connect(live_stack: LiveStack, account: Account) -> AsyncIterator[Connect]:
    """Makes logged-in clients: `await connect(pod)`."""
    opened: list[IMAP4_SSL] = []

    async def made(pod: int) -> IMAP4_SSL:
        port = live_stack.stack.ports(f"imap_gateway-{pod}")["imaps"]
        client = IMAP4_SSL("localhost", port, timeout=30, ssl_context=live_stack.tls)
        opened.append(client)
        await client.wait_hello_from_server()
        assert (await client.login(account.address, account.password)).result == "OK"
        return client

    yield made
    for client in opened:
        await client.logout()


async def test_aioimaplib_idles_and_hears_of_the_other_pod(
    connect: Connect, live_stack: LiveStack, account: Account
) -> None:
    far = Server(live_stack, account, pod=2)
    far.append("INBOX", "before")
    client = await connect(1)
    assert (await client.select()).result == "OK"
    waiting = await client.idle_start(timeout=30)
    far.append("INBOX", "news")
    far.change("INBOX", "before", r"(\Flagged)")
    heard: list[bytes] = []
    while not any(line.startswith(b"1 FETCH") and rb"\Flagged" in line for line in heard):
        heard += await client.wait_server_push(timeout=30)
    assert b"2 EXISTS" in heard
    far.expunge("INBOX", "before")
    while b"1 EXPUNGE" not in heard:
        heard += await client.wait_server_push(timeout=30)
    client.idle_done()
    assert (await waiting).result == "OK"
    assert (await client.uid_search("ALL")).lines[0] == b"2"


async def test_aioimaplib_does_a_days_work(connect: Connect) -> None:
    client = await connect(2)
    assert client.has_capability("MOVE")
    assert (await client.id(name="aioimaplib")).result == "OK"
    assert (await client.enable("CONDSTORE")).result == "OK"
    assert (await client.append(message("aio"), "INBOX", flags=r"\Flagged $Work")).result == "OK"
    await client.select()
    assert (await client.search("SUBJECT", "aio", "KEYWORD", "$Work")).lines[0] == b"1"
    fetched = await client.uid("fetch", "1", "(BODY.PEEK[] FLAGS)")
    assert fetched.result == "OK"
    assert b"Subject: aio" in b"".join(bytes(line) for line in fetched.lines)
    assert (await client.create("Work")).result == "OK"
    assert (await client.uid("copy", "1", "Work")).result == "OK"
    assert (await client.move("1", "Trash")).result == "OK"
    assert b"MESSAGES 1" in (await client.status("Work", "(MESSAGES UNSEEN)")).lines[0]
    assert any(rb"\Trash" in line for line in (await client.list('""', "*")).lines)


async def test_aioimaplib_brings_thirty_megabytes_up_and_down(connect: Connect) -> None:
    content = large("aioimaplib")
    client = await connect(1)
    assert (await client.append(content)).result == "OK"
    other = await connect(2)
    await other.select()
    fetched = await other.uid("fetch", "1", "(BODY.PEEK[])")
    assert bytes(fetched.lines[1]) == content
