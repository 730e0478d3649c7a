"""Addresses and ENVELOPE."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailboat_mime import envelope, parse_addresses
from mailboat_mime.strings import FIELD_LIMIT, nstring, string

MD = b"MISSING_DOMAIN"
MM = b"MISSING_MAILBOX"
END = (None, None, None, None)

ADDRESSES: list[tuple[bytes, list[tuple[bytes | None, ...]]]] = [
    (b"a@b", [(None, None, b"a", b"b")]),
    (b"<a@b>", [(None, None, b"a", b"b")]),
    (b"A B <a@b>, c@d", [(b"A B", None, b"a", b"b"), (None, None, b"c", b"d")]),
    (b'"A, B" <a@b>', [(b"A, B", None, b"a", b"b")]),
    (b'"A \\"x\\" B" <a@b>', [(b'A "x" B', None, b"a", b"b")]),
    (b'"A"  B. C. <a@b>', [(b"A B. C.", None, b"a", b"b")]),
    (b'"" <a@b>', [(None, None, b"a", b"b")]),
    (b"a@b (A (nested) B)", [(b"A (nested) B", None, b"a", b"b")]),
    (b"(c) a@b", [(b"c", None, b"a", b"b")]),
    (b"Real (c) Name <a@b>", [(b"Real Name", None, b"a", b"b")]),
    (b"a (x) . b @ (y) c . d", [(b"y", None, b"a.b", b"c.d")]),
    (b'"a b"@c', [(None, None, b"a b", b"c")]),
    (b'X <"a b"@c>', [(b"X", None, b"a b", b"c")]),
    (b"a@[192.0.2.1]", [(None, None, b"a", b"[192.0.2.1]")]),
    (b"X <a@[IPv6:2001:db8::1]>", [(b"X", None, b"a", b"[IPv6:2001:db8::1]")]),
    (b"X <@r1,@r2:a@b>", [(b"X", b"@r1,@r2", b"a", b"b")]),
    (b"a", [(None, None, b"a", MD)]),
    (b"a b", [(None, None, b"a b", MD)]),
    (b"X <a>", [(b"X", None, b"a", MD)]),
    (b"X <>", [(b"X", None, MM, MD)]),
    (b"@b", [(None, None, MM, b"b")]),
    (b"a@", [(None, None, b"a", MD)]),
    (b"a@b@c", [(None, None, b"a", b"b@c")]),
    (b"X <a@b", [(b"X", None, b"a", b"b")]),
    (b'"unclosed <a@b>', [(None, None, b"unclosed <a@b>", MD)]),
    (b"a@b (unclosed", [(b"unclosed", None, b"a", b"b")]),
    (b"[list] name <a@b>", [(b"[list] name", None, b"a", b"b")]),
    (b"[half <a@b>, c@d", [(b"[half", None, b"a", b"b"), (None, None, b"c", b"d")]),
    (b",, a@b ,;, c@d;", [(None, None, b"a", b"b"), (None, None, b"c", b"d")]),
    (b"", []),
    (b" , ", []),
    (b"undisclosed-recipients:;", [(None, None, b"undisclosed-recipients", None), END]),
    (
        b"My Group: A <a@b>, c@d; e@f",
        [
            (None, None, b"My Group", None),
            (b"A", None, b"a", b"b"),
            (None, None, b"c", b"d"),
            END,
            (None, None, b"e", b"f"),
        ],
    ),
    (b'"G, 1": a@b', [(None, None, b"G, 1", None), (None, None, b"a", b"b"), END]),
    (b":;", [(None, None, b"", None), END]),
    (b"g: h: a@b;", [(None, None, b"g", None), (None, None, b"h", MD), (None, None, b"a", b"b"), END]),
    ("Grüße <ü@ö>".encode(), [("Grüße".encode(), None, "ü".encode(), "ö".encode())]),
    (b"=?utf-8?q?a?= <a@b>", [(b"=?utf-8?q?a?=", None, b"a", b"b")]),
]


@pytest.mark.parametrize(("value", "expected"), ADDRESSES)
def test_addresses(value: bytes, expected: list[tuple[bytes | None, ...]]) -> None:
    assert [(a.name, a.route, a.mailbox, a.host) for a in parse_addresses(value)] == expected


ADDRESS_PIECES = st.lists(
    st.sampled_from(list(b'a.@,;:<>()[]"\\ \t\0\xe9')).map(lambda byte: bytes((byte,))), max_size=40
).map(b"".join)


@given(ADDRESS_PIECES)
@settings(max_examples=600, deadline=None)
def test_any_value_gives_addresses_with_groups_closed(value: bytes) -> None:
    depth = 0
    for address in parse_addresses(value):
        if address.host is None:
            depth += 1 if address.mailbox is not None else -1
        else:
            assert address.mailbox
        assert depth in (0, 1)
    assert depth == 0


@pytest.mark.parametrize(
    "piece", [b'"', b'"\\', b"(", b"()", b"[", b"<", b">", b",", b";", b":", b"g:;", b"@", b"a ", b"\\", b"<@a:"]
)
def test_hostile_values_are_bounded(piece: bytes) -> None:
    assert len(list(parse_addresses(piece * (250_000 // len(piece)) + b"\xff"))) <= 20_001


RFC3501 = (
    b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
    b"Subject: IMAP4rev1 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
    b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
    b"Message-Id: <B27397-0100000@cac.washington.edu>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n"
)
GRAY = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'

ENVELOPES: list[tuple[str, bytes, bytes]] = [
    (
        "the example of RFC 3501 8",
        RFC3501,
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        + b" ".join([GRAY] * 3)
        + b' ((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")'
        b'("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397-0100000@cac.washington.edu>")',
    ),
    ("nothing", b"\r\n", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
    ("empty block", b"", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
    (
        "present but empty",
        b"Date:\r\nSubject: \r\nFrom:\r\nTo: ,\r\nIn-Reply-To:\r\nMessage-ID:\r\n\r\n",
        b'("" "" NIL NIL NIL NIL NIL NIL "" "")',
    ),
    (
        "sender and reply-to of their own, or empty",
        b"From: a@b\r\nSender: c@d\r\nReply-To: \r\n\r\n",
        b'(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "c" "d")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)',
    ),
    (
        "repeated fields",
        b"Subject: 1\r\nSubject: 2\r\nFrom: a@b\r\nFrom: c@d\r\n\r\n",
        b'(NIL "1" ' + b" ".join([b'((NIL NIL "a" "b")(NIL NIL "c" "d"))'] * 3) + b" NIL NIL NIL NIL NIL)",
    ),
    (
        "folds, quotes, backslashes, NUL and CR",
        b'Subject: a\r\n "b" \\ c\r\n\td\0e\rf\r\n\r\n',
        b'(NIL "a \\"b\\" \\\\ c d e f" NIL NIL NIL NIL NIL NIL NIL NIL)',
    ),
    (
        "8-bit is a literal",
        "Subject: Grüße\r\nTo: Ü <a@b>\r\n\r\n".encode(),
        '(NIL {7}\r\nGrüße NIL NIL NIL (({2}\r\nÜ NIL "a" "b")) NIL NIL NIL NIL)'.encode(),
    ),
    (
        "group",
        b"To: g: a@b;, undisclosed:;\r\n\r\n",
        b'(NIL NIL NIL NIL NIL ((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)(NIL NIL "undisclosed" NIL)'
        b"(NIL NIL NIL NIL)) NIL NIL NIL NIL)",
    ),
]


@pytest.mark.parametrize(("block", "expected"), [row[1:] for row in ENVELOPES], ids=[row[0] for row in ENVELOPES])
def test_envelope(block: bytes, expected: bytes) -> None:
    assert envelope(block) == expected


def test_envelope_for_a_utf8_session() -> None:
    block = 'Subject: Grüße "x"\r\nMessage-ID: <\r\n\r\n'.encode() + b""
    assert envelope(block, utf8=True).startswith('(NIL "Grüße \\"x\\"" NIL'.encode())
    assert envelope(b"Subject: \xff\r\n\r\n", utf8=True).startswith(b"(NIL {1}\r\n\xff NIL")


@pytest.mark.parametrize(
    "block",
    [
        b"To: " + b"a@b, " * 100_000 + b"\r\n\r\n",
        b"To: g:" + b"a@b, " * 100_000 + b"\r\n\r\n",
        b"Subject: " + b'"' * 300_000 + b"\r\n\r\n",
        b"".join(
            n + b": " + b'"\\\\\\"' * 60_000 + b"\r\n" for n in (b"From", b"To", b"Cc", b"Bcc", b"Subject", b"Date")
        )
        + b"\r\n",
        b"From: " + b"a@b," * 60_000 + b"\r\nTo: " + b"a@b," * 60_000 + b"\r\nCc: " + b"a@b," * 60_000 + b"\r\n\r\n",
    ],
)
def test_envelope_is_never_over_the_limit(block: bytes) -> None:
    rendered = envelope(block)
    assert len(rendered) <= FIELD_LIMIT
    assert read_value(rendered, 0)[1] == len(rendered)


def read_value(data: bytes, pos: int) -> tuple[object, int]:
    """Read one NIL, number, string or list of the RFC 3501 grammar; raises if it is anything else."""
    if data[pos : pos + 1] == b"(":
        items: list[object] = []
        pos += 1
        while data[pos : pos + 1] != b")":
            if data[pos : pos + 1] == b" ":
                assert items
                pos += 1
            item, pos = read_value(data, pos)
            items.append(item)
        return items, pos + 1
    if literal := re.compile(rb"\{(\d+)\}\r\n").match(data, pos):
        end = literal.end() + int(literal.group(1))
        assert end <= len(data)
        assert b"\0" not in data[literal.end() : end]
        return data[literal.end() : end], end
    token = re.compile(rb'NIL|\d+|"(?:[^"\\\r\n\0\x80-\xff]|\\["\\])*"').match(data, pos)
    assert token is not None, data[pos : pos + 50]
    return token.group(), token.end()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"From", b"To", b"Subject", b"Date", b"Sender", b"X"]),
            st.one_of(ADDRESS_PIECES, st.binary()),
        )
    )
)
@settings(max_examples=300, deadline=None)
def test_any_block_gives_a_readable_envelope(fields: list[tuple[bytes, bytes]]) -> None:
    block = b"".join(name + b":" + value + b"\r\n" for name, value in fields) + b"\r\n"
    rendered = envelope(block)
    value, end = read_value(rendered, 0)
    assert end == len(rendered)
    assert isinstance(value, list)
    assert len(value) == 10
    assert all(len(address) == 4 for item in value[2:8] if isinstance(item, list) for address in item)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"NIL"),
        (b"", b'""'),
        (b"NIL", b'"NIL"'),
        (b'a"\\', b'"a\\"\\\\"'),
        (b"\xff\0", b"{2}\r\n\xff "),
        (b"\x7f\x01", b'"\x7f\x01"'),
    ],
)
def test_strings(value: bytes | None, expected: bytes) -> None:
    assert nstring(value) == expected
    if value is not None:
        assert string(value) == expected
