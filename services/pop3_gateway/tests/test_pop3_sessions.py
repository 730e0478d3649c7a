"""POP3 sessions against a real server: TLS, logins, the exclusive lease, removal, failures, time and drain."""

from __future__ import annotations

import asyncio
import poplib

import pytest
from mailboat_common.errors import Internal, Refused, RefusedCode, Unavailable
from mailboat_common.health import AdminServer
from mailboat_common.lifecycle import Lifecycle
from mailboat_store_client.types import AuthResult, AuthStatus
from pop3_gateway import maildrop
from pop3_gateway.connection import Pop3Connection
from pop3_gateway.session import Session

from tests.support.wire import within

TEMPORARY = "-ERR [SYS/TEMP] Temporarily unavailable, try again later"
TAKEN_OVER = "-ERR [IN-USE] The maildrop was taken over, closing"
IN_USE = "-ERR [IN-USE] Maildrop is in use by another session"
SECRET = "mongodb://10.0.0.7 said no"


class Gate:
    """Stands before a call of the store: tells that it was reached, and holds it until opened."""

    def __init__(self, call) -> None:
        self.call = call
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, *args, **kwargs):
        self.reached.set()
        await self.opened.wait()
        return await self.call(*args, **kwargs)


def failing(error: Exception):
    """A call of the store that fails."""

    async def call(*_args, **_kwargs):
        raise error

    return call


# -- TLS


async def test_poplib_over_stls_and_tls(pop3) -> None:
    def fetch(name: str) -> list[bytes]:
        port = pop3.ports[name]
        if name == "pop3s":
            client = poplib.POP3_SSL("localhost", port, timeout=10, context=pop3.context)
        else:
            client = poplib.POP3("localhost", port, timeout=10)
            client.stls(context=pop3.context)
        client.user("alice@example.test")
        client.pass_("secret-enough")
        assert client.stat() == (3, 65)
        messages = [b"\r\n".join(client.retr(n)[1]) + b"\r\n" for n in (1, 2, 3)]
        client.quit()
        return messages

    for name in ("pop3", "pop3s"):
        stored = list(pop3.account.bodies.values())
        assert await asyncio.to_thread(fetch, name) == [*stored[:2], stored[2] + b"\r\n"]


@pytest.mark.parametrize("injected", [b"CAPA\r\n", b"QUIT\r\n", b"U", b"\r\n"])
async def test_clear_text_behind_stls_ends_the_session_before_the_handshake(pop3, injected: bytes) -> None:
    wire = await pop3.connect("pop3")
    wire.send(b"STLS\r\n" + injected)
    assert await wire.rest() == b"-ERR Input after STARTTLS before TLS\r\n"


async def test_what_was_said_before_stls_is_forgotten(start) -> None:
    pop3 = await start(auth_require_tls=False)
    wire = await pop3.connect("pop3")
    await wire.say("USER alice@example.test")
    assert await wire.say("STLS") == "+OK Begin TLS"
    await wire.start_tls(pop3.context)
    assert await wire.say("PASS secret-enough") == "-ERR Send USER first"
    assert await wire.login() == "+OK 3 messages"
    assert await wire.retrieve(1) == b"Subject: one\r\n\r\n1\r\n"


async def test_clear_text_instead_of_a_handshake_ends_the_connection(pop3) -> None:
    wire = await pop3.connect("pop3")
    await wire.say("STLS")
    wire.send(b"CAPA\r\n" * 20)
    assert b"+OK" not in await wire.rest()
    assert await (await pop3.connect()).say("CAPA") == "+OK"


# -- logging in


async def test_the_third_wrong_password_closes(pop3, monkeypatch) -> None:
    monkeypatch.setattr("pop3_gateway.authentication.FAILURE_SECONDS", 0)
    wire = await pop3.connect()
    attempts = [("alice@example.test", "wrong"), ("nobody@example.test", "x"), ("alice@example.test", "")]
    assert [await wire.login(*attempt) for attempt in attempts[:2]] == ["-ERR [AUTH] Authentication failed"] * 2
    assert await wire.say("PASS secret-enough") == "-ERR Send USER first"
    assert await wire.login("ALICE@example.test", "wrong again") == "-ERR [AUTH] Authentication failed"
    assert await wire.ended()
    assert pop3.account.lease is None


async def test_names_and_passwords_that_are_not_utf8(pop3, monkeypatch) -> None:
    monkeypatch.setattr("pop3_gateway.authentication.FAILURE_SECONDS", 0)
    wire = await pop3.connect()
    assert await wire.say(b"USER al\xefce") == "-ERR User name is not UTF-8"
    assert await wire.say(b"PASS x") == "-ERR Send USER first"
    await wire.say("USER alice@example.test")
    assert await wire.say(b"PASS secret\xff") == "-ERR [AUTH] Authentication failed"
    assert await wire.login() == "+OK 3 messages"


async def test_a_password_is_the_rest_of_the_line(pop3) -> None:
    pop3.account.password = " two  words \u00e9 "
    wire = await pop3.connect()
    assert await wire.login(password=" two  words \u00e9 ") == "+OK 3 messages"


async def test_a_disabled_account_looks_like_a_wrong_password(pop3, monkeypatch) -> None:
    monkeypatch.setattr("pop3_gateway.authentication.FAILURE_SECONDS", 0)
    pop3.account.disabled = True
    assert await (await pop3.connect()).login() == "-ERR [AUTH] Authentication failed"


# -- the lease


async def test_a_second_session_is_told_in_use_until_the_first_quits(pop3) -> None:
    first, second = await pop3.logged_in(), await pop3.connect()
    assert await second.login() == IN_USE
    assert await second.say("STAT") == "-ERR Not now"
    assert await first.say("QUIT") == "+OK Bye"
    assert await second.login() == "+OK 3 messages"


async def test_a_dead_connection_gives_the_lease_back(pop3) -> None:
    released = pop3.released()
    wire = await pop3.logged_in()
    await wire.say("DELE 1")
    wire.writer.transport.abort()
    await within(released)
    assert (await (await pop3.connect()).login()) == "+OK 3 messages"


async def test_a_connection_that_dies_within_pass_gives_the_lease_back(pop3, monkeypatch) -> None:
    gate = Gate(pop3.store.read.changes)
    monkeypatch.setattr(pop3.store.read, "changes", gate)
    calls = _counted(pop3, monkeypatch)
    wire = await pop3.connect()
    wire.send(b"USER alice@example.test\r\nPASS secret-enough\r\n")
    await within(gate.reached)
    lost = _connection_lost(monkeypatch)
    wire.writer.transport.abort()
    await within(lost)
    assert pop3.account.lease is not None
    gate.opened.set()
    await pop3.gateway.finish()
    assert pop3.account.lease is None
    assert calls == ["lease", "release"]


async def test_a_connection_that_dies_within_retr_gives_the_lease_back_once(pop3, monkeypatch) -> None:
    calls = _counted(pop3, monkeypatch)
    wire = await pop3.logged_in()
    gate = Gate(pop3.store.read.contents)
    monkeypatch.setattr(pop3.store.read, "contents", gate)
    wire.send(b"RETR 1\r\nRETR 2\r\nQUIT\r\n")
    await within(gate.reached)
    lost = _connection_lost(monkeypatch)
    wire.writer.transport.abort()
    await within(lost)
    gate.opened.set()
    await pop3.gateway.finish()
    assert calls == ["lease", "release"]


async def test_quit_that_was_begun_is_finished_for_a_client_that_is_gone(pop3, monkeypatch) -> None:
    calls = _counted(pop3, monkeypatch)
    wire = await pop3.logged_in()
    await wire.say("DELE 2")
    gate = Gate(pop3.store.write.expunge)
    monkeypatch.setattr(pop3.store.write, "expunge", gate)
    wire.send(b"QUIT\r\n")
    await within(gate.reached)
    lost = _connection_lost(monkeypatch)
    wire.writer.transport.abort()
    await within(lost)
    gate.opened.set()
    await pop3.gateway.finish()
    assert await pop3.inbox() == [1, 3]
    assert calls == ["lease", "release"]


async def test_a_lease_is_given_back_when_inbox_can_not_be_read(pop3, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pop3.store.read, "changes", failing(Unavailable(SECRET)))
        wire = await pop3.connect()
        assert await wire.login() == TEMPORARY
    assert pop3.account.lease is None
    assert await wire.login() == "+OK 3 messages"


async def test_the_lease_is_renewed_and_a_lost_one_ends_the_session(pop3, monkeypatch) -> None:
    monkeypatch.setattr(maildrop, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(maildrop, "RETRY_SECONDS", 0.01)
    renewed, refused, renew = asyncio.Event(), asyncio.Event(), pop3.store.write.renew_maildrop
    failures = [Unavailable(SECRET)]

    async def told(*args):
        if failures:
            raise failures.pop()
        try:
            lease = await renew(*args)
        except Refused:
            refused.set()
            raise
        renewed.set()
        return lease

    monkeypatch.setattr(pop3.store.write, "renew_maildrop", told)
    wire = await pop3.logged_in()
    await within(renewed)
    await wire.say("DELE 1")
    pop3.account.lease = None
    taken = await pop3.store.write.lease_maildrop(pop3.account_id, "another pod", 60)
    await within(refused)
    assert await wire.say("QUIT") == TAKEN_OVER
    assert await wire.ended()
    await pop3.gateway.finish()
    assert await pop3.inbox() == [1, 2, 3]
    assert pop3.account.lease == (taken, "another pod")


async def test_quit_under_a_lease_lost_unnoticed_removes_nothing(pop3) -> None:
    wire = await pop3.logged_in()
    await wire.say("DELE 1")
    pop3.account.lease = None
    await pop3.store.write.lease_maildrop(pop3.account_id, "another pod", 60)
    assert await wire.say("QUIT") == TAKEN_OVER
    assert await wire.ended()
    assert await pop3.inbox() == [1, 2, 3]


# -- removal


async def test_quit_removes_what_is_marked_in_one_call(pop3, monkeypatch) -> None:
    calls: list[list[int]] = []
    expunge = pop3.store.write.expunge

    async def told(account_id, mailbox_id, uids, **kwargs):
        calls.append(list(uids))
        return await expunge(account_id, mailbox_id, uids, **kwargs)

    monkeypatch.setattr(pop3.store.write, "expunge", told)
    wire = await pop3.logged_in()
    for number in (3, 1):
        await wire.say(f"DELE {number}")
    assert await pop3.inbox() == [1, 2, 3], "nothing is removed before QUIT"
    assert await wire.say("QUIT") == "+OK Bye"
    assert await wire.ended()
    assert await pop3.inbox() == [2]
    assert calls == [[1, 3]]
    assert pop3.account.lease is None


@pytest.mark.parametrize("how", ["abort", "close", "half"])
async def test_a_session_without_quit_removes_nothing(pop3, how: str) -> None:
    released = pop3.released()
    wire = await pop3.logged_in()
    await wire.say("DELE 1")
    if how == "abort":
        wire.writer.transport.abort()
    else:
        wire.writer.close()
    await within(released)
    assert await pop3.inbox() == [1, 2, 3]


async def test_new_mail_and_removals_elsewhere_do_not_renumber(pop3) -> None:
    wire = await pop3.logged_in()
    inbox = pop3.store.by_name(pop3.account, "INBOX")
    pop3.store.remove_rows(pop3.account, inbox, [1])
    await pop3.fill([b"Subject: new\r\n\r\n"])
    assert (await wire.say("STAT")).startswith("+OK 3 ")
    assert await wire.retrieve(2) == b"Subject: two\r\n\r\n.22\r\n..\r\n"
    await wire.say("DELE 1")
    await wire.say("DELE 3")
    assert await wire.say("QUIT") == "+OK Bye"
    assert await pop3.inbox() == [2, 4]


async def test_a_client_that_sends_all_and_half_closes_is_answered_first(start, monkeypatch) -> None:
    pop3 = await start(auth_require_tls=False)
    gate = Gate(pop3.store.write.expunge)
    monkeypatch.setattr(pop3.store.write, "expunge", gate)
    wire = await pop3.connect("pop3")
    wire.send(b"USER alice@example.test\r\nPASS secret-enough\r\nDELE 1\r\nQUIT\r\n")
    eof = _told(monkeypatch, "on_eof")
    wire.writer.write_eof()
    await within(eof)
    gate.opened.set()
    assert (await wire.rest()).endswith(b"+OK Message 1 deleted\r\n+OK Bye\r\n")
    assert await pop3.inbox() == [2, 3]


# -- what fails


async def test_a_message_that_vanished_meanwhile_is_no_message(pop3) -> None:
    wire = await pop3.logged_in()
    pop3.account.bodies.clear()
    assert await wire.say("RETR 1") == "-ERR No such message"
    assert await wire.say("NOOP") == "+OK"


@pytest.mark.parametrize("error", [Unavailable(SECRET), Internal(SECRET), Refused(RefusedCode.INVALID, SECRET, SECRET)])
async def test_a_store_that_is_away_is_a_temporary_fault_everywhere(pop3, monkeypatch, error: Exception) -> None:
    monkeypatch.setattr("pop3_gateway.authentication.FAILURE_SECONDS", 0)
    wire = await pop3.connect()
    with monkeypatch.context() as patch:
        patch.setattr(pop3.store.directory, "authenticate", failing(error))
        assert await wire.login() == TEMPORARY
    with monkeypatch.context() as patch:
        patch.setattr(pop3.store.write, "lease_maildrop", failing(error))
        assert await wire.login() == TEMPORARY
    assert await wire.login() == "+OK 3 messages"
    with monkeypatch.context() as patch:
        patch.setattr(pop3.store.read, "contents", failing(error))
        assert await wire.say("RETR 1") == "-ERR [SYS/TEMP] Message can't be read now"
    assert await wire.retrieve(1) == b"Subject: one\r\n\r\n1\r\n"
    await wire.say("DELE 1")
    monkeypatch.setattr(pop3.store.write, "expunge", failing(error))
    assert await wire.say("QUIT") == "-ERR [SYS/TEMP] Some deleted messages were not removed"
    assert await wire.ended()
    assert pop3.account.lease is None


async def test_an_exception_ends_the_session_without_its_text(pop3, monkeypatch) -> None:
    wire = await pop3.logged_in()
    monkeypatch.setattr(pop3.store.read, "contents", failing(RuntimeError(SECRET)))
    wire.send(b"RETR 1\r\nNOOP\r\n")
    assert await wire.rest() == b"-ERR [SYS/TEMP] Internal error\r\n"


async def test_a_throttled_login_is_a_temporary_fault(pop3, monkeypatch) -> None:
    async def throttled(*_args, **_kwargs):
        return AuthResult(AuthStatus.THROTTLED)

    monkeypatch.setattr(pop3.store.directory, "authenticate", throttled)
    wire = await pop3.connect()
    assert await wire.login() == "-ERR [SYS/TEMP] Too many failures, try again later"


# -- time and the end


async def test_a_client_that_says_nothing_is_closed_without_a_word(start, monkeypatch) -> None:
    monkeypatch.setattr("pop3_gateway.connection.LOGIN_SECONDS", 0.05)
    pop3 = await start()
    wire = await pop3.connect()
    assert await wire.ended()


async def test_many_commands_of_one_client_let_others_in_between(pop3, monkeypatch) -> None:
    monkeypatch.setattr("mailboat_common.turn.TURN_SECONDS", 0.0)
    ran, parse = 0, Session.parse

    def counted(session, line):
        nonlocal ran
        ran += 1
        return parse(session, line)

    many, one = await pop3.connect("pop3"), await pop3.connect("pop3")
    monkeypatch.setattr(Session, "parse", counted)
    many.send(b"CAPA\r\n" * 4000)
    assert (await one.say("CAPA")).startswith("+OK")
    assert ran < 4000


async def test_a_client_that_talks_and_does_not_log_in_is_closed(start, monkeypatch) -> None:
    monkeypatch.setattr("pop3_gateway.connection.LOGIN_SECONDS", 0.2)
    pop3 = await start()
    wire = await pop3.connect()
    ended = asyncio.ensure_future(wire.rest())
    while not ended.done():
        wire.send(b"CAPA\r\n")
        await asyncio.wait((ended,), timeout=0.02)
    assert ended.exception() is not None or ended.result().endswith(b".\r\n")


async def test_who_logged_in_may_stay_beyond_the_time_for_it(start, monkeypatch) -> None:
    monkeypatch.setattr("pop3_gateway.connection.LOGIN_SECONDS", 0.2)
    pop3 = await start()
    overdue = _told(monkeypatch, "_login_overdue")
    wire = await pop3.logged_in()
    await within(overdue)
    assert await wire.say("NOOP") == "+OK"


async def test_an_idle_session_ends_without_removing_anything(start, monkeypatch) -> None:
    monkeypatch.setattr("pop3_gateway.connection.IDLE_SECONDS", 0.2)
    pop3 = await start()
    released = pop3.released()
    wire = await pop3.connect()
    wire.send(b"USER alice@example.test\r\nPASS secret-enough\r\nDELE 1\r\n")
    assert (await wire.rest()).endswith(b"+OK Message 1 deleted\r\n")
    await within(released)
    assert await pop3.inbox() == [1, 2, 3]
    assert pop3.account.lease is None


async def test_idle_time_does_not_run_while_we_work(start, monkeypatch) -> None:
    monkeypatch.setattr("pop3_gateway.connection.IDLE_SECONDS", 0.05)
    pop3 = await start()
    idle = _told(monkeypatch, "on_idle")
    gate = Gate(pop3.store.read.contents)
    monkeypatch.setattr(pop3.store.read, "contents", gate)
    wire = await pop3.connect()
    wire.send(b"USER alice@example.test\r\nPASS secret-enough\r\nRETR 1\r\n")
    await within(gate.reached)
    await within(idle)
    gate.opened.set()
    assert (await wire.rest()).endswith(b"Subject: one\r\n\r\n1\r\n.\r\n")


async def test_drain_ends_sessions_between_commands_and_frees_every_lease(pop3, monkeypatch) -> None:
    idle = await pop3.connect()
    busy = await pop3.logged_in()
    await busy.say("DELE 1")
    gate = Gate(pop3.store.read.contents)
    monkeypatch.setattr(pop3.store.read, "contents", gate)
    busy.send(b"RETR 2\r\nQUIT\r\n")
    await within(gate.reached)
    asked = _told(monkeypatch, "request_close", times=2)
    draining = asyncio.create_task(pop3.server.drain(asyncio.get_running_loop().time() + 10))
    goodbye = b"-ERR [SYS/TEMP] Service restarting, try again\r\n"
    assert await idle.rest() == goodbye
    await within(asked)
    gate.opened.set()
    assert await busy.rest() == b"+OK 25 octets\r\nSubject: two\r\n\r\n..22\r\n...\r\n.\r\n" + goodbye
    await draining
    await pop3.gateway.finish()
    assert pop3.account.lease is None
    assert await pop3.inbox() == [1, 2, 3], "QUIT was not reached"


async def test_leases_are_back_before_the_store_is_closed(pop3, monkeypatch) -> None:
    gate = Gate(pop3.store.write.release_maildrop)
    monkeypatch.setattr(pop3.store.write, "release_maildrop", gate)
    order: list[str] = []

    async def close_store() -> None:
        order.append(f"store closed, lease {pop3.account.lease}")

    life = Lifecycle("pop3_gateway", AdminServer(0, "127.0.0.1"), 0)
    life.on_close(close_store)
    pop3.ports = await pop3.serve(life)
    wire = await pop3.logged_in()
    closing = asyncio.create_task(life._close())
    await within(gate.reached)
    await asyncio.wait([closing], timeout=0.2)
    assert order == [], "the store is still there"
    gate.opened.set()
    await closing
    assert order == ["store closed, lease None"]
    assert await wire.rest() == b""


async def test_quit_does_not_wait_for_a_lease_that_cannot_be_given_back(pop3, monkeypatch) -> None:
    gate = Gate(pop3.store.write.release_maildrop)
    monkeypatch.setattr(pop3.store.write, "release_maildrop", gate)
    monkeypatch.setattr("pop3_gateway.commands.quit_.CLOSE_SECONDS", 0.0)
    wire = await pop3.logged_in()
    await wire.say("DELE 1")
    assert await wire.say("QUIT") == "+OK Bye"
    assert await wire.ended()
    assert await pop3.inbox() == [2, 3]
    assert pop3.account.lease is not None
    gate.opened.set()
    await pop3.gateway.finish()
    assert pop3.account.lease is None


def _counted(pop3, monkeypatch) -> list[str]:
    """Names of the lease's calls, as they come."""
    calls: list[str] = []

    def counted(name: str):
        call = getattr(pop3.store.write, f"{name}_maildrop")

        def count(*args):
            calls.append(name)
            return call(*args)

        return count

    for name in ("lease", "release"):
        monkeypatch.setattr(pop3.store.write, f"{name}_maildrop", counted(name))
    return calls


def _told(monkeypatch, method: str, times: int = 1) -> asyncio.Event:
    """An event that is set when a connection's hook was called for the n-th time."""
    event, original, seen = asyncio.Event(), getattr(Pop3Connection, method), []

    def tell(self, *args):
        original(self, *args)
        seen.append(self)
        if len(seen) >= times:
            event.set()

    monkeypatch.setattr(Pop3Connection, method, tell)
    return event


def _connection_lost(monkeypatch) -> asyncio.Event:
    return _told(monkeypatch, "on_lost")
