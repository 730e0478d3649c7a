"""The connection: TLS, limits, time-outs, failures of the store, drain."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from imap_gateway import capabilities
from imap_gateway.commands import registry
from imap_gateway.session import Session
from mailboat_common.errors import StartupError, Unavailable
from mailboat_common.tls import CertificateStore
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import MailboxChanges

from tests.support.imap import ALICE, PASSWORD, TEST_POLICY, Client, imap_gateway
from tests.support.stack import until


def certificates(directory: Path) -> tuple[CertificateStore, ssl.SSLContext]:
    authority = trustme.CA()
    pair = authority.issue_cert("localhost")
    pair.private_key_pem.write_to_path(directory / "tls.key")
    for index, blob in enumerate(pair.cert_chain_pems):
        blob.write_to_path(directory / "tls.crt", append=index > 0)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return CertificateStore(directory), client


async def upgrade(client: Client, context: ssl.SSLContext) -> None:
    assert await client.ok("STARTTLS") == []
    await client.writer.start_tls(context, server_hostname="localhost")


async def test_starttls_and_logindisabled(tmp_path: Path) -> None:
    store, context = certificates(tmp_path)
    async with imap_gateway(policy=replace(TEST_POLICY, auth_require_tls=True), tls=store) as running:
        client = await running.connect(greeting=False)
        assert b"STARTTLS LOGINDISABLED] " in await client.response()
        assert b"[PRIVACYREQUIRED]" in (await client.command(f'LOGIN {ALICE} "{PASSWORD}"'))[-1]
        assert b"[PRIVACYREQUIRED]" in (await client.command("AUTHENTICATE PLAIN"))[-1]
        await upgrade(client, context)
        (line,) = await client.ok("CAPABILITY")
        assert b"AUTH=PLAIN" in line
        assert b"STARTTLS" not in line
        assert b"LOGINDISABLED" not in line
        assert b" BAD " in (await client.command("STARTTLS"))[-1]
        await client.login()
        await client.ok("SELECT INBOX")


@pytest.mark.parametrize("injected", [b"x LOGIN a b\r\n", b"x", b"\r\n"])
async def test_nothing_of_before_the_handshake_survives(tmp_path: Path, injected: bytes) -> None:
    store, _context = certificates(tmp_path)
    async with imap_gateway(tls=store) as running:
        client = await running.connect()
        client.send(b"s STARTTLS\r\n" + injected)
        assert await client.response() == b"", "cut off, without an OK"


async def test_too_many_sessions_of_an_account() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, sessions_per_account=2)) as running:
        first, _second = await running.session(), await running.session()
        third = await running.connect()
        assert b"NO [LIMIT]" in (await third.command(f'LOGIN {ALICE} "{PASSWORD}"'))[-1]
        await first.ok("LOGOUT")
        assert await first.response() == b""
        await third.login()


async def test_failed_logins_end_the_connection() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, auth_failures=3)) as running:
        client = await running.connect()
        for _ in range(3):
            assert b"NO [AUTHENTICATIONFAILED]" in (await client.command(f"LOGIN {ALICE} wrong"))[-1]
        assert (await client.response()).startswith(b"* BYE")
        assert await client.response() == b""


async def test_too_many_wrong_commands_end_the_connection() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, bad_commands=5)) as running:
        client = await running.connect()
        lines = [(await client.command("NONSENSE"))[-1] for _ in range(5)]
        assert all(b" BAD " in line for line in lines)
        assert (await client.response()).startswith(b"* BYE [CLIENTBUG]")


async def test_login_must_be_quick_and_idling_is_ended() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, login_seconds=0.05)) as running:
        client = await running.connect()
        assert (await client.response()).startswith(b"* BYE")
    async with imap_gateway(policy=replace(TEST_POLICY, idle_seconds=0.1)) as running:
        client = await running.session("INBOX")
        assert (await client.response()).startswith(b"* BYE Autologout")
        assert await client.response() == b""


async def test_idle_says_that_it_is_still_here() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, keepalive_seconds=0.02)) as running:
        client = await running.session("INBOX")
        client.send(b"i IDLE\r\n")
        assert await client.response() == b"+ idling"
        assert await client.response() == b"* OK Still here"
        assert await client.response() == b"* OK Still here"


async def test_an_unavailable_store_is_said_so_and_the_session_lives() -> None:
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        await client.append("INBOX", b"Subject: x\r\n\r\nx\r\n")
        whole = running.store.read.changes, running.store.write.append, running.store.read.body_infos

        async def away(*_args: object, **_more: object) -> None:
            raise Unavailable("mongod is gone: secret detail")

        running.store.read.changes = away  # type: ignore[assignment, method-assign]
        running.store.write.append = away  # type: ignore[assignment, method-assign]
        running.store.read.body_infos = away  # type: ignore[assignment, method-assign]
        for command in ("NOOP", "FETCH 1 ENVELOPE", "SELECT INBOX", "APPEND INBOX {1+}\r\nx"):
            line = (await client.command(command))[-1]
            assert b"NO [UNAVAILABLE]" in line
            assert b"secret" not in line
        running.store.read.changes, running.store.write.append, running.store.read.body_infos = whole  # type: ignore[method-assign]
        await client.ok("SELECT INBOX")
        await client.ok("FETCH 1 ENVELOPE")


async def test_idle_begins_without_the_store_and_tells_what_it_missed() -> None:
    async with imap_gateway() as running:
        client, other = await running.session("INBOX"), await running.session()
        await client.ok("NOOP")
        whole = running.store.read.changes

        async def away(*_args: object) -> MailboxChanges:
            raise Unavailable("mongod stands still")

        running.store.read.changes = away  # type: ignore[assignment, method-assign]
        await other.append("INBOX", b"Subject: x\r\n\r\nx\r\n")
        client.send(b"i IDLE\r\n")
        assert await client.response() == b"+ idling"
        running.store.read.changes = whole  # type: ignore[method-assign]
        await running.gateway.views.poll()
        await client.until(b"* 1 EXISTS")
        client.send(b"DONE\r\n")
        await client.until(b"i OK")


async def test_a_bug_is_no_secret_but_its_text_is() -> None:
    async with imap_gateway() as running:
        client = await running.session()

        async def broken(*_args: object) -> None:
            raise ZeroDivisionError("secret detail")

        running.store.read.tree = broken  # type: ignore[assignment, method-assign]
        assert (await client.command('LIST "" *'))[-1].endswith(b"NO [SERVERBUG] Internal error")
        await client.ok("NOOP")


async def test_literals_over_the_limit_are_refused_before_they_come() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, message_limit=1000)) as running:
        client = await running.session()
        assert b"[TOOBIG]" in (await client.command("APPEND INBOX {4294967296}"))[-1]
        assert b"[TOOBIG]" in (await client.append("INBOX", bytes(1001).replace(b"\0", b"x")))
        await client.ok("NOOP")
        assert b"[APPENDUID" in await client.append("INBOX", b"x" * 1000)


async def test_messages_that_are_too_much_together_may_come_one_by_one() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, message_limit=1000)) as running:
        client = await running.session()
        assert b"APPENDLIMIT=1000" in (await client.ok("CAPABILITY"))[0].split()
        both = "APPEND INBOX {600+}\r\n" + "x" * 600 + " {600+}\r\n" + "x" * 600
        assert b"[LIMIT]" in (await client.command(both))[-1]
        assert b"(MESSAGES 0)" in (await client.ok("STATUS INBOX (MESSAGES)"))[0]
        assert b"[APPENDUID" in await client.append("INBOX", b"x" * 600)


async def test_an_unauthenticated_client_gets_no_large_literal() -> None:
    async with imap_gateway() as running:
        client = await running.connect()
        assert b"[TOOBIG]" in (await client.command("LOGIN {100000}"))[-1]
        assert b" BAD " in (await client.command("APPEND INBOX {5+}\r\nhello"))[-1]
        await client.ok("NOOP")


async def test_mail_in_flight_has_a_budget_that_is_given_back() -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, bytes_in_flight=2000)) as running:
        client = await running.session()
        for _ in range(5):
            assert b" OK " in await client.append("INBOX", b"x" * 1500)
        client.send(b"a APPEND INBOX {1500}\r\n")
        assert (await client.response()).startswith(b"+")
        assert running.gateway.in_flight.used == 1500
        await client.close()
        other = await running.session()
        while running.gateway.in_flight.used:
            await other.ok("NOOP")


async def test_many_commands_of_one_client_let_others_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailboat_common.turn.TURN_SECONDS", 0.0)
    ran, run = 0, Session.run

    async def counted(session: Session, command: Any) -> None:
        nonlocal ran
        ran += 1
        await run(session, command)

    async with imap_gateway() as running:
        many, one = await running.session(), await running.session()
        monkeypatch.setattr(Session, "run", counted)
        many.send(b"m NOOP\r\n" * 4000)
        await one.ok("NOOP")
        assert ran < 4000


@pytest.mark.parametrize("size", [1000, 10], ids=["the message", "what follows it"])
async def test_a_message_in_drips_is_cut_off_and_gives_its_room_back(size: int) -> None:
    async with imap_gateway(policy=replace(TEST_POLICY, pace_seconds=0.2)) as running:
        client = await running.session()
        client.send(b"a APPEND INBOX {%d+}\r\n" % size + b"x" * 10)
        ended = asyncio.ensure_future(client.until(b"\0"))
        while not ended.done():
            client.send(b" ")
            await asyncio.wait((ended,), timeout=0.02)
        assert ended.exception() is not None or ended.result() == [b""]
        await until(lambda: running.gateway.in_flight.used == 0)
        assert b"* 0 EXISTS" in await (await running.session()).ok("SELECT INBOX")


async def test_a_message_at_its_pace_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than its seconds in all, but with enough octets in each."""
    monkeypatch.setattr("imap_gateway.connection.PACE_BYTES", 10)
    async with imap_gateway(policy=replace(TEST_POLICY, pace_seconds=0.4)) as running:
        client = await running.session()
        client.send(b"a APPEND INBOX {1000+}\r\n")
        loop = asyncio.get_running_loop()
        start, sent = loop.time(), 0
        while loop.time() - start < 0.9:
            client.send(b"x" * 10)
            sent += 10
            await asyncio.wait((loop.create_future(),), timeout=0.02)
        client.send(b"x" * (1000 - sent) + b"\r\n")
        assert (await client.until(b"a "))[-1].startswith(b"a OK")


async def test_drain_says_bye_between_commands_and_finishes_what_runs() -> None:
    async with imap_gateway() as running:
        idle, busy, bored = await running.session("INBOX"), await running.session("INBOX"), await running.session()
        idle.send(b"i IDLE\r\n")
        assert await idle.response() == b"+ idling"
        reached, go_on = asyncio.Event(), asyncio.Event()
        append = running.store.write.append

        async def slow(*args, **more):  # type: ignore[no-untyped-def]
            reached.set()
            await go_on.wait()
            return await append(*args, **more)

        running.store.write.append = slow  # type: ignore[method-assign]
        busy.send(b"a APPEND INBOX {3+}\r\nx\r\n\r\nb NOOP\r\n")
        await reached.wait()
        loop = asyncio.get_running_loop()
        draining = asyncio.ensure_future(running.server.drain(loop.time() + 5))
        for client in (idle, bored):
            assert (await client.until(b"* BYE"))[-1].startswith(b"* BYE")
            assert await client.response() == b""
        go_on.set()
        lines = await busy.until(b"* BYE")
        assert any(line.startswith(b"a OK [APPENDUID") for line in lines)
        assert lines[-1].startswith(b"* BYE")
        assert not any(line.startswith(b"b ") for line in lines)
        await draining


async def test_lost_news_is_caught_up_by_the_poll() -> None:
    store = MemoryStore()
    store.add_account(ALICE, PASSWORD)
    async with imap_gateway(store) as first, imap_gateway(store, hear_news=False) as deaf:
        deaf.news.connected = False
        polling = asyncio.ensure_future(deaf.gateway.views.keep_polling(lambda: deaf.news.connected))
        listener, actor = await deaf.session("INBOX"), await first.session("INBOX")
        listener.send(b"i IDLE\r\n")
        assert await listener.response() == b"+ idling"
        await actor.append("INBOX", b"Subject: x\r\n\r\n")
        deaf.gateway.views.poll_now()
        assert await listener.response() == b"* 1 EXISTS"
        assert await listener.response() == b"* 1 RECENT"
        await actor.ok("CREATE other")
        listener.send(b"DONE\r\n")
        await listener.until(b"i OK")
        await listener.ok("SELECT other")
        await actor.ok("DELETE other")
        deaf.gateway.views.poll_now()
        assert (await listener.response()).startswith(b"* BYE")
        polling.cancel()


async def test_a_channel_lost_in_the_middle_of_the_long_pause_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imap_gateway.views.POLL_SECONDS_WITHOUT_NEWS", 0.02)
    store = MemoryStore()
    store.add_account(ALICE, PASSWORD)
    async with imap_gateway(store) as first, imap_gateway(store, hear_news=False) as deaf:
        looked = asyncio.Event()

        def connected() -> bool:
            looked.set()
            return deaf.news.connected

        polling = asyncio.ensure_future(deaf.gateway.views.keep_polling(connected))
        listener, actor = await deaf.session("INBOX"), await first.session("INBOX")
        listener.send(b"i IDLE\r\n")
        assert await listener.response() == b"+ idling"
        await actor.append("INBOX", b"Subject: x\r\n\r\n")
        await looked.wait()
        deaf.news.connected = False
        async with asyncio.timeout(5):
            assert await listener.response() == b"* 1 EXISTS"
        polling.cancel()


async def test_sessions_end_leaves_nothing_behind() -> None:
    async with imap_gateway() as running:
        clients = [await running.session("INBOX") for _ in range(5)]
        assert sum(running.news.followed.values()) == 5
        for client in clients[:3]:
            await client.close()
        await clients[3].ok("UNSELECT")
        while sum(running.news.followed.values()) > 2:
            await clients[4].ok("NOOP")
        await clients[4].ok("LOGOUT")
        assert await clients[4].response() == b""
        await clients[3].ok("LOGOUT")
        assert await clients[3].response() == b""
        await (await running.connect()).ok("NOOP")
        assert len(running.gateway.accounts) == 0
        assert sum(running.news.followed.values()) == 0
        assert not any(view.watchers for view in running.gateway.views._views.values())


async def test_a_client_that_has_said_all_is_answered_in_full() -> None:
    async with imap_gateway() as running:
        client = await running.connect()
        client.send(f'a LOGIN {ALICE} "{PASSWORD}"\r\nb SELECT INBOX\r\nc STATUS INBOX (MESSAGES)\r\n'.encode())
        client.writer.write_eof()
        assert (await client.until(b"c OK"))[-2] == b"* STATUS INBOX (MESSAGES 0)"
        assert await client.response() == b""
        half = await running.session()
        half.send(b"a APPEND INBOX {10+}\r\nhalf")
        half.writer.write_eof()
        assert await half.response() == b""
        assert running.gateway.in_flight.used == 0


def test_capabilities_need_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities.check()
    entries = dict(registry._entries)
    del entries[b"COPY"]
    monkeypatch.setattr(registry, "_entries", entries)
    with pytest.raises(StartupError, match=r"UIDPLUS: b'COPY'"):
        capabilities.check()


async def test_only_what_is_registered_is_advertised() -> None:
    async with imap_gateway() as running:
        client = await running.connect(greeting=False)
        greeting = await client.response()
        assert greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ENABLE ID AUTH=PLAIN] ")
        await client.login()
        (line,) = await client.ok("CAPABILITY")
        for name in b"IDLE UIDPLUS MOVE CONDSTORE SPECIAL-USE NAMESPACE UNSELECT ENABLE ID CHILDREN".split():
            assert name in line.split()
