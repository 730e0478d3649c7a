"""The scanner: where parts begin and end in well-formed, odd and hostile messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailboat_mime import Kind, Part, header_block, large_parts, scan


def shape(part: Part, message: bytes) -> object:
    """The tree as nested (type/subtype, header, body of leaves | children) for comparison in tables."""
    name = (part.type + b"/" + part.subtype).decode()
    header = message[part.header_start : part.body_start]
    if part.kind is Kind.LEAF:
        return name, header, message[part.body_start : part.body_end]
    return name, header, [shape(child, message) for child in part.children]


def lf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


MIXED = "Content-Type: multipart/mixed; boundary=b\n\n"

TREES: list[tuple[str, bytes, object]] = [
    ("empty message", b"", ("text/plain", b"", b"")),
    ("blank line only", b"\r\n", ("text/plain", b"\r\n", b"")),
    ("no header", lf("\nbody\n"), ("text/plain", b"\r\n", b"body\r\n")),
    ("no blank line", lf("Subject: x\n"), ("text/plain", b"Subject: x\r\n", b"")),
    ("LF only", b"Subject: x\n\nbody\n", ("text/plain", b"Subject: x\n\n", b"body\n")),
    ("CR only is one header line", b"Subject: x\r\rbody\r", ("text/plain", b"Subject: x\r\rbody\r", b"")),
    ("mixed line ends", b"A: b\r\n\nbody", ("text/plain", b"A: b\r\n\n", b"body")),
    (
        "line without colon stays in the header",
        lf("From x\nA: b\n\nbody"),
        ("text/plain", lf("From x\nA: b\n\n"), b"body"),
    ),
    (
        "preamble and epilogue belong to no part",
        lf(MIXED + "pre\n--b\n\none\n--b\nContent-Type: text/html\n\ntwo\n--b--\nepilogue\n--b\n\nno part\n"),
        (
            "multipart/mixed",
            lf(MIXED),
            [("text/plain", b"\r\n", b"one"), ("text/html", lf("Content-Type: text/html\n\n"), b"two")],
        ),
    ),
    (
        "unterminated",
        lf(MIXED + "--b\n\none\n"),
        ("multipart/mixed", lf(MIXED), [("text/plain", b"\r\n", b"one\r\n")]),
    ),
    ("no delimiter at all", lf(MIXED + "text\n"), ("multipart/mixed", lf(MIXED), [])),
    ("only a closing delimiter", lf(MIXED + "--b--\n"), ("multipart/mixed", lf(MIXED), [])),
    ("delimiter at the end of input", lf(MIXED) + b"--b", ("multipart/mixed", lf(MIXED), [("text/plain", b"", b"")])),
    (
        "header cut by a delimiter",
        lf(MIXED + "--b\nContent-Type: text/html\n--b--\n"),
        ("multipart/mixed", lf(MIXED), [("text/html", b"Content-Type: text/html", b"")]),
    ),
    (
        "empty header and body",
        lf(MIXED + "--b\n--b\n\n--b--\n"),
        ("multipart/mixed", lf(MIXED), [("text/plain", b"", b""), ("text/plain", b"\r\n", b"")]),
    ),
    (
        "header with blank line, then the delimiter",
        lf(MIXED + "--b\nX: y\n\n--b--"),
        ("multipart/mixed", lf(MIXED), [("text/plain", lf("X: y\n\n"), b"")]),
    ),
    (
        "more after the boundary on a delimiter line",
        lf(MIXED + "--bxyz \n\none\n--b--zzz\n"),
        ("multipart/mixed", lf(MIXED), [("text/plain", b"\r\n", b"one")]),
    ),
    (
        "not at the beginning of a line",
        lf(MIXED + "--b\n\nx --b\n --b\n-b\n--b--"),
        ("multipart/mixed", lf(MIXED), [("text/plain", b"\r\n", lf("x --b\n --b\n-b"))]),
    ),
    (
        "quoted boundary with escapes and comments",
        lf('Content-Type: multipart/mixed (a "c") ; x=y; Boundary = "a\\"b c"\n\n--a"b c\n\none\n--a"b c--'),
        (
            "multipart/mixed",
            lf('Content-Type: multipart/mixed (a "c") ; x=y; Boundary = "a\\"b c"\n\n'),
            [("text/plain", b"\r\n", b"one")],
        ),
    ),
    (
        "boundary in RFC 2231 sections",
        lf("Content-Type: multipart/mixed; boundary*0=ab;\n boundary*1=cd\n\n--abcd\n\none\n--abcd--"),
        (
            "multipart/mixed",
            lf("Content-Type: multipart/mixed; boundary*0=ab;\n boundary*1=cd\n\n"),
            [("text/plain", b"\r\n", b"one")],
        ),
    ),
    (
        "the first Content-Type counts",
        lf("Content-Type: text/html\nContent-Type: text/plain\n\n"),
        ("text/html", lf("Content-Type: text/html\nContent-Type: text/plain\n\n"), b""),
    ),
    (
        "a multipart without a boundary is text",
        lf("Content-Type: multipart/mixed\n\n--b\n"),
        ("text/plain", lf("Content-Type: multipart/mixed\n\n"), b"--b\r\n"),
    ),
    (
        "digest parts are messages",
        lf(
            "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\ntext\n--b\nContent-Type: text/html\n\n--b--"
        ),
        (
            "multipart/digest",
            lf("Content-Type: multipart/digest; boundary=b\n\n"),
            [
                ("message/rfc822", b"\r\n", [("text/plain", lf("Subject: x\n\n"), b"text")]),
                ("text/html", lf("Content-Type: text/html\n\n"), b""),
            ],
        ),
    ),
    (
        "an embedded message stays inside its part",
        lf(MIXED + "--b\nContent-Type: message/rfc822\n\n\n--b\nContent-Type: message/rfc822\n\nA: b\n\n--b--"),
        (
            "multipart/mixed",
            lf(MIXED),
            [
                ("message/rfc822", lf("Content-Type: message/rfc822\n\n"), [("text/plain", b"", b"")]),
                ("message/rfc822", lf("Content-Type: message/rfc822\n\n"), [("text/plain", b"A: b\r\n", b"")]),
            ],
        ),
    ),
    (
        "a message part cut in its header",
        lf(MIXED + "--b\nContent-Type: message/rfc822\n--b--"),
        (
            "multipart/mixed",
            lf(MIXED),
            [("message/rfc822", b"Content-Type: message/rfc822", [("text/plain", b"", b"")])],
        ),
    ),
    (
        "an inner boundary that begins with the outer one",
        lf(MIXED + "--b\nContent-Type: multipart/mixed; boundary=bc\n\n--bc\n\none\n--bc--\n--b\n\ntwo\n--b--"),
        (
            "multipart/mixed",
            lf(MIXED),
            [
                (
                    "multipart/mixed",
                    lf("Content-Type: multipart/mixed; boundary=bc\n\n"),
                    [("text/plain", b"\r\n", b"one")],
                ),
                ("text/plain", b"\r\n", b"two"),
            ],
        ),
    ),
    (
        "an outer boundary that begins with the inner one and two dashes",
        lf(
            "Content-Type: multipart/mixed; boundary=b--\n\n--b--\nContent-Type: multipart/mixed; boundary=b\n\n"
            "--b\n\none\n--b--\nepilogue\n--b----"
        ),
        (
            "multipart/mixed",
            lf("Content-Type: multipart/mixed; boundary=b--\n\n"),
            [
                (
                    "multipart/mixed",
                    lf("Content-Type: multipart/mixed; boundary=b\n\n"),
                    [("text/plain", b"\r\n", b"one")],
                )
            ],
        ),
    ),
    (
        "the same boundary inside: the inner one counts until it is closed",
        lf(MIXED + "--b\n" + MIXED + "--b\n\none\n--b--\n--b\n\ntwo\n--b--"),
        (
            "multipart/mixed",
            lf(MIXED),
            [("multipart/mixed", lf(MIXED), [("text/plain", b"\r\n", b"one")]), ("text/plain", b"\r\n", b"two")],
        ),
    ),
    (
        "an outer delimiter ends an unterminated inner multipart",
        lf(MIXED + "--b\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\none\n--b\n\ntwo\n--i\n--b--"),
        (
            "multipart/mixed",
            lf(MIXED),
            [
                (
                    "multipart/mixed",
                    lf("Content-Type: multipart/mixed; boundary=i\n\n"),
                    [("text/plain", b"\r\n", b"one")],
                ),
                ("text/plain", b"\r\n", lf("two\n--i")),
            ],
        ),
    ),
    (
        "an unreadable type is text",
        lf("Content-Type: ;;;\n\nx"),
        ("text/plain", lf("Content-Type: ;;;\n\n"), b"x"),
    ),
    ("a type without subtype", lf("Content-Type: text\n\nx"), ("text/plain", lf("Content-Type: text\n\n"), b"x")),
    (
        "an unknown type without subtype",
        lf("Content-Type: Image\n\nx"),
        ("Image/unknown", lf("Content-Type: Image\n\n"), b"x"),
    ),
]


@pytest.mark.parametrize(("message", "expected"), [row[1:] for row in TREES], ids=[row[0] for row in TREES])
def test_tree(message: bytes, expected: object) -> None:
    part = scan(message)
    assert shape(part, message) == expected
    check_nesting(part, message)
    assert Part.from_bytes(part.to_bytes()) == part


def check_nesting(root: Part, message: bytes) -> None:
    """Every offset is inside its parent's body, in order, and the root is the whole message."""
    assert (root.header_start, root.body_end) == (0, len(message))
    for part in root.walk():
        assert part.header_start <= part.body_start <= part.body_end
        at = part.body_start
        for child in part.children:
            assert at <= child.header_start
            assert child.body_end <= part.body_end
            at = child.body_end
        if part.kind is Kind.MESSAGE:
            assert len(part.children) == 1
            assert part.children[0].header_start == part.body_start
            assert part.children[0].body_end == part.body_end
        if part.kind is Kind.MESSAGE or part.is_text:
            assert part.lines == message.count(b"\n", part.body_start, part.body_end)
        if part.kind is Kind.LEAF:
            assert part.children == ()


def test_attributes_of_a_part() -> None:
    message = lf('Content-Type: Text/HTML; Charset="UTF-8"\nContent-Transfer-Encoding: BASE64 (x)\n\na\nb\nc')
    part = scan(message)
    assert (part.type, part.subtype, part.charset, part.encoding) == (b"Text", b"HTML", b"UTF-8", b"BASE64")
    assert (part.lines, part.size, part.is_text, part.message) == (2, 7, True, None)
    assert header_block(message) == message[: part.body_start]


# Random messages made of the pieces that matter to the scanner

PIECES = st.sampled_from(
    [
        b"--b", b"--bb", b"--b--", b"--bb--", b"--b----", b"--", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\0",
        b"text", b"\xe9", b"Subject: x\r\n", b"Content-Type: message/rfc822\r\n", b"Content-Type: message/rfc822\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n",
        b'Content-Type: multipart/digest; boundary="b--"\r\n\r\n', b"Content-Type: multipart/mixed\r\n",
        b"Content-Type: text/html; charset=x\n", b"Content-Transfer-Encoding: base64\r\n",
    ]
)  # fmt: skip
MESSAGES = st.lists(PIECES, max_size=40).map(b"".join)


@given(st.one_of(MESSAGES, st.binary(max_size=300)))
@settings(max_examples=600, deadline=None)
def test_any_bytes_give_a_nested_tree(message: bytes) -> None:
    part = scan(message)
    check_nesting(part, message)
    assert Part.from_bytes(part.to_bytes()) == part


@given(MESSAGES)
@settings(max_examples=200, deadline=None)
def test_all_bytes_of_a_message_are_a_header_a_body_or_between_parts(message: bytes) -> None:
    root = scan(message)
    pieces: list[bytes] = []

    def collect(part: Part) -> None:
        pieces.append(message[part.header_start : part.body_start])
        at = part.body_start
        for child in part.children:
            pieces.append(message[at : child.header_start])  # preamble or delimiter
            collect(child)
            at = child.body_end
        pieces.append(message[at : part.body_end])  # epilogue, or the body of a leaf

    collect(root)
    assert b"".join(pieces) == message


@given(MESSAGES, st.integers(0, 4), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_limits_hold(message: bytes, max_depth: int, max_parts: int) -> None:
    root = scan(message, max_depth=max_depth, max_parts=max_parts)
    check_nesting(root, message)
    assert sum(1 for _ in root.walk()) <= max_parts

    def depth(part: Part) -> int:
        return 0 if part.kind is Kind.LEAF else 1 + max(map(depth, part.children), default=0)

    assert depth(root) <= max_depth


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_from_bytes_reads_or_refuses(data: bytes) -> None:
    try:
        part = Part.from_bytes(b"\x01" + data)
    except ValueError:
        return
    assert Part.from_bytes(part.to_bytes()) == part


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02\x00", b"\x01", b"\x01\x00\x00"])
def test_from_bytes_refuses(data: bytes) -> None:
    with pytest.raises(ValueError, match="MIME tree"):
        Part.from_bytes(data)


def test_compact_form_is_small_and_carries_uncommon_strings() -> None:
    message = lf("Content-Type: application/vnd.example; x=y\nContent-Transfer-Encoding: X-Odd\n\n") + b"x" * 70_000
    part = scan(message)
    assert len(part.to_bytes()) < 50
    assert Part.from_bytes(part.to_bytes()) == part


def test_large_parts_are_leaf_bodies_over_the_threshold() -> None:
    big, small = b"A" * 5000, b"B" * 100
    message = (
        lf(MIXED) + b"--b\r\n\r\n" + big + b"\r\n--b\r\n\r\n" + small + b"\r\n--b\r\n\r\n" + big + b"\r\n--b--\r\n"
    )
    found = large_parts(scan(message), 4999)
    assert [message[start:end] for start, end in found] == [big, big]
    assert large_parts(scan(message)) == []


# Hostile messages. Work is bounded by counting, not by the clock: what is quadratic here would take minutes.


def nested(levels: int, name: bytes) -> bytes:
    names = [name % n for n in range(levels)]
    opening = b"".join(b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (b, b) for b in names)
    return opening + b"\r\nthe end\r\n" + b"".join(b"--%b--\r\n" % b for b in reversed(names))


def test_thousands_of_nested_multiparts_become_thirty_and_a_leaf() -> None:
    message = nested(3000, b"b%04d")
    root = scan(message)
    check_nesting(root, message)
    parts = list(root.walk())
    assert len(parts) == 31
    assert parts[-1].flattened
    assert (parts[-1].type, parts[-1].subtype) == (b"application", b"octet-stream")
    assert b"the end" in message[parts[-1].body_start : parts[-1].body_end]


def test_thousands_of_nested_multiparts_whose_boundaries_collide() -> None:
    message = nested(3000, b"b%d")  # --b3 is a delimiter of b3, and of no b30 that was too deep to be opened
    root = scan(message)
    check_nesting(root, message)
    assert sum(1 for _ in root.walk()) == 1000
    assert Part.from_bytes(root.to_bytes()) == root


def test_thousands_of_nested_messages_become_thirty_and_a_leaf() -> None:
    message = b"Content-Type: message/rfc822\r\n\r\n" * 3000 + b"\r\nthe end"
    root = scan(message)
    check_nesting(root, message)
    assert [part.flattened for part in root.walk()] == [False] * 30 + [True]


def test_the_last_of_too_many_parts_takes_the_rest() -> None:
    message = lf(MIXED) + b"--b\r\n\r\nx\r\n" * 50_000 + b"--b--\r\n"
    root = scan(message)
    assert len(root.children) == 999
    assert root.children[-2].size == 1
    assert root.children[-1].body_end == len(message)


def test_unterminated_siblings_do_not_search_the_whole_message_each() -> None:
    part = b"--b\r\nContent-Type: multipart/mixed; boundary=never%d\r\n\r\n" + b"--x\r\n" * 20
    message = lf(MIXED) + b"".join(part % n for n in range(900)) + b"--y\r\n" * 1_000_000
    root = scan(message)
    assert len(root.children) == 900
    check_nesting(root, message)


@pytest.mark.parametrize("piece", [b"(\\", b'(\\"', b'"(', b";", b"; ", b'="', b"a=", b'\\"'])
def test_many_parts_with_hostile_types_are_scanned(piece: bytes) -> None:
    part = b"--b\r\nContent-Type: text/plain; (" + piece * (64_000 // len(piece)) + b"\r\n\r\n"
    assert len(scan(lf(MIXED) + part * 50).children) == 50


@pytest.mark.parametrize(
    "message",
    [
        b"Subject: " + b"x" * 30_000_000,
        b"Subject: " + b"x\r\n " * 5_000_000 + b"\r\n\r\nbody",
        b"Content-Type: text/plain; " + b"a=b;" * 1_000_000 + b"\r\n\r\nbody",
        b'Content-Type: text/plain; name="' + b"\\" * 3_000_000,
        b"Content-Type: text/plain (" + b"(" * 1_000_000,
        b"X-Field: y\r\n" * 100_000 + b"\r\nbody",
        b"Content-Type: text/plain\r\n" * 100_000 + b"\r\nbody",
        lf(MIXED) + b"\r\n--" * 3_000_000,
        lf(MIXED) + b"--b\r\n\r\n" + b"\n" * 10_000_000,
        b"\0" * 1_000_000,
    ],
    ids=["long line", "folds", "parameters", "escapes", "comments", "fields", "types", "dashes", "lines", "nul"],
)
def test_huge_and_hostile_messages_are_scanned(message: bytes) -> None:
    root = scan(message)
    assert root.body_end == len(message)
    assert len(root.to_bytes()) < 200
