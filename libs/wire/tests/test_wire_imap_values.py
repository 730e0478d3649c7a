"""Sequence sets, mailbox names, flags and sections: tables and round trips."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.imap.flags import canonical_flags
from mailboat_wire.imap.names import decode_text, encode_name, mutf7_decode, mutf7_encode, normalise_inbox
from mailboat_wire.imap.sequence import (
    SequenceSet,
    compact,
    compact_ordered,
    render_ranges,
    runs,
)
from mailboat_wire.imap.types import FetchSection, Section, SectionText


@pytest.mark.parametrize(
    ("text", "maximum", "resolved"),
    [
        (b"2,4:7,9,12:*", 15, ((2, 2), (4, 7), (9, 9), (12, 15))),  # RFC 9051 section 9
        (b"*:4,5:7", 10, ((4, 10),)),
        (b"*", 3, ((3, 3),)),
        (b"5:*", 3, ((3, 5),)),
        (b"*:5", 3, ((3, 5),)),
        (b"7:5,6:9,1", 3, ((1, 1), (5, 9))),
        (b"1:2,3:4", 9, ((1, 4),)),
        (b"1:*", 0, ()),
        (b"1:3,*", 0, ((1, 3),)),
        (b"1:4294967295", 5, ((1, 4294967295),)),
    ],
)
def test_sets_resolve(text, maximum, resolved):
    parsed = SequenceSet.parse(text)
    assert parsed.resolve(maximum) == resolved
    assert parsed.render() == text


@pytest.mark.parametrize(
    "text", [b"", b"0", b"01", b"1,", b",1", b"a", b"1-2", b"1:2:3", b"1:", b"**", b"4294967296", b"$,1", b" 1"]
)
def test_what_is_no_set(text):
    with pytest.raises(ValueError, match=r"."):
        SequenceSet.parse(text)


def test_sets_are_bounded():
    assert len(SequenceSet.parse(b",".join([b"1"] * 32_768)).ranges) == 32_768
    with pytest.raises(ValueError, match="many"):
        SequenceSet.parse(b",".join([b"1"] * 32_769))


def test_facts_of_a_set():
    assert SequenceSet.parse(b"1,*").has_star
    assert not SequenceSet.parse(b"1,2:7").has_star
    assert SequenceSet.parse(b"$").saved
    assert SequenceSet.parse(b"$").render() == b"$"


ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8)


@given(ranges, st.integers(1, 40))
def test_resolving_keeps_exactly_the_numbers_named(pairs, maximum):
    resolved = SequenceSet(tuple(pairs)).resolve(maximum)
    named = set()
    for low, high in pairs:
        first, last = sorted((low or maximum, high or maximum))
        named.update(range(first, last + 1))
    assert {number for low, high in resolved for number in range(low, high + 1)} == named
    assert all(before[1] + 1 < after[0] for before, after in pairwise(resolved))


@given(st.sets(st.integers(1, 300), max_size=200).map(sorted))
def test_compacting_loses_nothing(values):
    text = compact(values)
    assert text == render_ranges(runs(values)) == compact_ordered(values)
    pairs = SequenceSet.parse(text).resolve(1) if text else ()
    back = [number for low, high in pairs for number in range(low, high + 1)]
    assert back == values


def test_compact_examples():
    assert compact([]) == b""
    assert compact([1, 2, 3, 7, 9, 10]) == b"1:3,7,9:10"
    assert compact(range(5, 100_005)) == b"5:100004"
    assert compact_ordered([7, 8, 3, 4, 9]) == b"7:8,3:4,9"


NAMES = [
    ("INBOX", b"INBOX"),
    ("Entwürfe", b"Entw&APw-rfe"),
    ("a&b", b"a&-b"),
    ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 5.1.3
    ("☺!", b"&Jjo-!"),
    ("😀", b"&2D3eAA-"),
    ("", b""),
]


@pytest.mark.parametrize(("name", "raw"), NAMES)
def test_modified_utf7(name, raw):
    assert mutf7_encode(name) == raw
    assert mutf7_decode(raw) == name


@pytest.mark.parametrize(
    "raw",
    [
        b"a&",
        b"&A-",
        b"&AGE-",
        b"&U,BTFw-&ZeVnLIqe-",
        b"&2D0-",
        b"&APw",
        b"\xff",
        b"a\x07",
        b"&AP w-",
        b"&APx-",
        b"&AP/8-",
        b"&AAA-x\x00",
    ],
)
def test_what_is_not_canonical_is_refused(raw):
    with pytest.raises(ValueError, match=r"."):
        mutf7_decode(raw)


@given(st.text())
def test_modified_utf7_round_trip(name):
    if any("\ud800" <= char <= "\udfff" for char in name):
        return
    raw = mutf7_encode(name)
    assert raw.isascii()
    assert mutf7_decode(raw) == name


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))), st.booleans())
def test_a_name_has_one_form(name, utf8):
    decoded = decode_text(encode_name(name, utf8=utf8), utf8=utf8)
    assert decode_text(encode_name(decoded, utf8=utf8), utf8=utf8) == decoded


@pytest.mark.parametrize(
    ("raw", "name"),
    [(b"iNbOx", "INBOX"), (b"Inbox/Sub", "INBOX/Sub"), (b"Inboxes", "Inboxes"), (b"a/inbox", "a/inbox")],
)
def test_inbox_ignores_case(raw, name):
    assert normalise_inbox(decode_text(raw, utf8=False)) == name


@pytest.mark.parametrize(
    ("raw", "utf8"), [(b"&AAc-", False), (b"a\x7f", True), ("a\u2028".encode(), True), (b"\xc3", True)]
)
def test_control_characters_and_bad_utf8_are_no_names(raw, utf8):
    with pytest.raises(ValueError, match=r"."):
        decode_text(raw, utf8=utf8)


def test_flags_have_one_form():
    assert canonical_flags([b"\\seen", b"\\recent", b"$a", b"$A", b"\\Seen"]) == (b"\\Seen", b"$a")


@pytest.mark.parametrize(
    ("section", "rendered"),
    [
        (Section(), b""),
        (Section((1, 2)), b"1.2"),
        (Section((), SectionText.TEXT), b"TEXT"),
        (Section((3,), SectionText.MIME), b"3.MIME"),
        (Section((), SectionText.HEADER_FIELDS, (b"From", b'a"b')), b'HEADER.FIELDS (From "a\\"b")'),
        (Section((1,), SectionText.HEADER_FIELDS_NOT, (b"X",)), b"1.HEADER.FIELDS.NOT (X)"),
    ],
)
def test_sections_are_repeated_in_answers(section, rendered):
    assert section.render() == rendered
    assert FetchSection(b"BODY[", section, peek=True).label() == b"BODY[" + rendered + b"]"
    assert FetchSection(b"BODY[", section, partial=(7, 9)).label() == b"BODY[" + rendered + b"]<7>"
