"""Header blocks: choosing, unfolding and decoding fields."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailboat_mime import (
    count_received,
    decode_words,
    field_selector,
    first_value,
    header_block,
    iter_fields,
    select_fields,
    unfold,
)
from mailboat_mime.headers import _CODECS, decode_charset, decode_extended, field_values

BLOCK = (
    b"Received: from a\r\n\tby b; x\r\nreceived : from c\r\nFROM: A <a@b>\r\nTo: x@y,\r\n z@w\r\nToo: no\r\n"
    b"junk line\r\nSubject:\r\nX-To: no\r\nTo: again\r\n\r\n"
)

SELECTED: list[tuple[bytes, tuple[bytes, ...], bool, bytes]] = [
    (BLOCK, (b"to",), False, b"To: x@y,\r\n z@w\r\nTo: again\r\n\r\n"),
    (BLOCK, (b"Subject", b"From"), False, b"FROM: A <a@b>\r\nSubject:\r\n\r\n"),
    (BLOCK, (b"RECEIVED",), False, b"Received: from a\r\n\tby b; x\r\nreceived : from c\r\n\r\n"),
    (BLOCK, (b"Cc",), False, b"\r\n"),
    (BLOCK, (), False, b"\r\n"),
    (BLOCK, (b"",), False, b"\r\n"),
    (BLOCK, (b"T.",), False, b"\r\n"),
    (BLOCK, (b"received", b"from", b"to", b"x-to"), True, b"Too: no\r\njunk line\r\nSubject:\r\n\r\n"),
    (BLOCK, (), True, BLOCK),
    (b"", (b"to",), False, b""),
    (b"\r\n", (b"to",), False, b"\r\n"),
    (b"\r\n", (b"to",), True, b"\r\n"),
    (b"To: x", (b"to",), False, b"To: x"),
    (b"To: x\r\n", (b"to",), False, b"To: x\r\n"),
    (b"To: x\nCc: y\n\n", (b"to",), False, b"To: x\n\n"),
    (b"To: x\nCc: y\n\n", (b"to",), True, b"Cc: y\n\n"),
    (b" To: not a field\r\nTo: x\r\n\r\n", (b"to",), False, b"To: x\r\n\r\n"),
    (b"To: a\0\xff\r\n\r\n", (b"to",), False, b"To: a\0\xff\r\n\r\n"),
]


@pytest.mark.parametrize(("block", "names", "negate", "expected"), SELECTED)
def test_select_fields(block: bytes, names: tuple[bytes, ...], negate: bool, expected: bytes) -> None:
    assert select_fields(block, names, negate) == expected
    assert select_fields(block, list(names), negate) == expected
    assert field_selector(names, negate)(block) == expected


HEADERS = st.lists(
    st.sampled_from([b"To", b"To ", b"Cc", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"x", b"\0", b"\xff", b": a\r\n"]),
    max_size=30,
).map(lambda pieces: header_block(b"".join(pieces)))


@given(HEADERS, st.sets(st.sampled_from([b"To", b"Cc", b"x", b"tox"])))
@settings(max_examples=400, deadline=None)
def test_selection_and_its_negation_share_out_the_block(block: bytes, names: set[bytes]) -> None:
    chosen, rest = select_fields(block, names), select_fields(block, names, True)
    fields = [(name.lower() in {n.lower() for n in names}, raw) for name, raw, _ in iter_fields(block)]
    blank = block[sum(len(raw) for _, raw in fields) :]
    assert blank in (b"", b"\n", b"\r\n")
    assert chosen == b"".join(raw for named, raw in fields if named) + blank
    assert rest == b"".join(raw for named, raw in fields if not named) + blank


@given(HEADERS, st.sampled_from([b"To", b"cc", b"x", b"tox", b""]))
@settings(max_examples=400, deadline=None)
def test_values_of_one_name_are_those_of_its_fields(block: bytes, name: bytes) -> None:
    fields = [
        (field.lower(), value) for field, _, value in iter_fields(block) if field and field.lower() == name.lower()
    ]
    assert [(field, value.rstrip(b"\r\n")) for field, value in field_values(block, (name,))] == fields
    assert field_values(block, (name,)) == field_values(block, (name, b"no such field"))


def test_iter_fields() -> None:
    assert list(iter_fields(b"A: b\r\n c\r\nno field\r\nD :e:f\r\n x: y\r\n\r\n")) == [
        (b"A", b"A: b\r\n c\r\n", b" b\r\n c"),
        (b"", b"no field\r\n", b"no field"),
        (b"D", b"D :e:f\r\n x: y\r\n", b"e:f\r\n x: y"),
    ]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"A: b\r\n\r\nbody\r\n\r\n", b"A: b\r\n\r\n"),
        (b"A: b\n\nbody", b"A: b\n\n"),
        (b"\r\nbody", b"\r\n"),
        (b"\nbody", b"\n"),
        (b"A: b", b"A: b"),
        (b"", b""),
        (b"A: b\r\n \r\nC: d\r\n\r\n", b"A: b\r\n \r\nC: d\r\n\r\n"),
    ],
)
def test_header_block(message: bytes, expected: bytes) -> None:
    assert header_block(message) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b" a\r\n b ", b"a b"),
        (b"a\r\n\tb", b"a b"),
        (b"a\n  b", b"a  b"),
        (b"a\rb\0c", b"a b c"),
        (b"\r\n a", b"a"),
        (b" ", b""),
    ],
)
def test_unfold(value: bytes, expected: bytes) -> None:
    assert unfold(value) == expected


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\t", b" ", b"a"])).map(b"".join))
def test_unfold_replaces_each_fold_where_it_stands(value: bytes) -> None:
    folds = re.sub(rb"\r?\n(\t?)", lambda fold: b" " if fold[1] else b"", value)
    assert unfold(value) == folds.strip(b" \t\r\n").replace(b"\r", b" ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", "plain"),
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a_b?=", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        (b"=?US-ASCII*EN?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
        (b"x =?utf-8?B?R3LDvMOfZQ==?= y", "x Grüße y"),
        (b"=?utf-8?b?R3LD?= =?UTF-8?B?vMOfZQ?=", "Grüße"),
        (b"=?utf-8?q?R=C3?= =?utf-8?q?=BC?=", "Rü"),
        (b"=?utf-8?q?a b?=", "a b"),
        (b"=?x-unknown?q?=C3=BC?=", "ü"),
        (b"=?x-unknown?q?=FC?=", "ü"),
        (b"=?iso-8859-15?q?=A4?=", "€"),
        (b"=?windows-1251?b?z/Do4uXy?=", "Привет"),
        (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?zlib?q?x?=", "x"),
        (b"=?unicode_escape?q?=5Cud800?=", "\\ud800"),
        (b"=?utf-7?q?+2AA-?=", "?"),
        (b"=?utf-8?b?!!!?=", ""),
        (b"=?utf-8?q?=ZZ?=", "=ZZ"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("latin-1"), "Grüße"),
        (b"=?utf-8?q?a?=b", "ab"),
        (b"", ""),
    ],
)
def test_decode_words(value: bytes, expected: str) -> None:
    assert decode_words(value) == expected


@given(
    st.lists(st.sampled_from([b"=?", b"utf-8", b"utf-7", b"?q?", b"?b?", b"?=", b"=C3", b"w7w", b" ", b"\xff", b"*x"]))
)
@settings(max_examples=300, deadline=None)
def test_decode_words_gives_text_that_can_be_encoded(pieces: list[bytes]) -> None:
    text = decode_words(b"".join(pieces))
    assert text.encode("utf-8").decode("utf-8") == text


@given(st.sampled_from(sorted(_CODECS)), st.binary(max_size=40))
@settings(max_examples=400, deadline=None)
def test_every_charset_decodes_any_bytes(charset: str, data: bytes) -> None:
    text = decode_charset(data, charset.encode())
    assert text.encode("utf-8").decode("utf-8") == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"us-ascii'en-us'This%20is%20%2A%2A%2Afun", "This is ***fun"),
        (b"utf-8''%e2%82%ac%20rates", "€ rates"),
        (b"iso-8859-1'en'%A3%20rates", "£ rates"),
        (b"no%20charset", "no charset"),
        (b"x''%", "%"),
    ],
)
def test_decode_extended(value: bytes, expected: str) -> None:
    assert decode_extended(value) == expected


def test_first_value_and_received() -> None:
    assert first_value(BLOCK, b"to") == b"x@y, z@w"
    assert first_value(BLOCK, b"subject") == b""
    assert first_value(BLOCK, b"cc") is None
    assert count_received(BLOCK) == 2
    assert count_received(b"X: Received: y\r\n Received: z\r\n\r\n") == 0
    assert count_received(b"Received: x\r\n" * 101 + b"\r\n") == 101
