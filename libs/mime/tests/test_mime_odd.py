"""Odd messages: what is said of them obeys the grammar of RFC 9051 section 9, and agrees with the octets that are sent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailboat_mime import Part, body, bodystructure, envelope, header_block, resolve, scan
from mailboat_mime.strings import FIELD_LIMIT

from tests.support import bodygrammar
from tests.support.odd_messages import OddMessage, odd_messages

ODD = odd_messages()


def check(message: bytes) -> Part:
    """Everything FETCH says of the message, against the grammar and against the message."""
    part = scan(message)
    bodygrammar.envelope(envelope(header_block(message)))
    full, short = bodystructure(part, message), body(part, message)
    shown, without = bodygrammar.structure(full), bodygrammar.structure(short)
    assert shown.extended
    assert not without.extended
    assert max(len(full), len(short)) <= FIELD_LIMIT
    sections = list(shown.sections())
    assert [path for path, _ in sections] == [path for path, _ in without.sections()]
    assert len({path for path, _ in sections}) == len(sections)
    for path, told in sections:
        extent = resolve(part, path)
        assert extent is not None, path
        assert resolve(part, path, "MIME") is not None, path
        octets = message[extent[0] : extent[1]]
        if not told.parts:
            assert told.size == len(octets), path
        if told.lines is not None:
            assert told.lines == octets.count(b"\n"), path
        if told.message is not None:
            header, text = resolve(part, path, "HEADER"), resolve(part, path, "TEXT")
            assert header is not None
            assert text is not None
            assert message[header[0] : header[1]] + message[text[0] : text[1]] == octets
            if told.envelope is not None and any(told.envelope):
                shown_envelope = bodygrammar.envelope(envelope(message[header[0] : header[1]]))
                assert told.envelope == shown_envelope
        elif len(path) > 1 or shown.parts:
            assert resolve(part, path, "HEADER") is None or told.parts, path
    return part


def test_the_corpus_is_there() -> None:
    assert len({odd.name for odd in ODD}) == len(ODD) >= 80


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_odd_message(odd: OddMessage) -> None:
    part = check(odd.content)
    assert bodystructure(part, odd.content) == odd.bodystructure
    assert envelope(header_block(odd.content)) == odd.envelope


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_odd_message_with_bare_line_feeds(odd: OddMessage) -> None:
    """Not accepted any more at any door, but a store may hold them."""
    check(odd.content.replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_odd_message_within_others(odd: OddMessage) -> None:
    inner = b"Content-Type: message/rfc822\r\n\r\n" + odd.content
    check(inner)
    outer = b"Content-Type: multipart/mixed; boundary=outermost\r\n\r\n--outermost\r\n%b\r\n--outermost\r\n%b"
    check(outer % (inner, odd.content))


def nested(depth: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d.\r\n\r\n--b%d.\r\n" % (level, level) for level in range(depth)
    )
    return head + b"\r\nx" + b"".join(b"\r\n--b%d.--" % level for level in reversed(range(depth)))


LARGE: list[tuple[str, bytes]] = [
    ("35 multiparts deep", nested(35)),
    ("300 multiparts deep", nested(300)),
    ("300 messages deep", b"Content-Type: message/rfc822\r\n\r\n" * 300),
    ("3,000 parts", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 3000 + b"--b--\r\n"),
    ("digest of 3,000", b"Content-Type: multipart/digest; boundary=b\r\n\r\n" + b"--b\r\n\r\nA: b\r\n\r\n" * 3000),
    (
        "5,000 parameters",
        b"Content-Type: a/b" + b"".join(b";\r\n p%d=v" % n for n in range(5000)) + b"\r\n\r\nx",
    ),
    ("a long parameter", b"Content-Type: a/b; name=" + b"x" * 500_000 + b"\r\n\r\nx"),
    ("a long parameter of 8-bit", b"Content-Type: a/b; name=" + b"\xfc" * 500_000 + b"\r\n\r\nx"),
    (
        "9,999 continuations",
        b"Content-Type: a/b" + b"".join(b"; name*%d*=%%41" % n for n in range(9999)) + b"\r\n\r\nx",
    ),
    ("long lines", b"Subject: " + b"x" * 1_000_000 + b"\r\n\r\n" + b"y" * 1_000_000),
    ("long type", b"Content-Type: " + b"a" * 5000 + b"/" + b"b" * 5000 + b"\r\n\r\nx"),
    ("100,000 recipients", b"To: " + b"a@example.test,\r\n " * 100_000 + b"\r\n\r\nx"),
    ("an open group of 100,000", b"To: g:" + b"a@example.test,\r\n " * 100_000 + b"\r\n\r\nx"),
    ("5,000 empty groups", b"To: " + b"g:;,\r\n " * 5_000 + b"\r\n\r\nx"),
    ("quotes", b"From: " + b'"' * 100_001 + b"\r\nTo: " + b"\\" * 100_001 + b"\r\n\r\n"),
    (
        "brackets",
        b"From: " + b"<" * 100_001 + b"\r\nTo: " + b"(" * 100_001 + b"\r\nCc: " + b"@" * 100_001 + b"\r\n\r\n",
    ),
    ("languages", b"Content-Language: " + b"en," * 100_000 + b"\r\n\r\n"),
    (
        "wide headers in many parts",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + (b"--b\r\nContent-Type: a/b; name=" + b"x" * 2000 + b"\r\n\r\n") * 900,
    ),
]


@pytest.mark.parametrize("message", [row[1] for row in LARGE], ids=[row[0] for row in LARGE])
def test_large_and_hostile(message: bytes) -> None:
    check(message)


PIECES = st.sampled_from(
    [
        *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/digest; boundary=bb\r\n"),
        *(b"Content-Type: message/rfc822\r\n", b"Content-Type: text/plain", b"Content-Type:", b"; charset=", b'; x="'),
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b"\r\n\r\n",
            b"--b\r\n",
            b"--b--\r\n",
            b"--bb\r\n",
            b"--bb--",
            b"\r\n--b",
        ),
        *(b"From: ", b"To:", b"Subject: ", b"Content-Disposition: ", b"Content-Language: ", b"; n*0*=", b"; n*1="),
        *(
            b"a@b",
            b"<",
            b">",
            b"(",
            b")",
            b'"',
            b"\\",
            b",",
            b":",
            b";",
            b"@",
            b"[",
            b"]",
            b".",
            b"\xfc",
            b"\x01",
            b"\0",
        ),
    ]
)


@given(st.lists(PIECES, max_size=60).map(b"".join))
@settings(max_examples=1000, deadline=None)
def test_any_message(message: bytes) -> None:
    check(message)


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_octets(message: bytes) -> None:
    check(message)


@pytest.mark.parametrize(
    "wrong",
    [
        b'("text" "plain" NIL NIL NIL "7bit" 0)',
        b'("text" "plain" NIL NIL NIL "7bit" 0  0)',
        b'("text" "plain" () NIL NIL "7bit" 0 0)',
        b'("text" "plain" ("a" NIL) NIL NIL "7bit" 0 0)',
        b'("text" NIL NIL NIL NIL "7bit" 0 0)',
        b'("a" "b" NIL NIL NIL NIL 0)',
        b'("a" "b" NIL NIL NIL "7bit" 0 NIL NIL ("en" NIL) NIL)',
        b'("a" "b\xfc" NIL NIL NIL "7bit" 0)',
        b'("a" {2}\r\nb NIL NIL NIL "7bit" 0)',
        b'("message" "rfc822" NIL NIL NIL "7bit" 0)',
        b'(("a" "b" NIL NIL NIL "7bit" 0) ("a" "b" NIL NIL NIL "7bit" 0) "mixed")',
        b'( "mixed")',
    ],
)
def test_the_reader_of_structures_is_strict(wrong: bytes) -> None:
    with pytest.raises(bodygrammar.GrammarError):
        bodygrammar.structure(wrong)


@pytest.mark.parametrize(
    "lists",
    [
        b"()",
        b"((NIL NIL NIL NIL))",
        b'((NIL NIL "g" NIL))',
        b'((NIL NIL "g" NIL)(NIL NIL "h" NIL)(NIL NIL NIL NIL))',
        b'((NIL NIL NIL "h"))',
        b'((NIL NIL "a" "b") (NIL NIL "a" "b"))',
        b'((NIL "a" "b"))',
    ],
)
def test_the_reader_of_envelopes_is_strict(lists: bytes) -> None:
    with pytest.raises(bodygrammar.GrammarError):
        bodygrammar.envelope(b"(NIL NIL %b NIL NIL NIL NIL NIL NIL NIL)" % lists)
