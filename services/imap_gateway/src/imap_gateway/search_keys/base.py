"""What SEARCH keys work on: a snapshot of the rows, and masks over them.

A mask has one byte a row, 0 or 1: it is made by one comprehension, combined as one big number, and read by `compress`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mailboat_store_client.types import BodyId, FlagTable
from mailboat_wire.imap import types as t

if TYPE_CHECKING:
    from ..gateway import Gateway
    from ..progress import Progress
    from ..selected import Ranges, Selected
    from ..view import View

Mask = bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows a SEARCH looks at: those the client knows. Copies, so that waiting for the store changes nothing."""

    uids: array[int]
    modseqs: array[int]
    flags: Sequence[array[int]]
    internal_dates: array[int]
    save_dates: array[int]
    sizes: array[int]
    body_ids: bytes
    flag_table: FlagTable
    recent_from: int

    @classmethod
    def of(cls, selected: Selected) -> Snapshot:
        """The rows of a session's mailbox."""
        view: View = selected.view
        count = bisect_right(view.uids, selected.tracker.ceiling)
        return cls(
            view.uids[:count],
            view.modseqs[:count],
            [column[:count] for column in view.flags],
            view.internal_dates[:count],
            view.save_dates[:count],
            view.sizes[:count],
            bytes(view.body_ids[: 16 * count]),
            view.flag_table,
            selected.recent_from,
        )

    def __len__(self) -> int:
        return len(self.uids)

    def body_id(self, row: int) -> BodyId:
        """The body id of a row."""
        return BodyId(self.body_ids[16 * row : 16 * row + 16])

    def mask(self, rows: Sequence[int]) -> Mask:
        """The mask of these rows."""
        found = bytearray(len(self))
        for row in rows:
            found[row] = 1
        return bytes(found)


@dataclass(frozen=True, slots=True)
class Search:
    """One SEARCH under way. `sequences` are the message sets it names, resolved when it began."""

    gateway: Gateway
    selected: Selected
    rows: Snapshot
    sequences: Mapping[t.SearchSequence, Ranges]
    now: float
    progress: Progress

    async def evaluate(self, key: t.SearchKey, candidates: Mask) -> Mask:
        """Which of the candidates match."""
        from . import SEARCH_KEYS  # noqa: PLC0415 - the registry imports the keys, the keys this

        return await SEARCH_KEYS[type(key)].decide(self, key, candidates)

    def cost(self, key: t.SearchKey) -> int:
        """How dear a key is, so that the dearest is asked last and of the fewest messages."""
        from . import SEARCH_KEYS  # noqa: PLC0415

        return SEARCH_KEYS[type(key)].cost(self, key)


@dataclass(frozen=True, slots=True)
class Key:
    """One kind of key: `decide` narrows the candidates; `cost` 0: the view knows, 1: headers, 2: whole messages."""

    decide: Callable[[Search, Any, Mask], Awaitable[Mask]]
    cost: Callable[[Search, Any], int]


def of_columns(test: Callable[[Search, Any], Mask]) -> Key:
    """A key that the view's columns decide for all rows at once."""

    async def decide(search: Search, key: Any, candidates: Mask) -> Mask:
        return both(test(search, key), candidates)

    return Key(decide, lambda _search, _key: 0)


def both(left: Mask, right: Mask) -> Mask:
    """Rows in both masks."""
    return (int.from_bytes(left, "little") & int.from_bytes(right, "little")).to_bytes(len(left), "little")


def either(left: Mask, right: Mask) -> Mask:
    """Rows in one of the masks."""
    return (int.from_bytes(left, "little") | int.from_bytes(right, "little")).to_bytes(len(left), "little")


def without(left: Mask, right: Mask) -> Mask:
    """Rows of `left` that aren't in `right`."""
    taken = int.from_bytes(left, "little")
    return (taken & ~int.from_bytes(right, "little")).to_bytes(len(left), "little")
