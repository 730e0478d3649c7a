"""The grammar: every command, from tables; hostile and random input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.imap import (
    BadCommand,
    Frame,
    ImapReceiver,
    Limits,
    Literal,
    SequenceSet,
    charsets,
    parse_command,
)
from mailboat_wire.imap import types as t
from mailboat_wire.imap.types import FetchItem, FetchSection, ListReturn, ListSelect, Section, SectionText, StoreMode

A = b"a"


def parse(line: bytes, *, utf8: bool = False) -> t.Command:
    """Parse `a ` + line, which may hold LITERAL+ literals."""
    receiver = ImapReceiver(Limits())
    receiver.receive_data(b"a " + line + b"\r\n")
    event = receiver.next_event()
    assert isinstance(event, Frame)
    assert receiver.buffered == 0
    return parse_command(event, utf8=utf8)


def seq(*ranges: tuple[int, int]) -> SequenceSet:
    return SequenceSet(ranges)


def items(*names: bytes) -> tuple[FetchItem, ...]:
    return tuple(FetchItem(name) for name in names)


SIMPLE = [
    (b"CAPABILITY", t.Capability(A)),
    (b"noop", t.Noop(A)),
    (b"Logout", t.Logout(A)),
    (b"STARTTLS", t.StartTls(A)),
    (b"NAMESPACE", t.Namespace(A)),
    (b"IDLE", t.Idle(A)),
    (b'GETMETADATA "" /shared/comment', t.GetMetadata(A, "", ("/shared/comment",))),
    (
        b"GETMETADATA inbox (/shared/comment /SHARED/Comment /private/comment)",
        t.GetMetadata(A, "INBOX", ("/shared/comment", "/private/comment")),
    ),
    (
        b"GETMETADATA (maxsize 1024 DEPTH Infinity) x ({15+}\r\n/shared/comment)",
        t.GetMetadata(A, "x", ("/shared/comment",), t.Depth.INFINITY, 1024),
    ),
    (b"GETMETADATA x (DEPTH 1) (/private)", t.GetMetadata(A, "x", ("/private",), t.Depth.ONE)),
    (b'GETMETADATA x ("/private/a b")', t.GetMetadata(A, "x", ("/private/a b",))),
    (
        b'SETMETADATA "" (/private/comment NIL /private/x ~{2+}\r\n\0y /private/vendor/v/z "")',
        t.SetMetadata(A, "", {"/private/comment": None, "/private/x": b"\0y", "/private/vendor/v/z": b""}),
    ),
    (b'SETMETADATA x (/private/a "1" /Private/A "2")', t.SetMetadata(A, "x", {"/Private/A": b"2"})),
    (b'GETQUOTA "#user/alice"', t.GetQuota(A, b"#user/alice")),
    (b'GETQUOTA ""', t.GetQuota(A, b"")),
    (b"GETQUOTAROOT inbox", t.GetQuotaRoot(A, "INBOX")),
    (b"CHECK", t.Check(A)),
    (b"CLOSE", t.Close(A)),
    (b"UNSELECT", t.Unselect(A)),
    (b"EXPUNGE", t.Expunge(A)),
    (b"UNAUTHENTICATE", t.Unauthenticate(A)),
    (b"compress deflate", t.Compress(A, b"DEFLATE")),
    (b"XYZZY 1 (2", t.UnknownCommand(A, b"XYZZY")),
    (b"UID XYZZY 1", t.UnknownCommand(A, b"UID XYZZY")),
    (b"UID LOGIN a b", t.UnknownCommand(A, b"UID LOGIN")),
]

SESSION = [
    (b"LOGIN bob secret", t.Login(A, b"bob", b"secret")),
    (b'LOGIN "b\\"o\\\\b" ""', t.Login(A, b'b"o\\b', b"")),
    (b"LOGIN {3+}\r\nb\xc3b {2+}\r\n\r\n", t.Login(A, b"b\xc3b", b"\r\n")),
    (b"LOGIN a]b c", t.Login(A, b"a]b", b"c")),
    (b"AUTHENTICATE plain", t.Authenticate(A, b"PLAIN", None)),
    (b"AUTHENTICATE PLAIN =", t.Authenticate(A, b"PLAIN", b"")),
    (b"AUTHENTICATE PLAIN dGVzdA==", t.Authenticate(A, b"PLAIN", b"dGVzdA==")),
    (b"AUTHENTICATE SCRAM-SHA-256", t.Authenticate(A, b"SCRAM-SHA-256", None)),
    (b"ENABLE condstore QRESYNC condstore", t.Enable(A, (b"CONDSTORE", b"QRESYNC"))),
    (b"ENABLE UTF8=ACCEPT", t.Enable(A, (b"UTF8=ACCEPT",))),
    (b"ID nil", t.Id(A, None)),
    (b"ID ()", t.Id(A, ())),
    (b'ID ( "name" "x" )', t.Id(A, ((b"name", b"x"),))),  # aioimaplib
    (b'ID ("name" "x" "os" NIL)', t.Id(A, ((b"name", b"x"), (b"os", None)))),
]

MAILBOXES = [
    (b"SELECT inbox", t.Select(A, "INBOX")),
    (b'SELECT "InBox/a b"', t.Select(A, "INBOX/a b")),
    (b"SELECT inboxes", t.Select(A, "inboxes")),
    (b"SELECT Entw&APw-rfe", t.Select(A, "Entwürfe")),
    (b"EXAMINE {3+}\r\nfoo", t.Examine(A, "foo")),
    (b"SELECT x (condstore)", t.Select(A, "x", condstore=True)),
    (
        b"SELECT x (QRESYNC (67890007 20050715194045000 41,43:211,214:541))",
        t.Select(A, "x", qresync=t.QResync(67890007, 20050715194045000, seq((41, 41), (43, 211), (214, 541)))),
    ),
    (b"SELECT x (QRESYNC (1 2))", t.Select(A, "x", qresync=t.QResync(1, 2))),
    (
        b"SELECT x (QRESYNC (1 2 3:9 (1,2 3,4)) CONDSTORE)",
        t.Select(
            A,
            "x",
            condstore=True,
            qresync=t.QResync(1, 2, seq((3, 9)), (seq((1, 1), (2, 2)), seq((3, 3), (4, 4)))),
        ),
    ),
    (b"SELECT x (QRESYNC (1 2 (1 3)))", t.Select(A, "x", qresync=t.QResync(1, 2, None, (seq((1, 1)), seq((3, 3)))))),
    (b"CREATE a/b/", t.Create(A, "a/b")),
    (b"CREATE a (USE (\\drafts \\Sent))", t.Create(A, "a", (b"\\Drafts", b"\\Sent"))),
    (b"CREATE a (USE ())", t.Create(A, "a")),
    (b"DELETE &AOk-t&AOk-", t.Delete(A, "été")),
    (b'RENAME a "b c"', t.Rename(A, "a", "b c")),
    (b"SUBSCRIBE a", t.Subscribe(A, "a")),
    (b"UNSUBSCRIBE a", t.Unsubscribe(A, "a")),
    (b'LIST "" ""', t.List(A, "", ("",))),
    (b'LIST "" *', t.List(A, "", ("*",))),
    (b"LIST a/ %/x*", t.List(A, "a/", ("%/x*",))),
    (b'LIST "" "%"', t.List(A, "", ("%",))),
    (b'LIST (subscribed) "" *', t.List(A, "", ("*",), ListSelect.SUBSCRIBED, extended=True)),
    (
        b'LIST (SUBSCRIBED RECURSIVEMATCH) "" * RETURN (children)',
        t.List(A, "", ("*",), ListSelect.SUBSCRIBED | ListSelect.RECURSIVE_MATCH, ListReturn.CHILDREN, extended=True),
    ),
    (b'LIST () "" ("INBOX" Sent/%)', t.List(A, "", ("INBOX", "Sent/%"), extended=True)),
    (
        b'LIST "" % RETURN (STATUS (MESSAGES unseen) SPECIAL-USE)',
        t.List(A, "", ("%",), ListSelect.NONE, ListReturn.SPECIAL_USE, (b"MESSAGES", b"UNSEEN"), extended=True),
    ),
    (b'LIST (SPECIAL-USE) "" *', t.List(A, "", ("*",), ListSelect.SPECIAL_USE, extended=True)),
    (b'LSUB "" *', t.Lsub(A, "", "*")),
    (
        b"STATUS blurdybloop (UIDNEXT messages UIDNEXT)",
        t.Status(A, "blurdybloop", (b"UIDNEXT", b"MESSAGES")),
    ),
]

HEADER = b"BODY["
MESSAGES = [
    (
        b"FETCH 2:4 (FLAGS BODY[])",
        t.Fetch(A, False, seq((2, 4)), (FetchItem(b"FLAGS"), FetchSection(HEADER, Section()))),
    ),
    (b"FETCH 1 ALL", t.Fetch(A, False, seq((1, 1)), items(b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"))),
    (b"FETCH 1 fast", t.Fetch(A, False, seq((1, 1)), items(b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"))),
    (
        b"FETCH * FULL",
        t.Fetch(A, False, seq((0, 0)), items(b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY")),
    ),
    (
        b"UID FETCH 1:* (UID RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE BODYSTRUCTURE BODY MODSEQ UID)",
        t.Fetch(
            A,
            True,
            seq((1, 0)),
            items(
                b"UID",
                b"RFC822",
                b"RFC822.HEADER",
                b"RFC822.TEXT",
                b"RFC822.SIZE",
                b"BODYSTRUCTURE",
                b"BODY",
                b"MODSEQ",
            ),
        ),
    ),
    (
        b"FETCH 1 body.peek[header.fields (From {2+}\r\nTo)]<5.10>",
        t.Fetch(
            A,
            False,
            seq((1, 1)),
            (FetchSection(HEADER, Section((), SectionText.HEADER_FIELDS, (b"From", b"To")), True, (5, 10)),),
        ),
    ),
    (
        b'FETCH 1 BODY[3.2.HEADER.FIELDS.NOT ("Subject")]',
        t.Fetch(
            A,
            False,
            seq((1, 1)),
            (FetchSection(HEADER, Section((3, 2), SectionText.HEADER_FIELDS_NOT, (b"Subject",))),),
        ),
    ),
    (b"FETCH 1 BODY[1.MIME]", t.Fetch(A, False, seq((1, 1)), (FetchSection(HEADER, Section((1,), SectionText.MIME)),))),
    (b"FETCH 1 BODY[TEXT]", t.Fetch(A, False, seq((1, 1)), (FetchSection(HEADER, Section((), SectionText.TEXT)),))),
    (b"FETCH 1 BODY[4.2]", t.Fetch(A, False, seq((1, 1)), (FetchSection(HEADER, Section((4, 2))),))),
    (b"FETCH 1 BODY[HEADER]", t.Fetch(A, False, seq((1, 1)), (FetchSection(HEADER, Section((), SectionText.HEADER)),))),
    (
        b"FETCH 1 BINARY.PEEK[1]<0.9>",
        t.Fetch(A, False, seq((1, 1)), (FetchSection(b"BINARY[", Section((1,)), True, (0, 9)),)),
    ),
    (b"FETCH 1 BINARY.SIZE[2]", t.Fetch(A, False, seq((1, 1)), (FetchSection(b"BINARY.SIZE[", Section((2,)), True),))),
    (b"FETCH 1 EMAILID", t.Fetch(A, False, seq((1, 1)), items(b"EMAILID"))),
    (b"FETCH 1 preview", t.Fetch(A, False, seq((1, 1)), (t.FetchPreview(b"PREVIEW"),))),
    (b"FETCH 1 PREVIEW (lazy)", t.Fetch(A, False, seq((1, 1)), (t.FetchPreview(b"PREVIEW", True),))),
    (
        b"FETCH 1 (UID PREVIEW (LAZY LAZY) FLAGS)",
        t.Fetch(A, False, seq((1, 1)), (*items(b"UID"), t.FetchPreview(b"PREVIEW", True), *items(b"FLAGS"))),
    ),
    (b"FETCH 1 PREVIEW (CHANGEDSINCE 5)", t.Fetch(A, False, seq((1, 1)), (t.FetchPreview(b"PREVIEW"),), 5)),
    (b"FETCH $ FLAGS", t.Fetch(A, False, SequenceSet((), saved=True), items(b"FLAGS"))),
    (b"FETCH 1 FLAGS (CHANGEDSINCE 12345)", t.Fetch(A, False, seq((1, 1)), items(b"FLAGS"), 12345)),
    (
        b"UID FETCH 300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
        t.Fetch(A, True, seq((300, 500)), items(b"FLAGS"), 12345, True),
    ),
    (
        b"UID FETCH 25900:26600 FLAGS (PARTIAL -1:-30 CHANGEDSINCE 98305)",
        t.Fetch(A, True, seq((25900, 26600)), items(b"FLAGS"), 98305, partial=t.PartialRange(-1, -30)),
    ),
    (
        b"STORE 2:4 +FLAGS (\\deleted $Work)",
        t.Store(A, False, seq((2, 4)), StoreMode.ADD, False, (b"\\Deleted", b"$Work")),
    ),
    (b"UID STORE 1 -flags.silent \\Seen", t.Store(A, True, seq((1, 1)), StoreMode.REMOVE, True, (b"\\Seen",))),
    (b"STORE 1 FLAGS ()", t.Store(A, False, seq((1, 1)), StoreMode.REPLACE, False, ())),
    (
        b"STORE 1 FLAGS \\Seen \\SEEN X x \\Recent",
        t.Store(A, False, seq((1, 1)), StoreMode.REPLACE, False, (b"\\Seen", b"X")),
    ),
    (
        b"STORE 1 (UNCHANGEDSINCE 0) FLAGS.SILENT (\\Flagged)",
        t.Store(A, False, seq((1, 1)), StoreMode.REPLACE, True, (b"\\Flagged",), 0),
    ),
    (b"COPY 2:4 MEETING", t.Copy(A, False, seq((2, 4)), "MEETING")),
    (b"UID COPY 2,3 inbox", t.Copy(A, True, seq((2, 2), (3, 3)), "INBOX")),
    (b"MOVE 1 x", t.Move(A, False, seq((1, 1)), "x")),
    (b"UID MOVE 42:69 foo", t.Move(A, True, seq((42, 69)), "foo")),
    (b"UID EXPUNGE 3000:3002", t.Expunge(A, seq((3000, 3002)))),
]


ALL = t.SearchAll()
SORTING = [
    (b"SORT (SUBJECT) UTF-8 ALL", t.Sort(A, False, (t.SortCriterion(t.SortKey.SUBJECT),), b"UTF-8", ALL)),
    (
        b"UID sort (Subject reverse Date DISPLAYTO) us-ascii ALL",
        t.Sort(
            A,
            True,
            (
                t.SortCriterion(t.SortKey.SUBJECT),
                t.SortCriterion(t.SortKey.DATE, reverse=True),
                t.SortCriterion(t.SortKey.DISPLAYTO),
            ),
            b"US-ASCII",
            ALL,
        ),
    ),
    (
        b"SORT (SIZE REVERSE SIZE SIZE ARRIVAL) UTF-8 ALL",  # what was sorted by once is sorted by
        t.Sort(
            A, False, (t.SortCriterion(t.SortKey.SIZE), t.SortCriterion(t.SortKey.ARRIVAL)), b"UTF-8", t.SearchAll()
        ),
    ),
    (b"THREAD REFERENCES UTF-8 ALL", t.Thread(A, False, t.ThreadAlgorithm.REFERENCES, b"UTF-8", ALL)),
    (b'UID THREAD orderedsubject "utf-8" ALL', t.Thread(A, True, t.ThreadAlgorithm.ORDEREDSUBJECT, b"UTF-8", ALL)),
    (
        b"SEARCH RETURN (PARTIAL 500:400 COUNT) ALL",
        t.Search(A, False, ALL, t.SearchReturn.PARTIAL | t.SearchReturn.COUNT, None, partial=t.PartialRange(500, 400)),
    ),
]


@pytest.mark.parametrize(("line", "command"), SIMPLE + SESSION + MAILBOXES + MESSAGES + SORTING)
def test_commands(line, command):
    assert parse(line) == command


@pytest.mark.parametrize(
    ("first", "last", "count", "places"),
    [
        (1, 3, 5, [0, 1, 2]),
        (3, 1, 5, [0, 1, 2]),
        (4, 9, 5, [3, 4]),
        (6, 9, 5, []),
        (-1, -2, 5, [3, 4]),
        (-2, -1, 5, [3, 4]),
        (-4, -9, 5, [0, 1]),
        (-6, -9, 5, []),
        (1, 4294967295, 0, []),
        (-1, -4294967295, 3, [0, 1, 2]),
    ],
)
def test_places_of_a_partial_range(first, last, count, places):
    assert list(range(*t.PartialRange(first, last).places(count))) == places


BAD = [
    *(
        b"SORT",
        b"SORT ALL",
        b"SORT () UTF-8 ALL",
        b"SORT (SIZE) UTF-8",
        b"SORT (SIZE)  UTF-8 ALL",
        b"SORT (X) UTF-8 ALL",
    ),
    *(
        b"SORT (REVERSE) UTF-8 ALL",
        b"SORT (SIZE ) UTF-8 ALL",
        b"SORT (REVERSE  SIZE) UTF-8 ALL",
        b"SORT (SIZE) UTF-8 X",
    ),
    b"SORT (%b) UTF-8 ALL" % b" ".join([b"SIZE"] * 33),
    *(
        b"THREAD",
        b"THREAD X UTF-8 ALL",
        b"THREAD REFERENCES UTF-8",
        b"UID THREAD  X UTF-8 ALL",
    ),
    *(b"SEARCH RETURN (PARTIAL) ALL", b"SEARCH RETURN (PARTIAL 0:1) ALL", b"SEARCH RETURN (PARTIAL 1:-1) ALL"),
    *(b"SEARCH RETURN (PARTIAL 1:*) ALL", b"SEARCH RETURN (PARTIAL 1) ALL", b"SEARCH RETURN (PARTIAL 1:2 ALL) ALL"),
    *(b"SEARCH RETURN (PARTIAL 1:9999999999) ALL", b"SEARCH RETURN (PARTIAL 1:2 PARTIAL 1:2) ALL"),
    *(b"FETCH 1 FLAGS (PARTIAL 1:2)", b"UID FETCH 1 FLAGS (PARTIAL)", b"UID FETCH 1 FLAGS (PARTIAL 1:2 PARTIAL 1:2)"),
    *(b"", b" ", b"  NOOP", b"NOOP ", b"NOOP x", b"UID", b"UID ", b"(", b"NO\0OP", b"\xff", b"NOOP\t"),
    *(
        b"LOGIN",
        b"LOGIN a",
        b"LOGIN a b c",
        b'LOGIN "a b',
        b'LOGIN "a\\b" c',
        b"LOGIN a  b",
        b'LOGIN "\xff" c',
        b"LOGIN a b ",
    ),
    *(b"LOGIN {1+}\r\n\0 b", b'LOGIN "a\rb" c', b"LOGIN (a) b", b"LOGIN a{1} b", b"LOGIN {1+}\r\nab c"),
    *(
        b"AUTHENTICATE",
        b"AUTHENTICATE PL*IN",
        b"AUTHENTICATE PLAIN a b",
        b"AUTHENTICATE PLAIN *",
        b"AUTHENTICATE PLAIN ===",
    ),
    *(
        b"ENABLE",
        b"ENABLE (X)",
        b"ID",
        b"ID x",
        b'ID ("a")',
        b'ID ("a" NIL"b" NIL)',
        b'ID (  "a" NIL)',
        b'ID ("a" "b"',
        b'ID ("' + b"x" * 31 + b'" NIL)',
    ),
    b"ID (" + b" ".join([b'"a" "b"'] * 31) + b")",
    *(b"SELECT", b'SELECT ""', b"SELECT a b", b"SELECT a (", b"SELECT a ()", b"SELECT a (X)", b"SELECT a\xe9"),
    *(
        b"SELECT x (QRESYNC (0 1))",
        b"SELECT x (QRESYNC (1 0))",
        b"SELECT x (QRESYNC (1 2 1:*))",
        b"SELECT x (QRESYNC 1 2)",
    ),
    *(b"SELECT x (QRESYNC (1 9223372036854775808))", b"SELECT x (QRESYNC (1 2 (1)))", b"SELECT x (QRESYNC (1 2 $))"),
    *(
        b"CREATE",
        b"CREATE a (",
        b"CREATE a (X ())",
        b"CREATE a (USE \\Sent)",
        b"RENAME a",
        b"RENAME a b c",
        b"DELETE %",
    ),
    *(b"LIST", b'LIST ""', b'LIST "" (', b'LIST "" ()', b'LIST "" * X', b'LIST "" * RETURN (X)', b'LIST (X) "" *'),
    *(b'LIST (RECURSIVEMATCH) "" *', b'LIST (REMOTE RECURSIVEMATCH) "" *', b"LIST (SUBSCRIBED", b'LIST "" * RETURN'),
    *(
        b"STATUS x",
        b"STATUS x ()",
        b"STATUS x (MESSAGES",
        b"STATUS x MESSAGES",
        b"LSUB *",
        b"APPEND",
        b"APPEND x",
        b"APPEND x y",
        b"REPLACE 1 x",
        b"UID REPLACE 1 x",
    ),
    *(b"FETCH", b"FETCH 1", b"FETCH x FLAGS", b"FETCH 0 FLAGS", b"FETCH 1 ()", b"FETCH 1 (FLAGS", b"FETCH 1 FLAGS UID"),
    *(b"FETCH 4294967296 FLAGS", b"FETCH 1,,2 FLAGS", b"FETCH 1: FLAGS", b"FETCH 1:2:3 FLAGS", b"FETCH $,1 FLAGS"),
    *(
        b"FETCH 1 BODY[",
        b"FETCH 1 BODY[X]",
        b"FETCH 1 BODY[0]",
        b"FETCH 1 BODY[1.]",
        b"FETCH 1 BODY[MIME]",
        b"FETCH 1 FLAGS[]",
    ),
    *(
        b"FETCH 1 BODY[]<1>",
        b"FETCH 1 BODY[]<1.0>",
        b"FETCH 1 BODY[]<a.b>",
        b"FETCH 1 BODY[HEADER.FIELDS ()]",
        b"FETCH 1 BINARY[TEXT]",
    ),
    *(
        b"FETCH 1 BODY[HEADER.FIELDS]",
        b'FETCH 1 BODY[HEADER.FIELDS ("a b")]',
        b"FETCH 1 BODY[]<0.99999999999>",
        b"FETCH 1 RFC822.PEEK[",
    ),
    b"FETCH 1 BODY[" + b"1." * 70 + b"1]",
    *(
        b"FETCH 1 FLAGS (CHANGEDSINCE 0)",
        b"FETCH 1 FLAGS (VANISHED)",
        b"FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        b"FETCH 1 FLAGS ()",
        *(b"FETCH 1 PREVIEW ()", b"FETCH 1 PREVIEW (LAZY ", b"FETCH 1 (PREVIEW (EAGER))", b"FETCH 1 (PREVIEW  (LAZY))"),
    ),
    *(b"FETCH 1 (ALL)x", b"FETCH 1 FLAGS (X 1)", b"UID FETCH 1 FLAGS (CHANGEDSINCE)", b"FETCH 1 (FLAGS  UID)"),
    *(
        b"STORE 1",
        b"STORE 1 FLAGS",
        b"STORE 1 FLAGS (",
        b"STORE 1 FLAGS (a b",
        b"STORE 1 *FLAGS (a)",
        b"STORE 1 FLAGS (a) b",
    ),
    *(
        b"STORE 1 FLAGS (\\)",
        b"STORE 1 FLAGS (a  b)",
        b"STORE 1 (UNCHANGEDSINCE x) FLAGS ()",
        b"STORE 1 (X 1) FLAGS ()",
        b"STORE 1 FLAGS (\\*)",
    ),
    *(b"COPY 1", b'COPY 1 ""', b"COPY a b", b"MOVE", b"UID EXPUNGE", b"UID EXPUNGE x"),
]


@pytest.mark.parametrize("line", BAD)
def test_bad_commands(line):
    with pytest.raises(BadCommand) as caught:
        parse(line)
    assert caught.value.response().startswith(b"a BAD ")
    assert caught.value.response().endswith(b"\r\n")


@pytest.mark.parametrize("line", [b"", b"\xff NOOP", b"+ NOOP", b"(a NOOP", b"a\x00 NOOP", b"*"])
def test_without_a_tag_the_answer_is_untagged(line):
    receiver = ImapReceiver(Limits())
    receiver.receive_data(line + b"\r\n")
    event = receiver.next_event()
    assert isinstance(event, Frame)
    with pytest.raises(BadCommand) as caught:
        parse_command(event)
    assert caught.value.response().startswith(b"* BAD ")


@pytest.mark.parametrize(
    ("line", "response"),
    [
        (b"SELECT R&D", b"a NO [CANNOT] Invalid mailbox name\r\n"),
        (b"SELECT &AGE-", b"a NO [CANNOT] Invalid mailbox name\r\n"),
        (b"SELECT {1+}\r\n\x07", b"a NO [CANNOT] Invalid mailbox name\r\n"),
        (b"CREATE /", b"a NO [CANNOT] Invalid mailbox name\r\n"),
        (b"CREATE a (USE (\\Nope))", b"a NO [USEATTR] Unknown special use\r\n"),
        (b"SEARCH CHARSET X-NONE ALL", b"a NO [BADCHARSET (%b)] Unknown charset\r\n" % charsets.SUPPORTED),
    ],
)
def test_what_can_not_be_is_refused_with_no(line, response):
    with pytest.raises(BadCommand) as caught:
        parse(line)
    assert caught.value.response() == response


@pytest.mark.parametrize("text", [b'"gr\xfc\xdfe"', b"{1+}\r\n\xff"])
def test_a_search_for_what_is_no_utf_8_is_refused_with_no(text):
    """As JavaMail 1.6 sends it once UTF8=ACCEPT is enabled."""
    with pytest.raises(BadCommand) as caught:
        parse(b"SEARCH SUBJECT " + text, utf8=True)
    assert caught.value.response() == b"a NO String is not in the charset\r\n"


def test_names_are_utf8_once_that_is_enabled():
    assert parse('SELECT "Entwürfe &"'.encode(), utf8=True) == t.Select(A, "Entwürfe &")
    assert parse('SELECT "e\u0301"'.encode(), utf8=True) == t.Select(A, "é")
    with pytest.raises(BadCommand):
        parse(b'SELECT "\xff"', utf8=True)


def test_secrets_stay_out_of_reprs():
    assert "secret" not in repr(parse(b"LOGIN bob secret"))


WORDS = [
    *(
        b"FETCH",
        b"UID",
        b"STORE",
        b"SEARCH",
        b"LIST",
        b"SELECT",
        b"STATUS",
        b"LOGIN",
        b"ID",
        b"CREATE",
        b"COPY",
        b"ENABLE",
    ),
    *(
        b"1",
        b"1:*",
        b"$",
        b"(",
        b")",
        b"[",
        b"]",
        b'"',
        b'"a"',
        b"\\",
        b"\\Seen",
        b"BODY[",
        b"HEADER.FIELDS",
        b"<0.1>",
        b"RETURN",
    ),
    *(
        b"OR",
        b"NOT",
        b"ALL",
        b"SINCE",
        b"1-Jan-2020",
        b"FLAGS",
        b"+FLAGS",
        b"QRESYNC",
        b"NIL",
        b"*",
        b"%",
        b"&",
        b"\xff",
        b"\0",
        b"\r",
    ),
    *(
        b"USE",
        b"CHARSET",
        b"UTF-8",
        b"MODSEQ",
        b"HEADER",
        b"X",
        b"(CHANGEDSINCE",
        b"UNCHANGEDSINCE",
        b"99999999999999999999",
        b"",
    ),
]


@given(st.lists(st.sampled_from(WORDS), max_size=12), st.sampled_from([b" ", b"", b"  "]), st.booleans())
def test_any_words_give_a_command_or_bad(words, separator, utf8):
    text = b"a " + separator.join(words)
    try:
        assert isinstance(parse_command(Frame(A, (text,)), utf8=utf8), t.Command)
    except BadCommand as error:
        assert error.response().count(b"\r\n") == 1


@given(st.binary(max_size=60), st.lists(st.binary(max_size=5), max_size=3), st.sampled_from(WORDS[:12]))
def test_any_bytes_give_a_command_or_bad(text, literals, word):
    frame = Frame(A, (b"a " + word + b" ", *[text] * len(literals)), tuple(Literal(each) for each in literals))
    try:
        assert isinstance(parse_command(frame), t.Command)
    except BadCommand as error:
        assert error.tag == A
