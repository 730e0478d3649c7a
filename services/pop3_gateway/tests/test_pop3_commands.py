"""Every POP3 command in every state, and what each answers to the byte."""

from __future__ import annotations

import pytest
from mailboat_common import metrics

CLEAR = "clear"  # AUTHORIZATION without TLS
AUTHORIZATION = "authorization"  # over TLS
TRANSACTION = "transaction"  # over TLS, logged in

TLS_FIRST = "-ERR [AUTH] TLS required first (STLS)"
NOT_NOW = "-ERR Not now"
NO_MESSAGE = "-ERR No such message"

TABLE = [
    # command, what it answers in clear text, over TLS, logged in
    ("USER alice@example.test", TLS_FIRST, "+OK Send PASS", NOT_NOW),
    ("PASS secret-enough", "-ERR Send USER first", "-ERR Send USER first", NOT_NOW),
    ("STLS", "+OK Begin TLS", "-ERR STLS isn't offered now", NOT_NOW),
    ("QUIT", "+OK Bye", "+OK Bye", "+OK Bye"),
    ("CAPA", "+OK", "+OK", "+OK"),
    ("STAT", NOT_NOW, NOT_NOW, "+OK 3 65"),
    ("LIST", NOT_NOW, NOT_NOW, "+OK 3 messages"),
    ("UIDL", NOT_NOW, NOT_NOW, "+OK"),
    ("RETR 1", NOT_NOW, NOT_NOW, "+OK 19 octets"),
    ("DELE 1", NOT_NOW, NOT_NOW, "+OK Message 1 deleted"),
    ("RSET", NOT_NOW, NOT_NOW, "+OK"),
    ("NOOP", NOT_NOW, NOT_NOW, "+OK"),
    ("noop", NOT_NOW, NOT_NOW, "+OK"),
    ("APOP alice 0123", "-ERR Unknown command", "-ERR Unknown command", "-ERR Unknown command"),
    ("TOP 1 0", NOT_NOW, NOT_NOW, "+OK"),
    ("AUTH", TLS_FIRST, "+OK", NOT_NOW),
    ("AUTH PLAIN", TLS_FIRST, "+ ", NOT_NOW),
    ("AUTH LOGIN", TLS_FIRST, "-ERR Mechanism not supported", NOT_NOW),
    ("UTF8", "+OK UTF-8", "+OK UTF-8", NOT_NOW),
    ("LANG", "-ERR Unknown command", "-ERR Unknown command", "-ERR Unknown command"),
    ("", "-ERR Invalid command", "-ERR Invalid command", "-ERR Invalid command"),
    ("STAT now", "-ERR Unexpected argument", "-ERR Unexpected argument", "-ERR Unexpected argument"),
    ("USER", "-ERR Missing user name", "-ERR Missing user name", "-ERR Missing user name"),
    ("PASS", "-ERR Missing password", "-ERR Missing password", "-ERR Missing password"),
]


@pytest.mark.parametrize("state", [CLEAR, AUTHORIZATION, TRANSACTION])
@pytest.mark.parametrize(("command", "clear", "authorization", "transaction"), TABLE)
async def test_every_command_in_every_state(
    pop3, command: str, clear: str, authorization: str, transaction: str, *, state: str
) -> None:
    if state == TRANSACTION:
        wire = await pop3.logged_in()
    else:
        wire = await pop3.connect("pop3" if state == CLEAR else "pop3s")
    expected = {CLEAR: clear, AUTHORIZATION: authorization, TRANSACTION: transaction}[state]
    assert await wire.say(command) == expected


@pytest.mark.parametrize("number", ["0", "4", "4294967295"])
@pytest.mark.parametrize("command", ["LIST", "UIDL", "RETR", "DELE"])
async def test_numbers_out_of_range_name_no_message(pop3, command: str, number: str) -> None:
    wire = await pop3.logged_in()
    assert await wire.say(f"{command} {number}") == NO_MESSAGE


@pytest.mark.parametrize("argument", ["-1", "x", "1x", "4294967296", "99999999999999999999", "1.0", "\u0661"])
@pytest.mark.parametrize("command", ["LIST", "UIDL", "RETR", "DELE"])
async def test_what_is_no_number_is_refused(pop3, command: str, argument: str) -> None:
    wire = await pop3.logged_in()
    assert await wire.say(f"{command} {argument}") == "-ERR Invalid number"


@pytest.mark.parametrize("command", ["RETR", "DELE", "RETR 1 2", "LIST 1 2"])
async def test_too_few_or_too_many_numbers(pop3, command: str) -> None:
    wire = await pop3.logged_in()
    assert await wire.say(command) == "-ERR Wrong number of arguments"


async def test_what_is_marked_deleted_is_gone_until_rset(pop3) -> None:
    wire = await pop3.logged_in()
    assert await wire.listing("LIST") == ["1 19", "2 25", "3 21"]
    await wire.say("DELE 2")
    for command in ("LIST 2", "UIDL 2", "RETR 2", "TOP 2 0", "DELE 2"):
        assert await wire.say(command) == NO_MESSAGE
    assert [line.split()[0] for line in await wire.listing("LIST")] == ["1", "3"]
    assert [line.split()[0] for line in await wire.listing("UIDL")] == ["1", "3"]
    assert (await wire.say("STAT")).split()[1] == "2"
    assert (await wire.say("LIST 3")).startswith("+OK 3 ")
    assert await wire.say("RSET") == "+OK"
    assert (await wire.say("STAT")).split()[1] == "3"
    assert (await wire.say("QUIT")) == "+OK Bye"
    assert await pop3.inbox() == [1, 2, 3]


async def test_sizes_are_the_octets_of_the_message(pop3) -> None:
    wire = await pop3.logged_in()
    contents = [pop3.account.bodies[body_id] for body_id in pop3.account.bodies]
    assert await wire.listing("LIST") == [f"{n} {len(content)}" for n, content in enumerate(contents, 1)]
    assert await wire.say("STAT") == f"+OK 3 {sum(map(len, contents))}"


async def test_retr_is_dot_stuffed_to_the_byte(pop3) -> None:
    wire = await pop3.logged_in()
    wire.send(b"RETR 2\r\nRETR 3\r\nQUIT\r\n")
    assert await wire.rest() == (
        b"+OK 25 octets\r\nSubject: two\r\n\r\n..22\r\n...\r\n.\r\n"
        b"+OK 21 octets\r\nSubject: three\r\n\r\n333\r\n.\r\n"  # a last line without its end gets one
        b"+OK Bye\r\n"
    )


async def test_an_empty_mailbox_and_an_empty_message(start) -> None:
    pop3 = await start()
    pop3.store.remove_rows(pop3.account, pop3.store.by_name(pop3.account, "INBOX"), [1, 2, 3])
    wire = await pop3.logged_in()
    assert await wire.say("STAT") == "+OK 0 0"
    assert await wire.listing("LIST") == []
    assert await wire.listing("UIDL") == []
    assert await wire.say("RETR 1") == NO_MESSAGE
    assert await wire.say("QUIT") == "+OK Bye"
    await pop3.fill([b""])
    wire = await pop3.logged_in()
    wire.send(b"RETR 1\r\nQUIT\r\n")
    assert await wire.rest() == b"+OK 0 octets\r\n.\r\n+OK Bye\r\n"


async def test_uidl_is_stable_over_sessions_and_unique(pop3) -> None:
    first = await pop3.logged_in()
    ids = dict(line.split() for line in await first.listing("UIDL"))
    assert len(set(ids.values())) == 3
    assert all(1 <= len(unique) <= 70 and unique.isalnum() for unique in ids.values())
    await first.say("DELE 1")
    assert await first.say("QUIT") == "+OK Bye"
    await pop3.fill([b"Subject: new\r\n\r\n"])
    second = await pop3.logged_in()
    again = [line.split()[1] for line in await second.listing("UIDL")]
    assert again[:2] == [ids["2"], ids["3"]]
    assert again[2] not in ids.values()
    assert await second.say("UIDL 1") == f"+OK 1 {ids['2']}"
    await second.say("QUIT")
    (account,) = pop3.store.accounts.values()
    (inbox,) = (mailbox for mailbox in account.mailboxes.values() if mailbox.name == "INBOX")
    inbox.first_uid_validity, inbox.uid_validity = inbox.uid_validity, inbox.uid_validity + 100_000
    restored = await pop3.logged_in()
    assert [line.split()[1] for line in await restored.listing("UIDL")] == again, "a restore has raised UIDVALIDITY"


async def test_capabilities_tell_what_holds_now(pop3) -> None:
    always = {"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER"}
    always |= {"EXPIRE NEVER", "IMPLEMENTATION Mailboat"}
    wire = await pop3.connect("pop3")
    assert set(await wire.listing("CAPA")) == always | {"STLS"}
    await wire.say("STLS")
    await wire.start_tls(pop3.context)
    assert set(await wire.listing("CAPA")) == always | {"USER", "SASL PLAIN"}
    await wire.login()
    assert set(await wire.listing("CAPA")) == always | {"USER", "SASL PLAIN"}


async def test_without_the_demand_for_tls_a_password_is_taken_in_clear(start) -> None:
    pop3 = await start(auth_require_tls=False)
    wire = await pop3.connect("pop3")
    assert {"USER", "STLS"} <= set(await wire.listing("CAPA"))
    assert await wire.login() == "+OK 3 messages"


SCRIPT = (
    b"CAPA\r\nUSER alice@example.test\r\nPASS secret-enough\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 2\r\nRETR 9\r\nDELE 3\r\n"
    b"LIST 3\r\nRSET\r\nNOOP\r\nWHAT\r\nRETR 1\r\nQUIT\r\n"
)


async def test_whole_byte_at_a_time_and_one_by_one_are_answered_alike(pop3) -> None:
    seen = []
    for size in (len(SCRIPT), 1, 7):
        wire = await pop3.connect()
        await wire.send_in_pieces(SCRIPT, size)
        seen.append(await wire.rest())
    assert seen[0] == seen[1] == seen[2]
    assert seen[0].endswith(b"+OK Bye\r\n")
    assert seen[0].count(b"+OK") == 12
    assert seen[0].count(b"-ERR") == 3


async def test_pipelined_answers_leave_joined(start, monkeypatch) -> None:
    pop3 = await start(auth_require_tls=False)
    wire = await pop3.connect("pop3")
    await wire.login()
    writes = []
    monkeypatch.setattr("pop3_gateway.connection.Pop3Connection.flush", _counting(writes))
    wire.send(b"NOOP\r\n" * 500 + b"STAT\r\n")
    lines = [await wire.line() for _ in range(501)]
    assert lines[-1] == "+OK 3 65"
    assert len([size for size in writes if size]) < 50


def _counting(writes: list[int]):
    from mailboat_common.connection import Connection

    flush = Connection.flush

    def counted(self: Connection) -> None:
        writes.append(self._output_bytes)
        flush(self)

    return counted


async def test_lines_that_are_no_lines(pop3) -> None:
    wire = await pop3.connect()
    assert await wire.say(b"CAPA " + b"x" * 2000) == "-ERR Line too long"
    wire.send(b"NOOP\nQUIT\r\n")
    assert await wire.line() == "-ERR Lines end with CRLF"
    assert await wire.line() == "+OK Bye"
    assert await wire.ended()


async def test_nul_and_cr_inside_a_line_are_refused(pop3) -> None:
    wire = await pop3.logged_in()
    assert await wire.say(b"NO\x00OP") == "-ERR Invalid character"
    assert await wire.say(b"NOOP\rSTAT") == "-ERR Invalid character"
    assert await wire.say("NOOP") == "+OK"


async def test_an_endless_line_ends_the_session_in_bounded_memory(pop3) -> None:
    wire = await pop3.connect()
    wire.send(b"x" * 300_000)
    assert (await wire.rest()).startswith(b"-ERR Line too long\r\n-ERR Line too long, closing\r\n")


@pytest.mark.parametrize("nonsense", [b"WHAT", b"STAT", b"\xff\xfe", b"USER", b"NOOP\nx"])
async def test_twenty_errors_end_the_session(pop3, nonsense: bytes) -> None:
    wire = await pop3.connect()
    wire.send((nonsense + b"\r\n") * 25)
    lines = (await wire.rest()).decode().splitlines()
    assert len([line for line in lines if line.startswith("-ERR")]) in (20, 21)
    assert len(lines) <= 21


async def test_commands_are_timed_by_name_and_outcome(pop3) -> None:
    def count(command: str, result: str) -> float:
        labels = {"command": command, "result": result}
        return metrics.REGISTRY.get_sample_value("mailboat_pop3_command_duration_seconds_count", labels) or 0

    before = count("RETR", "ok"), count("RETR", "err")
    wire = await pop3.logged_in()
    await wire.retrieve(1)
    await wire.say("RETR 9")
    pop3.gateway.ahead.forget(pop3.account_id, pop3.account.bodies)
    pop3.account.bodies.clear()
    await wire.say("RETR 2")
    await wire.say("NOOP")
    assert (count("RETR", "ok"), count("RETR", "err")) == (before[0] + 1, before[1] + 2)
