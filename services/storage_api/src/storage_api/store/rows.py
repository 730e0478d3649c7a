"""Working on `Columns` in memory: the rows of a page or a tail.

A flags column that is missing means all zero, so tables with different numbers of words meet here and nowhere else.
`body_ids` of columns made here are bytearrays. Nothing here knows documents or databases.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from mailboat_store_client.types import Columns


def empty(words: int = 1) -> Columns:
    """No rows."""
    return Columns(flags=[array("Q") for _ in range(words)], body_ids=bytearray())


def widen(columns: Columns, words: int) -> None:
    """Give `columns` at least `words` flag words."""
    while len(columns.flags) < words:
        columns.flags.append(array("Q", bytes(8 * len(columns.uids))))


def extend(columns: Columns, more: Columns) -> None:
    """Append the rows of `more`."""
    widen(columns, len(more.flags))
    columns.uids.extend(more.uids)
    columns.modseqs.extend(more.modseqs)
    for word, column in enumerate(columns.flags):
        if word < len(more.flags):
            column.extend(more.flags[word])
        else:
            column.frombytes(bytes(8 * len(more.uids)))
    columns.body_ids = bytearray(columns.body_ids)
    columns.body_ids += more.body_ids
    columns.internal_dates.extend(more.internal_dates)
    columns.save_dates.extend(more.save_dates)
    columns.sizes.extend(more.sizes)


def part(columns: Columns, start: int, end: int) -> Columns:
    """Rows [start, end) as columns of their own."""
    return Columns(
        uids=columns.uids[start:end],
        modseqs=columns.modseqs[start:end],
        flags=[column[start:end] for column in columns.flags],
        body_ids=bytearray(columns.body_ids[16 * start : 16 * end]),
        internal_dates=columns.internal_dates[start:end],
        save_dates=columns.save_dates[start:end],
        sizes=columns.sizes[start:end],
    )


def copy(columns: Columns) -> Columns:
    """The same rows, independent of the original."""
    return part(columns, 0, len(columns.uids))


def pick(columns: Columns, rows: Sequence[int]) -> Columns:
    """The rows at these indexes, in the order given."""
    if len(rows) == len(columns.uids) and (not rows or (rows[0] == 0 and rows[-1] == len(rows) - 1)):
        return copy(columns)
    ids = columns.body_ids
    return Columns(
        uids=array("I", [columns.uids[i] for i in rows]),
        modseqs=array("Q", [columns.modseqs[i] for i in rows]),
        flags=[array("Q", [column[i] for i in rows]) for column in columns.flags],
        body_ids=bytearray().join([ids[16 * i : 16 * i + 16] for i in rows]),
        internal_dates=array("q", [columns.internal_dates[i] for i in rows]),
        save_dates=array("q", [columns.save_dates[i] for i in rows]),
        sizes=array("I", [columns.sizes[i] for i in rows]),
    )


def add(
    columns: Columns,
    *,
    uid: int,
    modseq: int,
    words: Sequence[int],
    body_id: bytes,
    internal_date: int,
    save_date: int,
    size: int,
) -> None:
    """Append one row."""
    widen(columns, len(words))
    columns.uids.append(uid)
    columns.modseqs.append(modseq)
    for word, column in enumerate(columns.flags):
        column.append(words[word] if word < len(words) else 0)
    columns.body_ids = bytearray(columns.body_ids)
    columns.body_ids += body_id
    columns.internal_dates.append(internal_date)
    columns.save_dates.append(save_date)
    columns.sizes.append(size)


def trim(columns: Columns) -> Columns:
    """Drop the last flag words while they are all zero; at least one stays."""
    while len(columns.flags) > 1 and not any(columns.flags[-1]):
        columns.flags.pop()
    return columns


def joined(pieces: Iterable[Columns]) -> Columns:
    """All rows of several columns, one after the other."""
    out = empty()
    for piece in pieces:
        extend(out, piece)
    return trim(out)
