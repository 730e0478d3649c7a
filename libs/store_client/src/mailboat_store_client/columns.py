"""Packed columns: arrays of numbers as little-endian bytes, the form in which records travel and rest.

A column of n u32 is 4 n bytes; on a big-endian machine the bytes are swapped on the way in and out. `Ends` columns hold
values of varying length: the values joined, and the end of each as u32. All functions are pure; a column whose
length isn't a multiple of its item size raises ValueError.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

_BIG_ENDIAN = sys.byteorder == "big"

U32 = "I"
U64 = "Q"
I64 = "q"


def pack(values: array[int]) -> bytes:
    """The bytes of a column."""
    if _BIG_ENDIAN:
        values = values[:]
        values.byteswap()
    return values.tobytes()


def unpack(typecode: str, data: bytes) -> array[int]:
    """A column from its bytes; `typecode` is U32, U64 or I64."""
    values = array(typecode)
    values.frombytes(data)
    if _BIG_ENDIAN:
        values.byteswap()
    return values


def pack_numbers(typecode: str, values: Iterable[int]) -> bytes:
    """The bytes of a column from any numbers (an array of that type is taken as it is)."""
    if isinstance(values, array) and values.typecode == typecode:
        return pack(values)
    return pack(array(typecode, values))


def pack_ids(ids: Sequence[bytes]) -> bytes:
    """16-byte ids, joined."""
    joined = b"".join(ids)
    if len(joined) != 16 * len(ids):
        raise ValueError("an id isn't 16 bytes")
    return joined


def unpack_ids(data: bytes) -> list[bytes]:
    """The 16-byte ids of a joined column."""
    if len(data) % 16:
        raise ValueError(f"{len(data)} bytes are no column of 16-byte ids")
    return [data[i : i + 16] for i in range(0, len(data), 16)]


def join(values: Sequence[bytes | None]) -> tuple[bytes, bytes, bytes]:
    """(ends, data, absent) of values of varying length; `absent` has one byte a row, 1 where the value is None."""
    ends = array(U32)
    end = 0
    for value in values:
        end += len(value) if value is not None else 0
        ends.append(end)
    absent = bytes(value is None for value in values)
    return pack(ends), b"".join(value for value in values if value), absent


def split(ends: bytes, data: bytes, absent: bytes) -> list[bytes | None]:
    """The values `join` was given."""
    values: list[bytes | None] = []
    start = 0
    for end, missing in zip(unpack(U32, ends), absent, strict=True):
        if not start <= end <= len(data):
            raise ValueError("ends of a joined column don't rise within its data")
        values.append(None if missing else data[start:end])
        start = end
    return values


def ranges(values: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as (first, last) of each run; repeats count once."""
    found: list[tuple[int, int]] = []
    first = last = -2
    for value in values:
        if value > last + 1:
            if first >= 0:
                found.append((first, last))
            first = value
        last = value
    if first >= 0:
        found.append((first, last))
    return tuple(found)


def pack_ranges(pairs: Iterable[tuple[int, int]]) -> bytes:
    """(first, last) pairs of u32, joined."""
    return pack_numbers(U32, chain.from_iterable(pairs))


def unpack_ranges(data: bytes) -> tuple[tuple[int, int], ...]:
    """What `pack_ranges` packed."""
    numbers = unpack(U32, data)
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
