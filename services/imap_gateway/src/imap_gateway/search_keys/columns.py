"""Keys that the view's columns decide: flags, sets, sizes, modseqs, internal and save dates."""

from __future__ import annotations

import datetime as dt
from array import array
from bisect import bisect_left, bisect_right

from mailboat_wire.imap import types as t

from ..flagbits import rows_with
from .base import Key, Mask, Search, of_columns
from .texts import sent

DAY_MS = 86_400_000


def _all(search: Search, _key: t.SearchAll) -> Mask:
    return b"\1" * len(search.rows)


def _flag(search: Search, key: t.SearchFlag) -> Mask:
    bit = search.rows.flag_table.bit(key.flag.decode("ascii"))
    if bit is None or bit[0] >= len(search.rows.flags):
        return (b"\0" if key.present else b"\1") * len(search.rows)
    return rows_with(search.rows.flags[bit[0]], bit[1], present=key.present)


def _recent(search: Search, _key: t.SearchRecent) -> Mask:
    old = bisect_left(search.rows.uids, search.rows.recent_from)
    return bytes(old) + b"\1" * (len(search.rows) - old)


def _sequence(search: Search, key: t.SearchSequence) -> Mask:
    uids = search.rows.uids
    found = bytearray(len(uids))
    for low, high in search.sequences[key]:
        start, end = bisect_left(uids, low), bisect_right(uids, high)
        found[start:end] = b"\1" * (end - start)
    return bytes(found)


def _size(search: Search, key: t.SearchSize) -> Mask:
    limit = key.size
    if key.larger:
        return bytes([size > limit for size in search.rows.sizes])
    return bytes([size < limit for size in search.rows.sizes])


def _modseq(search: Search, key: t.SearchModseq) -> Mask:
    return bytes([modseq >= key.modseq for modseq in search.rows.modseqs])


def _within(search: Search, key: t.SearchWithin) -> Mask:
    edge = int((search.now - key.seconds) * 1000)
    if key.younger:
        return bytes([date >= edge for date in search.rows.internal_dates])
    return bytes([date <= edge for date in search.rows.internal_dates])


def _day(dates: array[int], test: t.DateTest, day: dt.date) -> Mask:
    start = (day - dt.date(1970, 1, 1)).days * DAY_MS
    end = start + DAY_MS
    match test:
        case t.DateTest.BEFORE:
            return bytes([date < start for date in dates])
        case t.DateTest.SINCE:
            return bytes([date >= start for date in dates])
        case t.DateTest.ON:
            return bytes([start <= date < end for date in dates])


_INTERNAL = of_columns(lambda search, key: _day(search.rows.internal_dates, key.test, key.day))
_SAVED = of_columns(lambda search, key: _day(search.rows.save_dates, key.test, key.day))


async def _date(search: Search, key: t.SearchDate, candidates: Mask) -> Mask:
    """INTERNALDATE is kept and compared in UTC; SENT… looks at the Date field as written."""
    match key.field:
        case t.DateField.INTERNAL:
            return await _INTERNAL.decide(search, key, candidates)
        case t.DateField.SAVED:
            return await _SAVED.decide(search, key, candidates)
        case t.DateField.SENT:
            return await sent(search, key, candidates)


ALL = of_columns(_all)
FLAG = of_columns(_flag)
RECENT = of_columns(_recent)
SEQUENCE = of_columns(_sequence)
SIZE = of_columns(_size)
MODSEQ = of_columns(_modseq)
WITHIN = of_columns(_within)
DATE = Key(_date, lambda _search, key: int(key.field is t.DateField.SENT))
