"""TOP, AUTH and UTF8 against a real server: whole, pipelined, and with what no client should send."""

from __future__ import annotations

import base64

import pytest
from mailboat_store_client.types import AuthResult, AuthStatus

GOOD = base64.b64encode(b"\0alice@example.test\0secret-enough").decode()
WRONG = base64.b64encode(b"\0alice@example.test\0wrong").decode()
FAILED = "-ERR [AUTH] Authentication failed"
MALFORMED = "-ERR Not a response of this mechanism"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pop3_gateway.authentication.FAILURE_SECONDS", 0)


# -- TOP


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (0, ["Subject: two", ""]),
        (1, ["Subject: two", "", ".22"]),
        (2, ["Subject: two", "", ".22", ".."]),
        (4294967295, ["Subject: two", "", ".22", ".."]),
    ],
)
async def test_top_shows_the_header_and_so_many_lines(pop3, lines: int, shown: list[str]) -> None:
    wire = await pop3.logged_in()
    assert await wire.listing(f"TOP 2 {lines}") == shown
    assert await wire.say("NOOP") == "+OK"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("TOP 4 0", "-ERR No such message"),
        ("TOP 0 0", "-ERR No such message"),
        ("TOP 1", "-ERR Wrong number of arguments"),
        ("TOP", "-ERR Wrong number of arguments"),
        ("TOP 1 2 3", "-ERR Wrong number of arguments"),
        ("TOP 1 -1", "-ERR Invalid number"),
        ("TOP 1 4294967296", "-ERR Invalid number"),
        ("TOP x 1", "-ERR Invalid number"),
    ],
)
async def test_top_of_what_is_not_there(pop3, command: str, answer: str) -> None:
    assert await (await pop3.logged_in()).say(command) == answer


async def test_top_of_a_big_message_reads_no_more_than_it_shows(pop3, monkeypatch) -> None:
    await pop3.fill([b"Subject: big\r\n\r\n" + b"line\r\n" * 1_000_000])
    asked, read = [], pop3.store.read.read

    async def counted(*args, **kwargs):
        async for chunk in read(*args, **kwargs):
            asked.append(len(chunk))
            yield chunk

    monkeypatch.setattr(pop3.store.read, "read", counted)
    wire = await pop3.logged_in()
    assert await wire.listing("TOP 4 2") == ["Subject: big", "", "line", "line"]
    assert len(asked) == 1
    assert len(await wire.listing("TOP 4 20000")) == 20_002


async def test_top_then_retr_of_each_asks_the_store_once(pop3, monkeypatch) -> None:
    asked, contents = [], pop3.store.read.contents

    async def counted(account_id, body_ids, max_bytes):
        asked.append(len(body_ids))
        return await contents(account_id, body_ids, max_bytes)

    monkeypatch.setattr(pop3.store.read, "contents", counted)
    wire = await pop3.logged_in()
    for number in (1, 2, 3):
        await wire.listing(f"TOP {number} 0")
        await wire.retrieve(number)
    assert asked == [3]


async def test_top_of_a_message_that_vanished(pop3) -> None:
    wire = await pop3.logged_in()
    pop3.account.bodies.clear()
    assert await wire.say("TOP 1 0") == "-ERR No such message"


# -- AUTH


async def test_auth_plain_with_an_initial_response(pop3) -> None:
    wire = await pop3.connect()
    assert await wire.say(f"AUTH PLAIN {GOOD}") == "+OK 3 messages"
    assert await wire.say("STAT") == "+OK 3 65"


async def test_auth_plain_without_one_in_any_case(pop3) -> None:
    wire = await pop3.connect()
    assert await wire.say("auth plain") == "+ "
    assert await wire.say(GOOD) == "+OK 3 messages"


async def test_bare_auth_lists_the_mechanisms(pop3) -> None:
    assert await (await pop3.connect()).listing("AUTH") == ["PLAIN"]


async def test_a_star_cancels(pop3) -> None:
    wire = await pop3.connect()
    await wire.say("AUTH PLAIN")
    assert await wire.say("*") == "-ERR Authentication cancelled"
    assert await wire.say("AUTH PLAIN *") == "-ERR Authentication cancelled"
    assert await wire.say(f"AUTH PLAIN {GOOD}") == "+OK 3 messages"


@pytest.mark.parametrize("response", ["", "QUIT", "AA==", "====", GOOD + "=", GOOD + " ", "\u00e9", "AGE="])
async def test_what_is_no_response_ends_the_exchange(pop3, response: str) -> None:
    wire = await pop3.connect()
    await wire.say("AUTH PLAIN")
    assert await wire.say(response) == MALFORMED
    assert await wire.say("CAPA") == "+OK"


async def test_an_empty_initial_response_is_no_credentials(pop3) -> None:
    assert await (await pop3.connect()).say("AUTH PLAIN =") == MALFORMED


async def test_a_response_has_a_limit_of_its_own(pop3) -> None:
    wire = await pop3.connect()
    long = base64.b64encode(b"\0alice@example.test\0" + b"x" * 1000).decode()
    await wire.say("AUTH PLAIN")
    assert await wire.say(long) == FAILED, "longer than a command may be"
    await wire.say("AUTH PLAIN")
    assert await wire.say("A" * 5000) == "-ERR Line too long"
    assert await wire.say("CAPA " + "x" * 2000) == "-ERR Line too long", "a command's limit holds again"
    assert await wire.say("UTF8") == "+OK UTF-8"


async def test_the_third_wrong_password_closes(pop3) -> None:
    wire = await pop3.connect()
    assert await wire.say(f"AUTH PLAIN {WRONG}") == FAILED
    assert await wire.login(password="wrong") == FAILED
    await wire.say("AUTH PLAIN")
    assert await wire.say(WRONG) == FAILED
    assert await wire.ended()


async def test_nobody_acts_for_another(pop3) -> None:
    wire = await pop3.connect()
    other = base64.b64encode(b"bob@example.test\0alice@example.test\0secret-enough").decode()
    same = base64.b64encode(b"alice@example.test\0alice@example.test\0secret-enough").decode()
    assert await wire.say(f"AUTH PLAIN {other}") == "-ERR [AUTH] Can't act for another account"
    assert await wire.say(f"AUTH PLAIN {same}") == "+OK 3 messages"


async def test_a_disabled_or_throttled_account(pop3, monkeypatch) -> None:
    pop3.account.disabled = True
    wire = await pop3.connect()
    assert await wire.say(f"AUTH PLAIN {GOOD}") == FAILED

    async def throttled(*_args, **_kwargs):
        return AuthResult(AuthStatus.THROTTLED)

    monkeypatch.setattr(pop3.store.directory, "authenticate", throttled)
    assert await wire.say(f"AUTH PLAIN {GOOD}") == "-ERR [SYS/TEMP] Too many failures, try again later"


async def test_no_password_in_clear_text(pop3) -> None:
    wire = await pop3.connect("pop3")
    assert await wire.say(f"AUTH PLAIN {GOOD}") == "-ERR [AUTH] TLS required first (STLS)"
    await wire.say("STLS")
    await wire.start_tls(pop3.context)
    assert await wire.say(f"AUTH PLAIN {GOOD}") == "+OK 3 messages"


async def test_auth_forgets_what_user_said(pop3) -> None:
    wire = await pop3.connect()
    await wire.say("USER alice@example.test")
    await wire.say("AUTH PLAIN")
    await wire.say("*")
    assert await wire.say("PASS secret-enough") == "-ERR Send USER first"


SCRIPT = (
    f"UTF8\r\nAUTH PLAIN\r\n{WRONG}\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN\r\n{GOOD}\r\nSTAT\r\nTOP 2 1\r\nTOP 9 1\r\n"
    "TOP 3 0\r\nAUTH PLAIN\r\nUTF8\r\nDELE 1\r\nTOP 1 0\r\nRSET\r\nQUIT\r\n"
).encode()
ANSWERS = (
    b"+OK UTF-8\r\n+ \r\n-ERR [AUTH] Authentication failed\r\n+ \r\n-ERR Authentication cancelled\r\n+ \r\n"
    b"+OK 3 messages\r\n+OK 3 65\r\n+OK\r\nSubject: two\r\n\r\n..22\r\n.\r\n-ERR No such message\r\n"
    b"+OK\r\nSubject: three\r\n\r\n.\r\n-ERR Not now\r\n-ERR Not now\r\n+OK Message 1 deleted\r\n"
    b"-ERR No such message\r\n+OK\r\n+OK Bye\r\n"
)


@pytest.mark.parametrize("size", [len(SCRIPT), 1, 7])
async def test_pipelined_or_byte_by_byte_is_answered_alike(pop3, size: int) -> None:
    wire = await pop3.connect()
    await wire.send_in_pieces(SCRIPT, size)
    assert await wire.rest() == ANSWERS


async def test_twenty_broken_exchanges_end_the_session(pop3) -> None:
    wire = await pop3.connect()
    wire.send(b"AUTH PLAIN\r\nno\r\n" * 25)
    assert (await wire.rest()).endswith(b"-ERR Too many errors, closing\r\n")


# -- UTF8


async def test_names_and_messages_are_utf8_in_either_mode(start) -> None:
    pop3 = await start()
    message = "From: J\u00f6rg <j\u00f6rg@example.test>\r\nSubject: Gr\u00fc\u00dfe\r\n\r\n.\u00e4\r\n".encode()
    pop3.store.addresses["j\u00f6rg@example.test"] = pop3.account_id
    await pop3.fill([message])
    for utf8 in (True, False):
        wire = await pop3.connect()
        if utf8:
            assert await wire.say("UTF8") == "+OK UTF-8"
        assert await wire.login("j\u00f6rg@example.test") == "+OK 4 messages"
        wire.send(b"RETR 4\r\nQUIT\r\n")
        assert (
            await wire.rest()
            == b"+OK %d octets\r\n" % len(message) + message.replace(b"\r\n.", b"\r\n..") + b".\r\n+OK Bye\r\n"
        )
