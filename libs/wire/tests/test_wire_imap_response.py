"""What the server writes: golden lines, and strings that a parser reads back."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.imap import Frame, ImapReceiver, Limits, parse_command
from mailboat_wire.imap import response as r
from mailboat_wire.imap import types as t

LINES = [
    (r.quoted(b'a"b\\c'), b'"a\\"b\\\\c"'),
    (r.literal(b"a\r\nb"), b"{4}\r\na\r\nb"),
    (r.literal8(b"\0"), b"~{1}\r\n\0"),
    (r.string(b""), b'""'),
    (r.string(b"a\nb"), b"{3}\r\na\nb"),
    (r.string(b"\xc3\xa9"), b"{2}\r\n\xc3\xa9"),
    (r.string(b"\xc3\xa9", utf8=True), b'"\xc3\xa9"'),
    (r.string(b"x" * 1001), b"{1001}\r\n" + b"x" * 1001),
    (r.nstring(None), b"NIL"),
    (r.nstring(b"NIL"), b'"NIL"'),
    (r.astring(b"a]b"), b"a]b"),
    (r.astring(b"nil"), b'"nil"'),
    (r.astring(b""), b'""'),
    (r.astring(b"a b"), b'"a b"'),
    (r.mailbox("Entwürfe"), b"Entw&APw-rfe"),
    (r.mailbox("Entwürfe", utf8=True), '"Entwürfe"'.encode()),
    (r.internal_date(0), b'" 1-Jan-1970 00:00:00 +0000"'),
    (r.internal_date(1793613600), b'" 2-Nov-2026 10:00:00 +0000"'),
    (r.date(dt.date(1994, 2, 1)), b"1-Feb-1994"),
    (r.ok(b"a", b"done"), b"a OK done\r\n"),
    (r.no(b"a", b"no such mailbox", b"NONEXISTENT"), b"a NO [NONEXISTENT] no such mailbox\r\n"),
    (r.bad(b"a", b"x\r\n* OK y"), b"a BAD x * OK y\r\n"),
    (r.bad(b"a", b""), b"a BAD -\r\n"),
    (r.status(b"*", r.PREAUTH, b"hi"), b"* PREAUTH hi\r\n"),
    (r.continuation(), b"+ \r\n"),
    (r.continuation(b"idling"), b"+ idling\r\n"),
    (r.code_append_uid(38505, [3955, 3956]), b"APPENDUID 38505 3955:3956"),
    (r.code_copy_uid(38505, [304, 319, 320], [3956, 3957, 3958]), b"COPYUID 38505 304,319:320 3956:3958"),
    (r.code_modified([7, 9]), b"MODIFIED 7,9"),
    (r.capability([b"IMAP4rev1", b"IDLE"]), b"* CAPABILITY IMAP4rev1 IDLE\r\n"),
    (r.enabled([]), b"* ENABLED\r\n"),
    (r.enabled([b"CONDSTORE"]), b"* ENABLED CONDSTORE\r\n"),
    (r.list_line([b"\\HasNoChildren", b"\\Sent"], "Sent"), b'* LIST (\\HasNoChildren \\Sent) "/" Sent\r\n'),
    (r.list_line([b"\\Noselect"], ""), b'* LIST (\\Noselect) "/" ""\r\n'),
    (r.list_line([], "a", word=b"LSUB"), b'* LSUB () "/" a\r\n'),
    (r.list_line([], "b", old_name="a b"), b'* LIST () "/" b ("OLDNAME" ("a b"))\r\n'),
    (r.list_line([], "a", child_info=[b"SUBSCRIBED"]), b'* LIST () "/" a ("CHILDINFO" ("SUBSCRIBED"))\r\n'),
    (r.namespace(), b'* NAMESPACE (("" "/")) NIL NIL\r\n'),
    (r.identity([]), b"* ID NIL\r\n"),
    (r.identity([(b"name", b"x"), (b"os", None)]), b'* ID ("name" "x" "os" NIL)\r\n'),
    (
        r.status_line("a b", [(b"MESSAGES", 231), (b"UIDNEXT", 44292)]),
        b'* STATUS "a b" (MESSAGES 231 UIDNEXT 44292)\r\n',
    ),
    (r.quota(b"", [(b"STORAGE", 10, 512)]), b'* QUOTA "" (STORAGE 10 512)\r\n'),
    (r.quota(b"#user/alice", []), b"* QUOTA #user/alice ()\r\n"),
    (r.quota_root("comp.mail.mime", []), b"* QUOTAROOT comp.mail.mime\r\n"),
    (r.quota_root("Entwürfe", [b"", b"a b"]), b'* QUOTAROOT Entw&APw-rfe "" "a b"\r\n'),
    (
        r.metadata("", [(b"/shared/comment", b"Shared comment"), (b"/private/x", None)]),
        b'* METADATA "" (/shared/comment "Shared comment" /private/x NIL)\r\n',
    ),
    (r.metadata("a b", [(b"/private/a b", b"\0")]), b'* METADATA "a b" ("/private/a b" ~{1}\r\n\0)\r\n'),
    (r.metadata("x", [(b"/private/a", b"\xc3\xa9")]), b"* METADATA x (/private/a {2}\r\n\xc3\xa9)\r\n"),
    (r.flags([b"\\Seen", b"x"]), b"* FLAGS (\\Seen x)\r\n"),
    (r.recent(0), b"* 0 RECENT\r\n"),
    (r.search([]), b"* SEARCH\r\n"),
    (r.search([2, 5, 6], 917162500), b"* SEARCH 2 5 6 (MODSEQ 917162500)\r\n"),
    (
        r.esearch(b"A1", uid=True, minimum=7, maximum=10, count=3, found=[7, 8, 10], modseq=5),
        b'* ESEARCH (TAG "A1") UID MIN 7 MAX 10 COUNT 3 ALL 7:8,10 MODSEQ 5\r\n',
    ),
    (r.esearch(b"A1", uid=False, count=0), b'* ESEARCH (TAG "A1") COUNT 0\r\n'),
    (
        r.esearch(b"A1", uid=True, partial=(b"-1:-100", [7, 8, 10])),
        b'* ESEARCH (TAG "A1") UID PARTIAL (-1:-100 7:8,10)\r\n',
    ),
    (r.esearch(b"A1", uid=False, partial=(b"1:2", [])), b'* ESEARCH (TAG "A1") PARTIAL (1:2 NIL)\r\n'),
    (r.sort([]), b"* SORT\r\n"),
    (r.sort([5, 2], 917162500), b"* SORT 5 2 (MODSEQ 917162500)\r\n"),
    (r.thread(b""), b"* THREAD\r\n"),
    (r.thread(b"(2)(3 6)"), b"* THREAD (2)(3 6)\r\n"),
    (r.expunge(44), b"* 44 EXPUNGE\r\n"),
    (r.vanished([(41, 41), (43, 116)], earlier=True), b"* VANISHED (EARLIER) 41,43:116\r\n"),
    (r.vanished([(5, 5)]), b"* VANISHED 5\r\n"),
    (r.vanished([]), b""),
    (r.fetch(12, [b"UID 3", b"BODY[] {3}\r\na\r\n"]), b"* 12 FETCH (UID 3 BODY[] {3}\r\na\r\n)\r\n"),
]


@pytest.mark.parametrize(("written", "expected"), LINES)
def test_lines(written, expected):
    assert written == expected


@given(st.binary().map(lambda data: data.replace(b"\0", b"")))
def test_a_string_is_read_back_as_it_was(data):
    written = r.astring(data).replace(b"}\r\n", b"+}\r\n", 1) if b"{" in r.astring(data)[:1] else r.astring(data)
    receiver = ImapReceiver(Limits())
    receiver.receive_data(b"a LOGIN " + written + b" x\r\n")
    event = receiver.next_event()
    assert isinstance(event, Frame)
    assert parse_command(event) == t.Login(b"a", data, b"x")


@given(st.binary())
def test_public_text_can_not_end_a_line(text):
    line = r.ok(b"a", text)
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert line[:-2].isascii()


@given(st.integers(0, 253402300799))
def test_internal_dates_are_read_back(seconds):
    written = r.internal_date(seconds)
    assert len(written) == 28
    moment = dt.datetime.strptime(written.decode().strip('"').strip(), "%d-%b-%Y %H:%M:%S %z")
    assert moment.timestamp() == seconds
