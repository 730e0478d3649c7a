"""POP3: lines with every chunking, commands, dot-stuffing, TOP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.pop3 import BadCommand, DotStuffer, Fault, Line, Pop3Receiver, TopCutter, dot_stuff, parse_command
from mailboat_wire.pop3 import commands as c
from mailboat_wire.smtp import DataReader

STEPS = pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])


def receive(data: bytes, step: int, max_line: int = 20) -> list[Line | Fault]:
    receiver = Pop3Receiver(max_line)
    seen = []
    for place in range(0, len(data), step):
        receiver.receive_data(data[place : place + step])
        while (event := receiver.next_line()) is not None:
            seen.append(event)
    return seen


@STEPS
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"NOOP\r\nQUIT\r\n", [Line(b"NOOP"), Line(b"QUIT")]),
        (b"\r\n", [Line(b"")]),
        (b"x" * 20 + b"\r\nQUIT\r\n", [Line(b"x" * 20), Line(b"QUIT")]),
        (b"x" * 21 + b"\r\nQUIT\r\n", [Fault(b"-ERR Line too long\r\n", False), Line(b"QUIT")]),
        (b"x" * 900 + b"\r\nQUIT\r\n", [Fault(b"-ERR Line too long\r\n", False), Line(b"QUIT")]),
        (b"NOOP\nQUIT\r\n", [Fault(b"-ERR Lines end with CRLF\r\n", False), Line(b"QUIT")]),
        (b"\n", [Fault(b"-ERR Lines end with CRLF\r\n", False)]),
    ],
)
def test_lines(data, step, expected):
    assert receive(data, step) == expected


def test_an_endless_line_ends_the_connection():
    seen = receive(b"x" * 100_000 + b"\r\nQUIT\r\n", 1000)
    assert [event.fatal for event in seen] == [False, True]


def test_back_pressure_and_the_rest():
    receiver = Pop3Receiver()
    receiver.receive_data(b"STLS\r\n" + b"NOOP\r\n" * 4000)
    assert not receiver.wants_data
    assert receiver.next_line() == Line(b"STLS")
    assert receiver.take_buffered() == b"NOOP\r\n" * 4000
    assert receiver.wants_data
    assert receiver.next_line() is None


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"USER bob@example.test", c.User(b"bob@example.test")),
        (b"pass  a b ", c.Pass(b" a b ")),
        (b"PASS \xff", c.Pass(b"\xff")),
        (b"QUIT", c.Quit()),
        (b"quit ", c.Quit()),
        (b"STAT", c.Stat()),
        (b"LIST", c.List(None)),
        (b"LIST 2", c.List(2)),
        (b"UIDL", c.Uidl(None)),
        (b"UIDL 0", c.Uidl(0)),
        (b"RETR 1", c.Retr(1)),
        (b"DELE 4294967295", c.Dele(4294967295)),
        (b"TOP 1 0", c.Top(1, 0)),
        (b"NOOP", c.Noop()),
        (b"RSET", c.Rset()),
        (b"CAPA", c.Capa()),
        (b"STLS", c.Stls()),
        (b"UTF8", c.Utf8()),
        (b"AUTH", c.Auth(None, None)),
        (b"AUTH plain", c.Auth(b"PLAIN", None)),
        (b"AUTH PLAIN =", c.Auth(b"PLAIN", b"")),
        (b"AUTH PLAIN dGVzdA==", c.Auth(b"PLAIN", b"dGVzdA==")),
        (b"APOP a b", c.UnknownCommand()),
    ],
)
def test_commands(line, command):
    assert parse_command(line) == command


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"",
            b" ",
            b"USER",
            b"USER ",
            b"PASS",
            b"PASS ",
            b"QUIT x",
            b"STAT 1",
            b"LIST x",
            b"LIST 1 2",
            b"RETR",
            b"RETR -1",
            b"RETR 1 2",
        ),
        *(
            b"RETR 4294967296",
            b"TOP 1",
            b"TOP 1 x",
            b"AUTH a b c",
            b"AUTH *",
            b"NO\0OP",
            b"PASS a\rb",
            b"(NOOP",
            b"\xff",
            b"X" * 17,
        ),
    ],
)
def test_bad_commands(line):
    with pytest.raises(BadCommand) as caught:
        parse_command(line)
    assert caught.value.response().startswith(b"-ERR ")


@given(st.binary(max_size=40))
def test_any_line_gives_a_command_or_bad(line):
    try:
        assert isinstance(parse_command(line), c.Command)
    except BadCommand as error:
        assert error.text.isascii()


def test_a_password_stays_out_of_reprs():
    assert "secret" not in repr(parse_command(b"PASS secret"))


@pytest.mark.parametrize(
    ("message", "stuffed"),
    [
        (b"", b""),
        (b"a", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b".", b"..\r\n"),
        (b".\r\n.\r\n", b"..\r\n..\r\n"),
        (b"a\r\n.b\r\nc.d\r\n", b"a\r\n..b\r\nc.d\r\n"),
        (b"a\n.\nb", b"a\n.\nb\r\n"),
        (b"a\r", b"a\r\r\n"),
    ],
)
def test_dot_stuffing(message, stuffed):
    assert dot_stuff(message) == stuffed


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"x"]), max_size=20).map(b"".join), st.integers(1, 5))
def test_stuffing_in_chunks_gives_the_same_and_is_undone_by_a_reader(message, step):
    stuffer = DotStuffer()
    sent = b"".join([stuffer.feed(message[place : place + step]) for place in range(0, len(message), step)])
    sent += stuffer.feed(b"") + stuffer.finish()
    assert sent == dot_stuff(message) + b".\r\n"
    reader = DataReader()
    got = reader.feed(sent)
    assert reader.done
    assert reader.rest == b""
    if reader.fault is None:
        assert got == (message if not message or message.endswith(b"\r\n") else message + b"\r\n")


MESSAGE = b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree"


@pytest.mark.parametrize(
    ("message", "lines", "shown"),
    [
        (MESSAGE, 0, b"A: 1\r\nB: 2\r\n\r\n"),
        (MESSAGE, 1, b"A: 1\r\nB: 2\r\n\r\none\r\n"),
        (MESSAGE, 3, MESSAGE),
        (MESSAGE, 4294967295, MESSAGE),
        (b"A: 1\r\n", 0, b"A: 1\r\n"),
        (b"\r\none\r\ntwo\r\n", 1, b"\r\none\r\n"),
        (b"", 3, b""),
        (b"A: 1\r\n\r\n\r\n\r\nx", 1, b"A: 1\r\n\r\n\r\n"),
        (b"A: 1\n\nbare\n", 0, b"A: 1\n\nbare\n"),
        (b"A: 1\r\n\r\none\ntwo\r\nthree\r\n", 1, b"A: 1\r\n\r\none\ntwo\r\n"),
    ],
)
@STEPS
def test_top(message, lines, shown, step):
    assert cut(message, lines, step) == shown


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"x"]), max_size=30).map(b"".join),
    st.integers(0, 6),
    st.integers(1, 5),
)
def test_top_is_the_same_however_a_message_is_cut(message, lines, step):
    header, blank, body = (b"\r\n" + message).partition(b"\r\n\r\n")
    shown = header + blank + b"".join([line + b"\r\n" for line in body.split(b"\r\n")[:lines]])
    whole = blank == b"" or body.count(b"\r\n") < lines
    assert cut(message, lines, step) == (message if whole else shown[2:])


def cut(message, lines, step):
    cutter = TopCutter(lines)
    shown = b"".join([cutter.feed(message[place : place + step]) for place in range(0, len(message), step)])
    assert cutter.feed(b"") == b""
    return shown
