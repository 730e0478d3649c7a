"""NOTIFY below the protocol: lost news, one request for all sessions, slow clients, too much at once, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from imap_gateway import notifier
from mailboat_common.errors import Unavailable
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AccountId, MailboxChanged, MailboxTree

from tests.support.imap import ALICE, PASSWORD, Client, Running, imap_gateway

MESSAGE = b"Subject: x\r\n\r\nx\r\n"
PERSONAL = "NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))"


@asynccontextmanager
async def two_pods(*, hear_news: bool = True) -> AsyncIterator[tuple[Running, Running]]:
    """The store's other gateway, and the one under test."""
    store = MemoryStore()
    store.add_account(ALICE, PASSWORD)
    async with imap_gateway(store) as other, imap_gateway(store, hear_news=hear_news) as tested:
        yield other, tested


async def test_lost_news_is_caught_up_by_the_poll() -> None:
    async with two_pods(hear_news=False) as (other, deaf):
        deaf.news.connected = False
        polling = asyncio.ensure_future(deaf.gateway.views.keep_polling(lambda: deaf.news.connected))
        listener, actor = await deaf.session(), await other.session()
        await listener.ok(PERSONAL)
        await actor.ok("CREATE made")
        deaf.gateway.views.poll_now()
        assert await listener.response() == b'* LIST (\\HasNoChildren \\Subscribed) "/" made'
        await actor.append("made", MESSAGE)
        deaf.gateway.views.poll_now()
        assert (await listener.response()).startswith(b"* STATUS made (MESSAGES 1 UIDNEXT 2 ")
        polling.cancel()


async def test_sessions_of_an_account_share_requests_and_the_last_ends_them() -> None:
    async with two_pods() as (other, tested):
        sessions = [await tested.session() for _ in range(10)]
        for session in sessions:
            await session.ok(PERSONAL)
        asked = 0
        held = asyncio.Event()
        whole = tested.store.read.tree

        async def tree(account_id: AccountId) -> MailboxTree:
            nonlocal asked
            asked += 1
            await held.wait()
            return await whole(account_id)

        tested.store.read.tree = tree  # type: ignore[method-assign]
        actor = await other.session()
        for _ in range(20):
            await actor.append("INBOX", MESSAGE)
        held.set()
        for session in sessions:
            lines = await session.until(b"* STATUS INBOX (MESSAGES 20 ")
            assert len(lines) <= 2
        assert asked <= 2, "one under way when the news came, one for all that came meanwhile"
        for session in sessions:
            await session.ok("NOTIFY NONE")
        await actor.append("INBOX", MESSAGE)
        assert asked <= 2
        watches = tested.gateway.views.watches
        for session in sessions:
            await session.ok("LOGOUT")
            assert await session.response() == b""
        await (await tested.connect()).ok("NOOP")
        assert len(watches) == 0


async def test_news_that_is_known_already_asks_for_nothing() -> None:
    async with imap_gateway() as running:
        client = await running.session()
        await client.ok(PERSONAL)
        asked = 0
        whole = running.store.read.tree

        async def tree(account_id: AccountId) -> MailboxTree:
            nonlocal asked
            asked += 1
            return await whole(account_id)

        running.store.read.tree = tree  # type: ignore[method-assign]
        (account,) = running.store.accounts.values()
        known = await whole(account.account_id)
        news = MailboxChanged(account.account_id, known.mailboxes[0].mailbox_id, known.mailboxes[0].highest_modseq, 0)
        running.gateway.views.on_news(news)
        running.gateway.views.on_news(replace(news, account_id=AccountId(b"x" * 16)))
        running.gateway.views.on_news(replace(news, modseq=0, tree_version=known.version))
        await client.ok("NOOP")
        assert asked == 0


async def test_too_much_at_once_is_said_and_then_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MAX_LINES", 3)
    async with two_pods(hear_news=False) as (other, tested):
        listener, actor = await tested.session("INBOX"), await other.session()
        await listener.ok("NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MailboxName))")
        for number in range(4):
            await actor.ok(f"CREATE made{number}")
        await tested.gateway.views.poll(hurry=True)
        assert (await listener.response()).startswith(b"* OK [NOTIFICATIONOVERFLOW]")
        await actor.append("INBOX", MESSAGE)
        await tested.gateway.views.poll(hurry=True)
        assert await listener.ok("NOOP") == []
        assert await listener.ok(PERSONAL) == []
        await actor.ok("DELETE made1")
        await tested.gateway.views.poll(hurry=True)
        assert await listener.response() == b'* LIST (\\NonExistent \\HasNoChildren \\Subscribed) "/" made1'


async def test_too_many_mailboxes_are_refused() -> None:
    async with imap_gateway() as running:
        client = await running.session()
        names = " ".join(f"m{number}" for number in range(1001))
        reply = (await client.command(f"NOTIFY SET (mailboxes ({names}) (MailboxName))"))[-1]
        assert b" NO [NOTIFICATIONOVERFLOW] " in reply
        reply = (await client.command("NOTIFY SET" + " (personal NONE)" * 101))[-1]
        assert b" NO [NOTIFICATIONOVERFLOW] " in reply


async def test_an_unavailable_store_refuses_notify_and_later_costs_time_only() -> None:
    async with two_pods() as (other, tested):
        client, actor = await tested.session(), await other.session()
        whole = tested.store.read.tree

        async def away(_account_id: AccountId) -> MailboxTree:
            raise Unavailable("mongod is gone")

        tested.store.read.tree = away  # type: ignore[method-assign]
        assert b" NO [UNAVAILABLE] " in (await client.command(PERSONAL))[-1]
        tested.store.read.tree = whole  # type: ignore[method-assign]
        await client.ok(PERSONAL)
        tested.store.read.tree = away  # type: ignore[method-assign]
        await client.ok("CREATE own")
        await actor.append("INBOX", MESSAGE)
        await client.ok("NOOP")
        tested.store.read.tree = whole  # type: ignore[method-assign]
        await tested.gateway.views.poll(hurry=True)
        lines = await client.until(b"* STATUS INBOX (MESSAGES 1 ")
        assert lines[0] == b'* LIST (\\HasNoChildren \\Subscribed) "/" own', "not known to be its own any more"


async def test_a_client_that_does_not_read_is_owed_one_tree() -> None:
    async with two_pods() as (other, tested):
        slow, actor = await tested.session("INBOX"), await other.session()
        await actor.append("INBOX", b"Subject: x\r\n\r\n" + b"x" * 3_000_000)
        await slow.ok("NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))")
        for _ in range(8):
            slow.send(b"f FETCH 1 BODY.PEEK[]\r\n")
        for _ in range(50):
            await actor.append("Sent", MESSAGE)
        lines: list[bytes] = []
        while not any(line.startswith(b"* STATUS Sent (MESSAGES 50 ") for line in lines):
            lines.append(await slow.response())
        assert sum(line.startswith(b"* STATUS") for line in lines) < 20


async def test_an_end_in_idle_waits_for_what_is_being_shown() -> None:
    async with two_pods() as (other, tested):
        listener, actor = await tested.session("INBOX"), await other.session()
        await listener.ok("NOTIFY SET (selected (MessageNew (BODY[TEXT]) MessageExpunge))")
        listener.send(b"i IDLE\r\n")
        assert await listener.response() == b"+ idling"
        reached, go_on = asyncio.Event(), asyncio.Event()
        whole = tested.store.read.contents

        async def contents(*args, **more):  # type: ignore[no-untyped-def]
            reached.set()
            await go_on.wait()
            return await whole(*args, **more)

        tested.store.read.contents = contents  # type: ignore[method-assign]
        await actor.append("INBOX", MESSAGE)
        await reached.wait()
        loop = asyncio.get_running_loop()
        draining = asyncio.ensure_future(tested.server.drain(loop.time() + 5))
        assert await listener.response() == b"* 1 EXISTS"
        assert await listener.response() == b"* 1 RECENT"
        go_on.set()
        assert (await listener.response()).startswith(b"* 1 FETCH (UID 1 BODY[TEXT] {3}\r\nx\r\n)")
        assert await listener.response() == b"* BYE Server is closing, connect again"
        await draining


async def test_a_command_behind_what_is_being_shown_waits_for_it() -> None:
    async with two_pods() as (other, tested):
        listener, actor = await tested.session("INBOX"), await other.session()
        await listener.ok("NOTIFY SET (selected (MessageNew (BODY[TEXT]) MessageExpunge))")
        reached, go_on = asyncio.Event(), asyncio.Event()
        whole = tested.store.read.contents

        async def contents(*args, **more):  # type: ignore[no-untyped-def]
            reached.set()
            await go_on.wait()
            return await whole(*args, **more)

        tested.store.read.contents = contents  # type: ignore[method-assign]
        await actor.append("INBOX", MESSAGE)
        await reached.wait()
        listener.send(b"n NOOP\r\n")
        go_on.set()
        lines = await listener.until(b"n ")
        assert [line.split()[2 if line[:1] == b"*" else 1] for line in lines] == [b"EXISTS", b"RECENT", b"FETCH", b"OK"]


async def closed(client: Client) -> None:
    assert (await client.until(b"* BYE"))[-1] == b"* BYE [CONTACTADMIN] Account is closed"
    assert await client.response() == b""


async def test_sessions_of_a_closed_account_end() -> None:
    store = MemoryStore()
    account = store.add_account(ALICE, PASSWORD)
    store.add_account("bob@example.test", PASSWORD)
    async with imap_gateway(store) as running:
        selected, idle, fresh = await running.session("INBOX"), await running.session("INBOX"), await running.session()
        idle.send(b"i IDLE\r\n")
        await idle.until(b"+")
        bystander = await running.connect()
        await bystander.login("bob@example.test")
        store.close_account(account)
        for client in (selected, idle, fresh):
            await closed(client)
        await bystander.ok("NOOP")


async def test_that_an_account_was_closed_is_noticed_without_news() -> None:
    async with two_pods(hear_news=False) as (_other, deaf):
        selected = await deaf.session("INBOX")
        (account,) = deaf.store.accounts
        deaf.store.close_account(account)
        await deaf.gateway.views.poll()
        assert await selected.response() == b"* BYE Mailbox is gone"
