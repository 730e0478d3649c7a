"""BODYSTRUCTURE, BODY and sections: what IMAP shows of the tree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailboat_mime import (
    Part,
    Section,
    body,
    bodystructure,
    content_fields,
    find_part,
    resolve,
    scan,
    select_fields,
    structures,
)
from mailboat_mime.content import parse_params
from mailboat_mime.strings import FIELD_LIMIT


def lf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


# (what, message, BODYSTRUCTURE, BODY)
TEXT = b'"text" "plain" ("charset" "us-ascii") NIL NIL "7bit"'
STRUCTURES: list[tuple[str, bytes, bytes, bytes]] = [
    ("defaults", lf("\na\nb"), b"(" + TEXT + b" 4 1 NIL NIL NIL NIL)", b"(" + TEXT + b" 4 1)"),
    (
        "names and values as sent",
        lf('Content-Type: TEXT/Plain; CharSet=UTF-8; Format="flow\\"ed"\nContent-Transfer-Encoding: 8BIT\n\nx\n'),
        b'("TEXT" "Plain" ("CharSet" "UTF-8" "Format" "flow\\"ed") NIL NIL "8BIT" 3 1 NIL NIL NIL NIL)',
        b'("TEXT" "Plain" ("CharSet" "UTF-8" "Format" "flow\\"ed") NIL NIL "8BIT" 3 1)',
    ),
    (
        "text without a charset",
        lf("Content-Type: text/html; x=y\n\n"),
        b'("text" "html" ("x" "y" "charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)',
        b'("text" "html" ("x" "y" "charset" "us-ascii") NIL NIL "7bit" 0 0)',
    ),
    (
        "all fields",
        lf(
            "Content-Type: image/png\nContent-ID: <1@x>\nContent-Description: a\n b\nContent-MD5: Q2hl\n"
            "Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=a.png; size=3\n"
            "Content-Language: en, de-CH\nContent-Location: http://x/\n\nAAAA"
        ),
        b'("image" "png" NIL "<1@x>" "a b" "base64" 4 "Q2hl" ("attachment" ("filename" "a.png" "size" "3"))'
        b' ("en" "de-CH") "http://x/")',
        b'("image" "png" NIL "<1@x>" "a b" "base64" 4)',
    ),
    (
        "disposition without parameters, empty fields",
        lf("Content-Type: a/b\nContent-ID:\nContent-Disposition: inline\nContent-Language: \n\n"),
        b'("a" "b" NIL "" NIL "7bit" 0 NIL ("inline" NIL) NIL NIL)',
        b'("a" "b" NIL "" NIL "7bit" 0)',
    ),
    (
        "8-bit in a parameter",
        lf('Content-Type: a/b; name="Grüße"\n\n'),
        '("a" "b" ("name" {7}\r\nGrüße) NIL NIL "7bit" 0 NIL NIL NIL NIL)'.encode(),
        '("a" "b" ("name" {7}\r\nGrüße) NIL NIL "7bit" 0)'.encode(),
    ),
    (
        "empty multipart",
        lf("Content-Type: multipart/mixed; boundary=b\n\nx"),
        b"((" + TEXT + b' 0 0 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)',
        b"((" + TEXT + b' 0 0) "mixed")',
    ),
    (
        "multipart without a boundary",
        lf("Content-Type: multipart/mixed; x=y\n\nx"),
        b"(" + TEXT + b" 1 0 NIL NIL NIL NIL)",
        b"(" + TEXT + b" 1 0)",
    ),
    (
        "embedded message",
        lf("Content-Type: Message/RFC822\n\nSubject: s\nFrom: a@b\n\nx\ny\n"),
        b'("message" "rfc822" NIL NIL NIL "7bit" 31 (NIL "s" '
        + b" ".join([b'((NIL NIL "a" "b"))'] * 3)
        + b" NIL NIL NIL NIL NIL) ("
        + TEXT
        + b" 6 2 NIL NIL NIL NIL) 5 NIL NIL NIL NIL)",
        b'("message" "rfc822" NIL NIL NIL "7bit" 31 (NIL "s" '
        + b" ".join([b'((NIL NIL "a" "b"))'] * 3)
        + b" NIL NIL NIL NIL NIL) ("
        + TEXT
        + b" 6 2) 5)",
    ),
]


@pytest.mark.parametrize(
    ("message", "full", "short"), [row[1:] for row in STRUCTURES], ids=[row[0] for row in STRUCTURES]
)
def test_structures(message: bytes, full: bytes, short: bytes) -> None:
    part = scan(message)
    assert bodystructure(part, message) == full
    assert body(part, message) == short
    assert structures(part, message) == (full, short)
    restored = Part.from_bytes(part.to_bytes())
    assert structures(restored, message) == (full, short)


def test_the_two_part_text_of_rfc_3501() -> None:
    one, two = b"x" * 1150 + b"\r\n" + b"\r\n" * 0, b"y" * 4552 + b"\r\n"
    message = (
        lf("Content-Type: MULTIPART/MIXED; boundary=b\n\n--b\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\n\n")
        + one
        + lf("\n--b\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=cc.diff\nContent-ID: <960723163407.20117h@cac>\n")
        + lf("Content-Transfer-Encoding: BASE64\nContent-Description: Compiler diff\n\n")
        + two
        + lf("\n--b--\n")
    )
    assert body(scan(message), message) == (
        b'(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7bit" 1152 1)("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" '
        b'"cc.diff") "<960723163407.20117h@cac>" "Compiler diff" "BASE64" 4554 1) "MIXED")'
    )


def test_structures_of_too_large_headers_lose_descriptions_only() -> None:
    field = (
        "Content-Type: text/plain; name="
        + "n" * 9000
        + "; charset=utf-8\nContent-Description: "
        + "d" * 9000
        + "\n\nx\n"
    )
    message = lf("Content-Type: multipart/mixed; boundary=b\n\n" + ("--b\n" + field) * 200 + "--b--\n")
    part = scan(message)
    for rendered in structures(part, message):
        assert len(rendered) <= FIELD_LIMIT
        assert rendered.count(b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 1 0') == 200


def test_structures_of_the_deepest_and_widest_are_bounded() -> None:
    header = "Content-Type: message/rfc822\nSubject: " + "s" * 8000 + "\nFrom: " + "a@b, " * 3000 + "\n\n"
    message = lf(header * 40)
    part = scan(message)
    for rendered in structures(part, message):
        assert len(rendered) <= FIELD_LIMIT
        assert rendered.count(b'"message" "rfc822"') == 30
    wide = lf("Content-Type: multipart/mixed; boundary=b\n\n") + b"--b\r\n\r\n\r\n" * 5000
    assert all(len(rendered) <= FIELD_LIMIT for rendered in structures(scan(wide), wide))


@pytest.mark.parametrize("main", [b"t" * 9000, b"text", b"\xe9" * 9000])
def test_names_are_cut(main: bytes) -> None:
    header = b"Content-Type: " + main + b"/" + main + b'; charset="' + b"\\\\" * 900 + b'"\r\n'
    header += b"Content-Transfer-Encoding: " + main + b"\r\n\r\n"
    message = lf("Content-Type: multipart/mixed; boundary=b\n\n") + (b"--b\r\n" + header + b"\r\n") * 1000
    part = scan(message)
    assert Part.from_bytes(part.to_bytes()) == part
    assert len(part.to_bytes()) < 512 * 1024
    for rendered in structures(part, message):
        assert len(rendered) <= FIELD_LIMIT
        assert rendered.count(b"(") >= 999


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"; a=b; c=d", ((b"a", b"b"), (b"c", b"d"))),
        (b';a="b;c" ; d = e f ', ((b"a", b"b;c"), (b"d", b"e f"))),
        (b'; a="b\\"c\\\\"', ((b"a", b'b"c\\'),)),
        (b'; a="unclosed; b=c', ((b"a", b"unclosed; b=c"),)),
        (b"; junk; a=b; =c; d", ((b"a", b"b"),)),
        (b"; a=; b=c", ((b"a", b""), (b"b", b"c"))),
        (b'; a="x" junk; b=c', ((b"a", b"x"), (b"b", b"c"))),
        (b"; n*0=a; x=y; n*1=b", ((b"n", b"ab"), (b"x", b"y"))),
        (b"; n*1*=b%20c; n*0*=utf-8''a", ((b"n*", b"utf-8''ab%20c"),)),
        (b"; n*0*=utf-8''%C3%BC; n*1=\"100% \"", ((b"n*", b"utf-8''%C3%BC100%25 "),)),
        (b"; n*0=a; n*2=c", ((b"n", b"a"),)),
        (b"; n*=utf-8''x", ((b"n*", b"utf-8''x"),)),
        (b"; n*1=x", ((b"n", b""),)),
        (b"", ()),
        (b";;;", ()),
    ],
)
def test_parameters(value: bytes, expected: tuple[tuple[bytes, bytes], ...]) -> None:
    assert parse_params(value) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Content-Disposition: attachment; filename="a b.pdf"', "a b.pdf"),
        ("Content-Disposition: attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf", "Grüße.pdf"),
        ("Content-Disposition: attachment; filename*0*=utf-8''Gr%C3%BC; filename*1*=%C3%9Fe", "Grüße"),
        ('Content-Type: a/b; name="=?utf-8?q?Gr=C3=BC=C3=9Fe?="', "Grüße"),
        ("Content-Type: a/b; name=x\nContent-Disposition: inline", "x"),
        ("Content-Type: a/b", None),
    ],
)
def test_filename(header: str, expected: str | None) -> None:
    message = lf(header + "\n\n")
    assert content_fields(scan(message), message).filename() == expected


# The message of RFC 3501 6.4.5, whose parts are named there
PARTS = lf(
    """From: top
Content-Type: multipart/mixed; boundary=m

preamble
--m

1-text
--m
Content-Type: application/octet-stream

2-data
--m
Content-Type: message/rfc822

From: three
Content-Type: multipart/mixed; boundary=n

--n

3.1-text
--n
Content-Type: application/octet-stream

3.2-data
--n--
--m
Content-Type: multipart/mixed; boundary=o

--o
Content-Type: image/gif

4.1-image
--o
Content-Type: message/rfc822
X: mime

From: four
Content-Type: multipart/alternative; boundary=p

--p

4.2.1
--p
Content-Type: text/richtext

4.2.2
--p--
--o--
--m--
epilogue
"""
)
THREE = lf(
    "From: three\nContent-Type: multipart/mixed; boundary=n\n\n--n\n\n3.1-text\n--n\n"
    "Content-Type: application/octet-stream\n\n3.2-data\n--n--"
)
FOUR_HEADER = lf("From: four\nContent-Type: multipart/alternative; boundary=p\n\n")
FOUR_TEXT = lf("--p\n\n4.2.1\n--p\nContent-Type: text/richtext\n\n4.2.2\n--p--")
SINGLE = lf("From: a\nContent-Type: text/plain\n\nbody\n")
FORWARD = lf("From: a\nContent-Type: message/rfc822\n\nFrom: b\n\nbody\n")
EMPTY = lf("Content-Type: multipart/mixed; boundary=b\n\npreamble")

SECTIONS: list[tuple[bytes, tuple[int, ...], str, bytes | None]] = [
    (PARTS, (), "", PARTS),
    (PARTS, (), "HEADER", lf("From: top\nContent-Type: multipart/mixed; boundary=m\n\n")),
    (PARTS, (), "TEXT", PARTS[PARTS.index(b"preamble") :]),
    (PARTS, (), "MIME", None),
    (PARTS, (1,), "", b"1-text"),
    (PARTS, (1,), "MIME", b"\r\n"),
    (PARTS, (1,), "HEADER", None),
    (PARTS, (1,), "TEXT", None),
    (PARTS, (1, 1), "", None),
    (PARTS, (2,), "", b"2-data"),
    (PARTS, (2,), "MIME", lf("Content-Type: application/octet-stream\n\n")),
    (PARTS, (3,), "", THREE),
    (PARTS, (3,), "HEADER", lf("From: three\nContent-Type: multipart/mixed; boundary=n\n\n")),
    (PARTS, (3,), "HEADER.FIELDS", lf("From: three\nContent-Type: multipart/mixed; boundary=n\n\n")),
    (PARTS, (3,), "TEXT", THREE[THREE.index(b"--n") :]),
    (PARTS, (3,), "MIME", lf("Content-Type: message/rfc822\n\n")),
    (PARTS, (3, 1), "", b"3.1-text"),
    (PARTS, (3, 2), "", b"3.2-data"),
    (PARTS, (3, 3), "", None),
    (PARTS, (4,), "MIME", lf("Content-Type: multipart/mixed; boundary=o\n\n")),
    (PARTS, (4,), "HEADER", None),
    (PARTS, (4, 1), "", b"4.1-image"),
    (PARTS, (4, 1), "MIME", lf("Content-Type: image/gif\n\n")),
    (PARTS, (4, 2), "", FOUR_HEADER + FOUR_TEXT),
    (PARTS, (4, 2), "HEADER", FOUR_HEADER),
    (PARTS, (4, 2), "TEXT", FOUR_TEXT),
    (PARTS, (4, 2), "MIME", lf("Content-Type: message/rfc822\nX: mime\n\n")),
    (PARTS, (4, 2, 1), "", b"4.2.1"),
    (PARTS, (4, 2, 2), "", b"4.2.2"),
    (PARTS, (4, 2, 2), "MIME", lf("Content-Type: text/richtext\n\n")),
    (PARTS, (4, 2, 2, 1), "", None),
    (PARTS, (5,), "", None),
    (PARTS, (0,), "", None),
    (SINGLE, (1,), "", b"body\r\n"),
    (SINGLE, (1,), "MIME", lf("From: a\nContent-Type: text/plain\n\n")),
    (SINGLE, (1,), "HEADER", None),
    (SINGLE, (1, 1), "", None),
    (SINGLE, (2,), "", None),
    (FORWARD, (1,), "", lf("From: b\n\nbody\n")),
    (FORWARD, (1,), "HEADER", lf("From: b\n\n")),
    (FORWARD, (1,), "TEXT", b"body\r\n"),
    (FORWARD, (1, 1), "", b"body\r\n"),
    (FORWARD, (1, 1), "MIME", lf("From: b\n\n")),
    (FORWARD, (1, 1, 1), "", None),
    (FORWARD, (1, 2), "", None),
    (EMPTY, (1,), "", b""),
    (EMPTY, (1,), "MIME", b""),
    (EMPTY, (1,), "HEADER", None),
    (EMPTY, (2,), "", None),
    (EMPTY, (1, 1), "", None),
    (b"", (), "", b""),
    (b"", (1,), "", b""),
]


@pytest.mark.parametrize(("message", "path", "kind", "expected"), SECTIONS)
def test_sections(message: bytes, path: tuple[int, ...], kind: str, expected: bytes | None) -> None:
    part = Part.from_bytes(scan(message).to_bytes())
    span = resolve(part, path, kind)
    assert (None if span is None else message[slice(*span)]) == expected


def test_fields_of_an_embedded_message() -> None:
    span = resolve(scan(PARTS), (4, 2), Section.HEADER_FIELDS)
    assert span is not None
    assert select_fields(PARTS[slice(*span)], [b"from"]) == b"From: four\r\n\r\n"


def test_an_unknown_section_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="BODYTEXT"):
        resolve(scan(PARTS), (1,), "BODYTEXT")


def test_find_part() -> None:
    found = find_part(scan(PARTS), (4, 2, 2))
    assert found is not None
    assert found.subtype == b"richtext"
    assert find_part(scan(PARTS), (9,)) is None


PIECES = st.sampled_from(
    [
        b"--b\r\n", b"--b--\r\n", b"\r\n", b"x", b"Content-Type: message/rfc822\r\n", b"\xe9\0", b'"', b"\\", b"; a*0=",
        b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Disposition: a; b=", b"Content-Language: ", b"\r\n\r\n",
        b"From: ", b"Content-Type: text/plain; name=",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 3), max_size=3).map(tuple))
@settings(max_examples=400, deadline=None)
def test_any_message_has_structures_and_sections(message: bytes, path: tuple[int, ...]) -> None:
    part = scan(message)
    full, short = structures(part, message)
    assert full.startswith(b"(") and full.endswith(b")")
    assert short.startswith(b"(") and short.endswith(b")")
    assert b"\0" not in full
    for kind in Section:
        span = resolve(part, path, kind)
        if span is not None:
            assert 0 <= span[0] <= span[1] <= len(message)
    header, text = resolve(part, (), "HEADER"), resolve(part, (), "TEXT")
    assert header is not None
    assert text is not None
    assert message[slice(*header)] + message[slice(*text)] == message
