"""What SORT and THREAD compare: the collation and a message's keys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailboat_mime import NO_KEYS, SortKeys, casemap
from mailboat_mime.ordering import MAX_REFERENCES, SUBJECT_LIMIT, TEXT_LIMIT, id_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b""),
        ("Hello, World [1]", b"HELLO, WORLD [1]"),
        ("Grüße", "GRU\u0308ßE".encode()),  # ß has no simple title case
        ("ĳ", b"IJ"),  # title case U+0132, of which IJ is the compatibility decomposition
        ("ǆ", "Dz\u030c".encode()),  # title case isn't upper case
        ("ﬁ", b"fi"),  # its full title case would be Fi
        ("Å", "A\u030a".encode()),  # the Ångström sign, decomposed twice
        ("ς", "Σ".encode()),
        ("한", "한".encode()),
        ("\ud800", b"?"),
    ],
)
def test_the_collation(text: str, expected: bytes) -> None:
    assert casemap(text) == expected


def keys(*lines: str) -> SortKeys:
    return SortKeys.of("\r\n".join([*lines, "", ""]).encode())


def test_the_keys_of_a_message() -> None:
    found = keys(
        "Date: Mon, 1 Jan 2001 01:01:33 +0100",
        "Subject: Re: [list] Grüße",
        "From: =?utf-8?q?J=C3=B6rg?= <Joerg@example.test>, other@example.test",
        "To: Team: a@example.test;",
        "Cc: <c@example.test>",
        "Message-ID: <m@example.test>",
        "References: <a@x> junk <b@x>",
        " <a@x>",
        "In-Reply-To: <z@x>",
    )
    assert found == SortKeys(
        sent=978_307_293,
        subject="GRU\u0308ßE".encode(),
        from_=b"JOERG",
        to=b"TEAM",
        cc=b"C",
        display_from="JO\u0308RG".encode(),
        display_to=b"TEAM",
        is_reply=True,
        message_id=id_number(b"m@example.test"),
        references=tuple(map(id_number, (b"a@x", b"b@x", b"a@x"))),
    )


def test_a_message_without_anything() -> None:
    assert keys("X: y") == NO_KEYS == SortKeys.from_bytes(NO_KEYS.to_bytes())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("From: A Name <a@example.test>", b"A NAME"),
        ('From: "" <a@example.test>', b"A@EXAMPLE.TEST"),
        ("From: =?utf-8?q??= <a@example.test>", b"A@EXAMPLE.TEST"),
        ("From: a@example.test (A Comment)", b"A COMMENT"),
        ("From: a@example.test", b"A@EXAMPLE.TEST"),
        ("From: Group: ;", b"GROUP"),
        ("From:", b""),
    ],
)
def test_what_is_shown_of_an_address(line: str, expected: bytes) -> None:
    assert keys(line).display_from == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["References: <a@x>", "In-Reply-To: <b@x>"], [b"a@x"]),
        (["References: none", "In-Reply-To: your <b@x> of <c@x>"], [b"b@x"]),
        (["References:", "In-Reply-To: someone"], []),
        (['References: <"a"@x> <"b c"@x> <"d\\"e"@x>'], [b"a@x", b"b c@x", b'd"e@x']),
        (["References: <> <<a@x> <b@x"], [b"a@x"]),
    ],
)
def test_references(lines: list[str], expected: list[bytes]) -> None:
    assert keys(*lines).references == tuple(map(id_number, expected))


def test_ids_compare_with_regard_to_case_and_without_quoting() -> None:
    assert id_number(b"A@x") != id_number(b"a@x")
    quoted, plain = (
        keys('Message-ID: <"01KF8JCEOCBS0045PS"@xxx.yyy.com>'),
        keys("Message-ID: <01KF8JCEOCBS0045PS@xxx.yyy.com>"),
    )
    assert quoted == plain != NO_KEYS


def test_keys_are_bounded() -> None:
    found = keys(
        "Subject: " + "ü" * 5000,
        "From: " + "x" * 5000 + " <" + "y" * 5000 + "@example.test>",
        "References: " + " ".join(f"<{number}@x>" for number in range(5000)),
    )
    assert len(found.subject) == SUBJECT_LIMIT
    assert len(found.from_) == len(found.display_from) == TEXT_LIMIT
    assert found.references[0] == id_number(b"0@x")
    assert found.references[1:] == tuple(id_number(b"%d@x" % number) for number in range(5001 - MAX_REFERENCES, 5000))


@pytest.mark.parametrize("piece", ["<", '<"', '"', "<a@b>", '<"\\"', "(", "a@b,"])
@pytest.mark.parametrize("name", ["Message-ID", "References", "From", "Subject", "Date"])
def test_hostile_fields_cost_linear_time(name: str, piece: str) -> None:
    keys(f"{name}: " + piece * 50_000)


_TEXT = st.binary(max_size=8)


@given(
    st.builds(
        SortKeys,
        sent=st.none() | st.integers(-(2**40), 2**40),
        subject=_TEXT,
        from_=_TEXT,
        to=_TEXT,
        cc=_TEXT,
        display_from=_TEXT,
        display_to=_TEXT,
        is_reply=st.booleans(),
        message_id=st.integers(0, 2**64 - 1),
        references=st.lists(st.integers(1, 2**64 - 1), max_size=4).map(tuple),
    )
)
@settings(max_examples=100, deadline=None)
def test_keys_survive_being_stored(found: SortKeys) -> None:
    assert SortKeys.from_bytes(found.to_bytes()) == found


@pytest.mark.parametrize("data", [b"", b"\2" + bytes(29), bytes(30), NO_KEYS.to_bytes() + b"x", b"\1" + b"\xff" * 29])
def test_other_octets_are_no_keys(data: bytes) -> None:
    with pytest.raises(ValueError, match="sort keys"):
        SortKeys.from_bytes(data)
