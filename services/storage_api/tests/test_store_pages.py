"""The codec of pages, tails and directories, and the row operations: round trips and properties."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_store_client.types import DEAD, Columns, MailboxId
from storage_api.store import rows
from storage_api.store.pages import (
    IMMUTABLE,
    MUTABLE,
    PageRef,
    immutable_fields,
    living,
    mutable_fields,
    pack_directory,
    pack_tail,
    page_id,
    page_id_range,
    split_page_id,
    unpack_directory,
    unpack_page,
    unpack_tail,
)
from storage_api.store.workspace import match

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def columns(draw: st.DrawFn, max_rows: int = 40) -> Columns:
    count = draw(st.integers(0, max_rows))
    words = draw(st.integers(1, 4))

    def column(code: str, values: st.SearchStrategy[int]) -> array[int]:
        return array(code, draw(st.lists(values, min_size=count, max_size=count)))

    uids = draw(st.lists(st.integers(1, 2**32 - 1), min_size=count, max_size=count, unique=True))
    return Columns(
        array("I", sorted(uids)),
        column("Q", U64),
        [column("Q", U64) for _ in range(words)],
        bytearray(draw(st.binary(min_size=16 * count, max_size=16 * count))),
        column("q", I64),
        column("q", I64),
        column("I", U32),
    )


@given(columns())
def test_tail_round_trip(given_rows: Columns) -> None:
    assert unpack_tail(pack_tail(given_rows)) == given_rows


@given(columns())
def test_page_round_trip(given_rows: Columns) -> None:
    assert unpack_page(immutable_fields(given_rows), mutable_fields(given_rows)) == given_rows


@given(st.binary(max_size=400))
def test_bytes_that_are_no_tail_are_refused(data: bytes) -> None:
    try:
        found = unpack_tail(data)
    except ValueError:
        return
    assert pack_tail(found) == data


def test_a_page_with_columns_of_different_length_is_refused() -> None:
    page = columns_of(3)
    with pytest.raises(ValueError, match="differ in length"):
        unpack_page(immutable_fields(page), mutable_fields(columns_of(2)))


@given(st.lists(st.builds(PageRef, U32, U32, st.integers(0, 65535), st.integers(0, 65535)), max_size=20))
def test_directory_round_trip(pages: list[PageRef]) -> None:
    assert unpack_directory(pack_directory(pages)) == pages
    assert len(pack_directory(pages)) == 12 * len(pages)


@pytest.mark.parametrize("data", [b"x", bytes(13)])
def test_a_cut_directory_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no page directory"):
        unpack_directory(data)


@given(st.lists(U32, min_size=2, unique=True))
def test_page_ids_sort_as_their_numbers_and_stay_in_the_mailboxs_range(numbers: list[int]) -> None:
    mailbox_id = MailboxId(bytes(range(16)))
    ids = [page_id(mailbox_id, number, kind) for number in sorted(numbers) for kind in (IMMUTABLE, MUTABLE)]
    assert ids == sorted(ids)
    first, last = page_id_range(mailbox_id)
    assert all(first <= one <= last and len(one) == len(first) == len(last) for one in ids)
    assert [split_page_id(one) for one in ids[:2]] == [(mailbox_id, min(numbers), kind) for kind in (b"i", b"m")]


@given(columns(), st.data())
def test_pick_takes_the_rows_named(given_rows: Columns, data: st.DataObject) -> None:
    count = len(given_rows)
    wanted = sorted(data.draw(st.sets(st.integers(0, count - 1))) if count else set())
    picked = rows.pick(given_rows, wanted)
    for position, row in enumerate(wanted):
        assert picked.uids[position] == given_rows.uids[row]
        assert picked.words(position) == given_rows.words(row)
        assert picked.body_id(position) == given_rows.body_id(row)
        assert picked.sizes[position] == given_rows.sizes[row]
    assert len(picked) == len(wanted)


@given(columns(), columns())
def test_extend_joins_rows_of_any_number_of_flag_words(one: Columns, two: Columns) -> None:
    both = rows.copy(one)
    rows.extend(both, two)
    assert list(both.uids) == [*one.uids, *two.uids]
    words = len(both.flags)
    padded = [(*source.words(row), *[0] * (words - len(source.flags))) for source in (one, two) for row in _all(source)]
    assert [both.words(row) for row in _all(both)] == padded
    assert bytes(both.body_ids) == bytes(one.body_ids) + bytes(two.body_ids)


@given(columns())
def test_living_rows_are_those_without_the_dead_bit(given_rows: Columns) -> None:
    assert living(given_rows) == [row for row in _all(given_rows) if not given_rows.flags[0][row] & DEAD]


@given(st.sets(st.integers(1, 300)), st.sets(st.integers(1, 300)))
def test_match_finds_exactly_the_common_uids(held: set[int], asked: set[int]) -> None:
    column, uids = array("I", sorted(held)), array("I", sorted(asked))
    found = match(column, uids, 0, len(uids))
    assert [column[row] for row in found] == sorted(held & asked)


def columns_of(count: int) -> Columns:
    made = rows.empty()
    for uid in range(1, count + 1):
        rows.add(made, uid=uid, modseq=1, words=(0,), body_id=bytes(16), internal_date=0, save_date=0, size=1)
    return made


def _all(source: Columns) -> range:
    return range(len(source.uids))
