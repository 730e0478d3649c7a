"""The heads of APPEND and REPLACE: what is sent before, between and after their messages."""

import datetime as dt

import pytest
from mailboat_wire.imap import AppendEnd, AppendFrame, BadCommand, Literal, SequenceSet, check_append_end, parse_append
from mailboat_wire.imap import types as t

A = b"a"


def seq(*ranges: tuple[int, int]) -> SequenceSet:
    return SequenceSet(ranges)


APPENDS = [
    ((b"a APPEND saved ",), (), False, t.Append(A, "saved", t.AppendMessage((), None, 9))),
    (
        (b'a APPEND "x y" (\\seen $A \\Recent) "17-Jul-1996 02:44:25 -0700" ',),
        (),
        False,
        t.Append(A, "x y", t.AppendMessage((b"\\Seen", b"$A"), dt.datetime(1996, 7, 17, 9, 44, 25, tzinfo=dt.UTC), 9)),
    ),
    (
        (b"a APPEND ", b' () " 2-nov-2026 00:30:00 +0100" '),
        (Literal(b"inbox"),),
        True,
        t.Append(A, "INBOX", t.AppendMessage((), dt.datetime(2026, 11, 1, 23, 30, tzinfo=dt.UTC), 9, True)),
    ),
    (
        (b"a REPLACE 4 Drafts (\\Seen \\draft) ",),
        (),
        False,
        t.Replace(A, False, seq((4, 4)), "Drafts", t.AppendMessage((b"\\Seen", b"\\Draft"), None, 9)),
    ),
    (
        (b"a Uid Replace 2000 ", b' "17-Jul-1996 02:44:25 -0700" '),
        (Literal(b"inbox"),),
        True,
        t.Replace(
            A,
            True,
            seq((2000, 2000)),
            "INBOX",
            t.AppendMessage((), dt.datetime(1996, 7, 17, 9, 44, 25, tzinfo=dt.UTC), 9, True),
        ),
    ),
    ((b"a REPLACE * x ",), (), False, t.Replace(A, False, seq((0, 0)), "x", t.AppendMessage((), None, 9))),
]


@pytest.mark.parametrize(("texts", "literals", "binary", "expected"), APPENDS)
def test_append_heads(texts, literals, binary, expected):
    assert parse_append(AppendFrame(A, texts, literals, 9, binary, False)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(b"a APPEND ", b"a APPEND x", b'a APPEND "" ', b"a APPEND x (\\Seen ", b"a APPEND x ()", b"a APPEND x y "),
        *(b'a APPEND x "31-Feb-2020 00:00:00 +0000" ', b'a APPEND x "1-Foo-2020 00:00:00 +0000" '),
        *(b'a APPEND x "01-Jan-0000 00:00:00 +0000" ', b'a APPEND x "01-Jan-0001 00:00:00 +2300" '),
        *(b'a APPEND x "31-Dec-9999 23:59:59 -0100" ', b'a APPEND x "01-Jan-2020 24:00:00 +0000" '),
        *(
            b'a APPEND x "01-Jan-2020 00:00:60 +0000" ',
            b'a APPEND x "01-Jan-2020 00:00:00 +0060" ',
            b"a APPEND x UTF8 (",
            *(b"a REPLACE x ", b"a REPLACE 0 x ", b"a REPLACE 1:2 x ", b"a REPLACE 1,2 x ", b"a REPLACE $ x "),
            *(b"a UID REPLACE 4294967296 x ", b"a REPLACE 1 x (\\Seen ", b"a REPLACE 1 x y ", b"a REPLACE 1  x "),
        ),
    ],
)
def test_bad_append_heads(text):
    with pytest.raises(BadCommand) as caught:
        parse_append(AppendFrame(A, (text,), (), 9, False, False))
    assert caught.value.response().startswith(b"a BAD ")


def test_utf8_append_and_further_messages():
    first = parse_append(AppendFrame(A, (b"a APPEND x UTF8 (",), (), 9, True, False), utf8=True).message
    assert first == t.AppendMessage((), None, 9, True, True)
    more = AppendFrame(A, (b") (\\Seen) ",), (), 5, False, True)
    second = parse_append(more, first, utf8=True).message
    assert second == t.AppendMessage((b"\\Seen",), None, 5)
    with pytest.raises(BadCommand):
        parse_append(more, second)
    check_append_end(AppendEnd(A, b")"), first)
    check_append_end(AppendEnd(A, b""), second)
    for end, previous in ((b"", first), (b")", second), (b" ", second)):
        with pytest.raises(BadCommand):
            check_append_end(AppendEnd(A, end), previous)
    with pytest.raises(BadCommand):
        parse_append(AppendFrame(b"*", (b"+ APPEND x ",), (), 9, False, False))
