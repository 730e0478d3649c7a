"""One flag of many messages at memory speed: which rows of a flag column have a bit.

A column is 8 bytes a row. Every eighth byte, translated to 0 or 1, is a mask over the rows with no work per row in
Python.
"""

from __future__ import annotations

import sys
from array import array

_TABLES = {
    (bit, present): bytes(bool(value & 1 << bit) is present for value in range(256))
    for bit in range(8)
    for present in (False, True)
}


def rows_with(column: array[int], mask: int, *, present: bool = True) -> bytes:
    """One byte a row: 1 where the bit `mask` (a power of two) is set, or is not set if not `present`."""
    bit = mask.bit_length() - 1
    place = bit >> 3 if sys.byteorder == "little" else 7 - (bit >> 3)
    return column.tobytes()[place::8].translate(_TABLES[bit & 7, present])
