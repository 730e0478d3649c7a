"""Sets of message numbers and UIDs: parsing, resolving `*`, and writing them back short.

RFC 9051 section 9: sequence-set, seq-range, uid-set; RFC 5182: `$`. Numbers are 1…2**32-1.

Rules: a set keeps the client's ranges in order (at most MAX_RANGES); resolving sorts and joins them, so that no later
code does work per number a client merely named: `1:4294967295` costs one range.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_NUMBER = 0xFFFFFFFF
MAX_RANGES = 32_768
STAR = 0  # stands for `*` in a range: no message has number 0

_SET = re.compile(
    rb"(?:\*|[1-9][0-9]{0,9})(?::(?:\*|[1-9][0-9]{0,9}))?(?:,(?:\*|[1-9][0-9]{0,9})(?::(?:\*|[1-9][0-9]{0,9}))?)*"
)


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """A sequence-set as sent. `ranges` holds (from, to) in the client's order, STAR (0) being `*`; `saved` is `$`."""

    ranges: tuple[tuple[int, int], ...]
    saved: bool = False

    @classmethod
    def parse(cls, text: bytes) -> SequenceSet:
        """Parse a whole sequence-set. ValueError if it isn't one."""
        if text == b"$":
            return cls((), saved=True)
        if _SET.fullmatch(text) is None:
            raise ValueError("not a sequence set")
        pieces = text.split(b",")
        if len(pieces) > MAX_RANGES:
            raise ValueError("too many ranges")
        ranges: list[tuple[int, int]] = []
        for piece in pieces:
            first, colon, last = piece.partition(b":")
            low = STAR if first == b"*" else int(first)
            high = low if not colon else STAR if last == b"*" else int(last)
            if low > MAX_NUMBER or high > MAX_NUMBER:
                raise ValueError("number out of range")
            ranges.append((low, high))
        return cls(tuple(ranges))

    @property
    def has_star(self) -> bool:
        return any(STAR in (low, high) for low, high in self.ranges)

    def resolve(self, maximum: int) -> tuple[tuple[int, int], ...]:
        """Sorted, disjoint, non-adjacent (low, high) ranges, `*` being `maximum` (0: an empty mailbox, where `*` is
        nothing).

        Not clipped: numbers above `maximum` that the client named stay. `5:*` with maximum 3 is 3:5 (RFC 9051).
        """
        pairs = []
        for low, high in self.ranges:
            if STAR in (low, high):
                if maximum == 0:
                    continue
                low, high = low or maximum, high or maximum  # noqa: PLW2901
            pairs.append((low, high) if low <= high else (high, low))
        if len(pairs) < 2:
            return tuple(pairs)
        pairs.sort()
        merged = [pairs[0]]
        for low, high in pairs[1:]:
            last_low, last_high = merged[-1]
            if low <= last_high + 1:
                if high > last_high:
                    merged[-1] = (last_low, high)
            else:
                merged.append((low, high))
        return tuple(merged)

    def render(self) -> bytes:
        """The set as it goes on the wire."""
        if self.saved:
            return b"$"
        return b",".join(
            _number(low) if low == high else b"%b:%b" % (_number(low), _number(high)) for low, high in self.ranges
        )


def _number(number: int) -> bytes:
    return b"*" if number == STAR else b"%d" % number


def runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """The runs of consecutive numbers of strictly ascending `values`, as (low, high).

    Costs O(log n) a run, not O(1) a number: within a run, value minus index is constant, so its end is found by
    galloping.
    """
    found: list[tuple[int, int]] = []
    count = len(values)
    start = 0
    while start < count:
        low = values[start]
        end = start + 1
        if end < count and values[end] == low + 1:
            step = 2
            good = end
            while start + step < count and values[start + step] == low + step:
                good = start + step
                step *= 2
            bad = min(start + step, count)
            while bad - good > 1:
                middle = (good + bad) // 2
                if values[middle] - low == middle - start:
                    good = middle
                else:
                    bad = middle
            end = good + 1
        found.append((low, values[end - 1]))
        start = end
    return found


def render_ranges(ranges: Iterable[tuple[int, int]]) -> bytes:
    """`1:4,7,9:10` from resolved ranges; b"" from none."""
    return ",".join([f"{low}" if low == high else f"{low}:{high}" for low, high in ranges]).encode("ascii")


def compact(values: Sequence[int]) -> bytes:
    """A uid-set of strictly ascending `values`, as short as it gets: `1:4,7`; b"" from none."""
    return render_ranges(runs(values))


def compact_ordered(values: Sequence[int]) -> bytes:
    """A uid-set that keeps the order of `values`, which need not ascend (COPYUID and APPENDUID pair by position)."""
    parts: list[tuple[int, int]] = []
    for value in values:
        if parts and value == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], value)
        else:
            parts.append((value, value))
    return render_ranges(parts)
