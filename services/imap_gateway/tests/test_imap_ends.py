"""How sessions end, in words, and how many an account may have (RFC 9051 5.4, 7.1.5; RFC 5530)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mailboat_store_client.memory import MemoryStore

from tests.support.imap import ALICE, PASSWORD, TEST_POLICY, Client, imap_gateway


async def goodbye(client: Client) -> bytes:
    """The BYE, which must be the last thing that comes."""
    last = (await client.until(b"* BYE"))[-1]
    assert await client.response() == b""
    return last


async def test_every_end_has_its_words() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, login_seconds=0.05)) as running:
        assert await goodbye(await running.connect()) == b"* BYE Login takes too long"
    async with imap_gateway(policy=replace(TEST_POLICY, idle_seconds=0.1)) as running:
        assert await goodbye(await running.session()) == b"* BYE Autologout; idle for too long"
    async with imap_gateway(policy=replace(TEST_POLICY, auth_failures=1, bad_commands=1)) as running:
        guessing, nonsense = await running.connect(), await running.connect()
        await guessing.command(f"LOGIN {ALICE} wrong")
        assert await goodbye(guessing) == b"* BYE Too many failed logins"
        await nonsense.command("NONSENSE")
        assert await goodbye(nonsense) == b"* BYE [CLIENTBUG] Too many wrong commands"
    async with imap_gateway() as running:
        inside, outside, leaving = await running.session(), await running.session(), await running.session()
        await outside.ok("CREATE doomed")
        await inside.ok("SELECT doomed")
        await outside.ok("DELETE doomed")
        assert await goodbye(inside) == b"* BYE Mailbox is gone"
        assert await leaving.ok("LOGOUT") == [b"* BYE Logging out"]
        assert await leaving.response() == b""
        large = await running.session()
        large.send(b"l LOGIN {999999999+}\r\n")
        assert await goodbye(large) == b"* BYE [TOOBIG] Literal too large"
        (account,) = running.store.accounts
        del running.store.accounts[account]
        assert b" NO [CONTACTADMIN] " in (await outside.command('LIST "" *'))[-1]
        assert await goodbye(outside) == b"* BYE [CONTACTADMIN] Account is gone"
        waiting = await running.connect()
        loop = asyncio.get_running_loop()
        draining = asyncio.ensure_future(running.server.drain(loop.time() + 2))
        assert await goodbye(waiting) == b"* BYE Server is closing, connect again"
        await draining


async def test_a_mailbox_that_was_put_back_ends_its_sessions_and_is_opened_anew() -> None:
    async with asyncio.timeout(30), imap_gateway() as running:
        session, idling = await running.session("INBOX"), await running.session("INBOX")
        for number in range(3):
            await session.append("INBOX", b"Subject: %d\r\n\r\n" % number)
        await idling.ok("NOOP")
        idling.send(b"i IDLE\r\n")
        await idling.until(b"+")
        (account,) = running.store.accounts.values()
        (inbox,) = (mailbox for mailbox in account.mailboxes.values() if mailbox.name == "INBOX")
        inbox.rows.popitem()
        inbox.modseq -= 1
        session.send(b"n NOOP\r\n")
        assert await goodbye(session) == b"* BYE Mailbox is gone", "an older state than it has seen"
        assert await goodbye(idling) == b"* BYE Mailbox is gone"
        warm = await running.session("INBOX")
        await warm.ok("UNSELECT")
        assert b"MAILBOXID (F%b))" % inbox.mailbox_id.hex().encode() in (await warm.ok("STATUS INBOX (MAILBOXID)"))[0]
        inbox.first_uid_validity, inbox.uid_validity = inbox.uid_validity, inbox.uid_validity + 100_000
        inbox.modseq += 1 << 32
        assert b"* OK [UIDVALIDITY %d] " % inbox.uid_validity in b"\n".join(await warm.ok("SELECT INBOX"))
        selected = b"\n".join(await warm.ok("SELECT INBOX"))
        assert b"* 2 EXISTS" in selected
        assert b"[MAILBOXID (F%b-%x)]" % (inbox.mailbox_id.hex().encode(), inbox.uid_validity) in selected
        inbox.uid_validity += 100_000
        inbox.modseq += 1 << 32
        await running.gateway.views.poll()
        assert await goodbye(warm) == b"* BYE Mailbox is gone"


async def test_a_login_that_was_given_back_must_be_quick_again() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, login_seconds=0.1)) as running:
        client = await running.session("INBOX")
        await client.ok("UNAUTHENTICATE")
        assert await goodbye(client) == b"* BYE Login takes too long"


async def test_unauthenticate_gives_back_what_login_took() -> None:
    store = MemoryStore()
    alice = store.add_account(ALICE, PASSWORD)
    bob = store.add_account("bob@example.test", PASSWORD)
    async with imap_gateway(store, policy=replace(TEST_POLICY, sessions_per_account=1)) as running:
        client = await running.session("INBOX")
        await client.ok("NOTIFY SET (personal (MailboxName))")
        assert running.news.followed == {alice: 1}
        await client.ok("UNAUTHENTICATE")
        assert running.news.followed == {alice: 0}
        assert len(running.gateway.accounts) == 0
        assert len(running.gateway.views.watches) == 0
        assert not any(view.watchers for view in running.gateway.views._views.values())
        other = await running.session()
        assert b" NO [LIMIT] " in (await client.command(f'LOGIN {ALICE} "{PASSWORD}"'))[-1]
        await client.login("bob@example.test")
        await client.ok("SELECT INBOX")
        await other.ok("SELECT INBOX")
        assert running.news.followed == {alice: 1, bob: 1}
        store.close_account(alice)
        assert await goodbye(other) == b"* BYE [CONTACTADMIN] Account is closed"
        await client.ok("NOOP")


async def test_thirty_sessions_share_a_mailbox_and_the_next_is_one_too_many() -> None:
    async with imap_gateway() as running:
        sessions = [await running.session("INBOX") for _ in range(30)]
        assert len(running.gateway.views) == 1
        late = await running.connect()
        assert b" NO [LIMIT] Too many sessions " in (await late.command(f'LOGIN {ALICE} "{PASSWORD}"'))[-1]
        for session in sessions[1:]:
            session.send(b"i IDLE\r\n")
            await session.until(b"+")
        asked = 0
        whole = running.store.read.changes

        async def changes(*args, **more):  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            return await whole(*args, **more)

        running.store.read.changes = changes  # type: ignore[method-assign]
        await sessions[0].append("INBOX", b"Subject: for all\r\n\r\n")
        for session in sessions[1:]:
            assert await session.response() == b"* 1 EXISTS"
        assert asked <= 2
        await sessions[0].ok("LOGOUT")
        assert await sessions[0].response() == b""
        await late.login()


async def test_still_here_comes_every_two_minutes_with_jitter_and_not_more_often_for_news() -> None:
    policy = replace(TEST_POLICY, keepalive_seconds=0.4)
    async with imap_gateway(policy=policy) as running:
        assert 90 <= TEST_POLICY.keepalive_seconds * 0.75 <= TEST_POLICY.keepalive_seconds <= 120
        client, other = await running.session("INBOX"), await running.session()
        await client.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
        client.send(b"i IDLE\r\n")
        await client.until(b"+")
        for number in range(1, 6):
            await other.append("INBOX", b"Subject: x\r\n\r\n")
            await client.until(b"* %d RECENT" % number)
        assert await client.response() == b"* OK Still here", "news don't put it off either"
