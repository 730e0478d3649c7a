"""SEARCH's grammar, its bounds, and RFC examples."""

import datetime as dt

import pytest
from mailboat_wire.imap import BadCommand, Frame, ImapReceiver, Limits, SequenceSet, parse_command
from mailboat_wire.imap import types as t
from mailboat_wire.imap.types import (
    DateField,
    DateTest,
    SearchAll,
    SearchAnd,
    SearchDate,
    SearchFlag,
    SearchHeader,
    SearchModseq,
    SearchNot,
    SearchObjectId,
    SearchOr,
    SearchRecent,
    SearchReturn,
    SearchSequence,
    SearchSize,
    SearchText,
    SearchWithin,
    TextField,
)


def search(line: bytes) -> t.Search:
    receiver = ImapReceiver(Limits(line=300_000))
    receiver.receive_data(b"a " + line + b"\r\n")
    event = receiver.next_event()
    assert isinstance(event, Frame)
    command = parse_command(event)
    assert isinstance(command, t.Search)
    return command


DAY = dt.date(1994, 2, 1)
UNSEEN = SearchFlag(b"\\Seen", False)

KEYS = [
    (b"ALL", SearchAll()),
    (b"answered", SearchFlag(b"\\Answered", True)),
    (b"DELETED", SearchFlag(b"\\Deleted", True)),
    (b"DRAFT", SearchFlag(b"\\Draft", True)),
    (b"FLAGGED", SearchFlag(b"\\Flagged", True)),
    (b"SEEN", SearchFlag(b"\\Seen", True)),
    (b"UNANSWERED", SearchFlag(b"\\Answered", False)),
    (b"UNDELETED", SearchFlag(b"\\Deleted", False)),
    (b"UNDRAFT", SearchFlag(b"\\Draft", False)),
    (b"UNFLAGGED", SearchFlag(b"\\Flagged", False)),
    (b"UNSEEN", UNSEEN),
    (b"RECENT", SearchRecent()),
    (b"NEW", SearchAnd((SearchRecent(), UNSEEN))),
    (b"OLD", SearchNot(SearchRecent())),
    (b"KEYWORD $Work", SearchFlag(b"$Work", True)),
    (b"UNKEYWORD x", SearchFlag(b"x", False)),
    (b"BCC a", SearchText(TextField.BCC, "a")),
    (b"BODY a", SearchText(TextField.BODY, "a")),
    (b"CC a", SearchText(TextField.CC, "a")),
    (b'FROM "Smith"', SearchText(TextField.FROM, "Smith")),
    (b'SUBJECT ""', SearchText(TextField.SUBJECT, "")),
    (b"TEXT {4+}\r\nna\xc3\xaf", SearchText(TextField.TEXT, "naï")),
    (b"TO a", SearchText(TextField.TO, "a")),
    (b'HEADER Message-ID "<x@y>"', SearchHeader(b"Message-ID", "<x@y>")),
    (b'HEADER List-Id ""', SearchHeader(b"List-Id", "")),
    (b"BEFORE 1-Feb-1994", SearchDate(DateField.INTERNAL, DateTest.BEFORE, DAY)),
    (b'ON "01-FEB-1994"', SearchDate(DateField.INTERNAL, DateTest.ON, DAY)),
    (b"SINCE 1-feb-1994", SearchDate(DateField.INTERNAL, DateTest.SINCE, DAY)),
    (b"SENTBEFORE 1-Feb-1994", SearchDate(DateField.SENT, DateTest.BEFORE, DAY)),
    (b"SENTON 1-Feb-1994", SearchDate(DateField.SENT, DateTest.ON, DAY)),
    (b"SENTSINCE 1-Feb-1994", SearchDate(DateField.SENT, DateTest.SINCE, DAY)),
    (b"SAVEDSINCE 1-Feb-1994", SearchDate(DateField.SAVED, DateTest.SINCE, DAY)),
    (b"LARGER 1000", SearchSize(True, 1000)),
    (b"SMALLER 0", SearchSize(False, 0)),
    (b"YOUNGER 60", SearchWithin(True, 60)),
    (b"OLDER 60", SearchWithin(False, 60)),
    (b"1:5,9", SearchSequence(SequenceSet(((1, 5), (9, 9))), False)),
    (b"*", SearchSequence(SequenceSet(((0, 0),)), False)),
    (b"$", SearchSequence(SequenceSet((), saved=True), False)),
    (b"UID 7:*", SearchSequence(SequenceSet(((7, 0),)), True)),
    (b"MODSEQ 620162338", SearchModseq(620162338)),
    (b'MODSEQ "/flags/\\\\draft" ALL 620162338', SearchModseq(620162338, b"/flags/\\draft", b"all")),
    (b"EMAILID M6d99ac3275bb4e", SearchObjectId(t.ObjectIdKind.EMAIL, b"M6d99ac3275bb4e")),
    (b"THREADID T1", SearchObjectId(t.ObjectIdKind.THREAD, b"T1")),
    (b"NOT SEEN", SearchNot(SearchFlag(b"\\Seen", True))),
    (b"OR SEEN NOT ALL", SearchOr(SearchFlag(b"\\Seen", True), SearchNot(SearchAll()))),
    (b"(UNSEEN)", UNSEEN),
    (b"(UNSEEN ALL) 2", SearchAnd((SearchAnd((UNSEEN, SearchAll())), SearchSequence(SequenceSet(((2, 2),)), False)))),
    (b"OR (UNSEEN ALL) (ALL)", SearchOr(SearchAnd((UNSEEN, SearchAll())), SearchAll())),
]


@pytest.mark.parametrize(("text", "key"), KEYS)
def test_keys(text, key):
    assert search(b"SEARCH " + text) == t.Search(b"a", False, key)
    assert search(b"UID SEARCH NOT " + text).key == SearchNot(key) or b") " in text


def test_the_rfc_example():
    found = search(b'SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"')
    assert found.key == SearchAnd(
        (
            SearchFlag(b"\\Flagged", True),
            SearchDate(DateField.INTERNAL, DateTest.SINCE, DAY),
            SearchNot(SearchText(TextField.FROM, "Smith")),
        )
    )


@pytest.mark.parametrize(
    ("line", "returns", "charset"),
    [
        (b"SEARCH ALL", None, None),
        (b"SEARCH RETURN () ALL", SearchReturn.ALL, None),
        (b"SEARCH return (min MAX) ALL", SearchReturn.MIN | SearchReturn.MAX, None),
        (b"SEARCH RETURN (SAVE COUNT ALL) ALL", SearchReturn.SAVE | SearchReturn.COUNT | SearchReturn.ALL, None),
        (b"SEARCH CHARSET utf-8 ALL", None, b"UTF-8"),
        (b'SEARCH RETURN (MIN) CHARSET "us-ascii" ALL', SearchReturn.MIN, b"US-ASCII"),
    ],
)
def test_options(line, returns, charset):
    assert search(line) == t.Search(b"a", False, SearchAll(), returns, charset)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b" ",
            b"XYZZY",
            b"FROM",
            b"FROM ",
            b"HEADER a",
            b'HEADER "a b" c',
            b'HEADER "" c',
            b"KEYWORD \\Seen",
            b"ALL ",
        ),
        *(b"SINCE yesterday", b"SINCE 31-Feb-2020", b"SINCE 1-Foo-2020", b'SINCE "1-Jan-2020', b"SINCE 1-Jan-0000"),
        *(b"LARGER -1", b"LARGER x", b"LARGER 9223372036854775808", b"YOUNGER 0", b"0", b"1,", b"UID x", b"MODSEQ x"),
        *(
            b'MODSEQ "/flags/x" 1',
            b"NOT",
            b"OR ALL",
            b"OR ALL ",
            b"(",
            b"()",
            b"(ALL",
            b"ALL)",
            b"(ALL ) ",
            b"ALL  ALL",
        ),
        *(
            b"RETURN ALL",
            b"RETURN (X) ALL",
            b"RETURN (MIN",
            b"RETURN (MIN)",
            b"CHARSET",
            b"CHARSET UTF-8",
        ),
        *(b"TEXT {1+}\r\n\0", b"EMAILID a.b", b"NOTSEEN"),
    ],
)
def test_bad_searches(text):
    with pytest.raises(BadCommand) as caught:
        search(b"SEARCH " + text)
    assert caught.value.response().startswith(b"a BAD ")


@pytest.mark.parametrize(
    "text",
    [
        b"(" * 100_000 + b"ALL" + b")" * 100_000,
        b"NOT " * 60_000 + b"ALL",
        b"OR " * 60_000 + b"ALL",
        b"OR ALL " * 40_000 + b"ALL",
    ],
    ids=["parentheses", "not", "or left", "or right"],
)
def test_deep_nesting_is_refused(text):
    with pytest.raises(BadCommand, match="complex"):
        search(b"SEARCH " + text)


def test_too_many_keys_are_refused():
    with pytest.raises(BadCommand, match="complex"):
        search(b"SEARCH" + b" ALL" * 2001)
    assert len(search(b"SEARCH" + b" ALL" * 2000).key.keys) == 2000


def test_depth_up_to_the_bound_is_fine():
    assert search(b"SEARCH " + b"(" * 50 + b"ALL" + b")" * 50).key == SearchAll()
