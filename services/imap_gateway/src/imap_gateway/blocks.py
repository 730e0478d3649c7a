"""Rendered FETCH responses, kept by the block: what a mail client asks for again and again is joined, not formatted.

A block is BLOCK_ROWS aligned rows of a view, rendered for one list of FETCH items, numbers included. It is right as
long as
none of its rows changed and none before it vanished; the view drops blocks in the same step in which it changes rows.
All blocks of the process share one bound in bytes, least recently used first out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable

BLOCK_ROWS = 256
_OVERHEAD = 200


class BlockCache:
    """All rendered blocks of the process, at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._blocks: OrderedDict[tuple[ViewBlocks, int, Hashable], bytes] = OrderedDict()

    def of_view(self) -> ViewBlocks:
        """The blocks of one new view."""
        return ViewBlocks(self)

    def get(self, owner: ViewBlocks, number: int, what: Hashable) -> bytes | None:
        key = owner, number, what
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
        return block

    def put(self, owner: ViewBlocks, number: int, what: Hashable, block: bytes) -> None:
        self.remove(owner, number, what)
        self._blocks[owner, number, what] = block
        self.bytes += len(block) + _OVERHEAD
        while self.bytes > self.limit and self._blocks:
            (holder, oldest_number, oldest_what), oldest = self._blocks.popitem(last=False)
            self.bytes -= len(oldest) + _OVERHEAD
            holder.forget(oldest_number, oldest_what)

    def remove(self, owner: ViewBlocks, number: int, what: Hashable) -> None:
        block = self._blocks.pop((owner, number, what), None)
        if block is not None:
            self.bytes -= len(block) + _OVERHEAD


class ViewBlocks:
    """The blocks of one view. `what` names items and everything else the bytes depend on."""

    __slots__ = ("_cache", "_kinds")

    def __init__(self, cache: BlockCache) -> None:
        self._cache = cache
        self._kinds: dict[int, set[Hashable]] = {}

    def get(self, number: int, what: Hashable) -> bytes | None:
        return self._cache.get(self, number, what)

    def put(self, number: int, what: Hashable, block: bytes) -> None:
        self._kinds.setdefault(number, set()).add(what)
        self._cache.put(self, number, what, block)

    def forget(self, number: int, what: Hashable) -> None:
        """The cache gave this block up."""
        kinds = self._kinds.get(number)
        if kinds is not None:
            kinds.discard(what)
            if not kinds:
                del self._kinds[number]

    def drop(self, numbers: Iterable[int]) -> None:
        """Rows of these blocks changed."""
        if not self._kinds:
            return
        for number in numbers:
            for what in self._kinds.pop(number, ()):
                self._cache.remove(self, number, what)

    def drop_rows(self, start: int, end: int) -> None:
        """Rows [start, end) changed."""
        self.drop(range(start // BLOCK_ROWS, (end - 1) // BLOCK_ROWS + 1))

    def drop_from(self, number: int) -> None:
        """Rows from this block on changed or moved."""
        self.drop([known for known in self._kinds if known >= number])
