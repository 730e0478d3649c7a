"""FETCH responses of many messages at a time: items give columns, one big format joins them.

RFC 9051 7.5.2. A line costs a fraction of a microsecond because nothing is done per message in Python but what an
item needs.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from mailboat_store_client.types import BodyField, BodyInfo

from .blocks import BLOCK_ROWS
from .tracker import Tracker
from .view import View

__all__ = ["BLOCK_ROWS", "UID_FLAGS", "UID_FLAGS_MODSEQ", "Block", "Flags", "Item", "ModSeq", "Uid", "block"]


class Viewer(Protocol):
    """Whose numbers and \\Recent are shown: a session's `Selected`."""

    @property
    def view(self) -> View: ...
    @property
    def tracker(self) -> Tracker: ...
    @property
    def recent_from(self) -> int: ...


@dataclass(slots=True)
class Block:
    """Rows to render for one session. `rows` is a range where they are consecutive, which is quickest.

    `infos` and `contents` are parallel to `rows` where an item of the command needs them; None in them: gone.
    """

    viewer: Viewer
    rows: Sequence[int]
    infos: Sequence[BodyInfo | None] = ()
    contents: Sequence[bytes | None] = field(default=())

    def column(self, values: array[int]) -> Sequence[int]:
        """The block's part of a column of the view."""
        rows = self.rows
        if isinstance(rows, range):
            return values[rows.start : rows.stop]
        return [values[row] for row in rows]

    def numbers(self) -> Sequence[int]:
        """The message numbers as the client counts."""
        tracker = self.viewer.tracker
        if not tracker.pending:
            rows = self.rows
            return range(rows.start + 1, rows.stop + 1) if isinstance(rows, range) else [row + 1 for row in rows]
        uids = self.viewer.view.uids
        return [tracker.number(row, uids[row]) for row in self.rows]


class Item:
    """One FETCH item: a fragment of the format with one place in it, and the values of a block for that place.

    `needs` are the fields of `BodyInfo` it reads (None: it reads no BodyInfo); `content`: it reads whole messages;
    `sets_seen`: to ask for it marks the message as read.
    """

    fragment: bytes = b""
    needs: BodyField | None = None
    content: bool = False
    sets_seen: bool = False

    @property
    def key(self) -> bytes:
        """Tells items apart whose output differs."""
        return self.fragment

    def values(self, block: Block) -> Sequence[Any]:
        """One value a row, for the fragment's %d or %b."""
        raise LookupError(f"{type(self).__name__} gives no values")


class Flags(Item):
    """FLAGS."""

    fragment = b"FLAGS (%b)"

    def values(self, block: Block) -> Sequence[bytes]:
        view, recent_from = block.viewer.view, block.viewer.recent_from
        rows = block.rows
        columns = [block.column(column) for column in view.flags]
        texts = view.flag_texts.texts
        last = view.uids[rows[-1]]
        if last < recent_from:
            return texts(columns, recent=False)
        uids = block.column(view.uids)
        plain = sum(uid < recent_from for uid in uids)
        old = texts([column[:plain] for column in columns], recent=False) if plain else []
        return old + texts([column[plain:] for column in columns], recent=True)


class Uid(Item):
    """UID."""

    fragment = b"UID %d"

    def values(self, block: Block) -> Sequence[int]:
        return block.column(block.viewer.view.uids)


class ModSeq(Item):
    """MODSEQ (RFC 7162 3.1.4.2)."""

    fragment = b"MODSEQ (%d)"

    def values(self, block: Block) -> Sequence[int]:
        return block.column(block.viewer.view.modseqs)


FLAGS: tuple[Item, ...] = (Flags(),)
UID_FLAGS: tuple[Item, ...] = (Uid(), Flags())
UID_FLAGS_MODSEQ: tuple[Item, ...] = (Uid(), Flags(), ModSeq())


def line_format(items: Sequence[Item]) -> bytes:
    """The format of one line: its arguments are the number and each item's value."""
    return b"* %d FETCH (" + b" ".join([item.fragment for item in items]) + b")\r\n"


def block(rows: Block, items: Sequence[Item]) -> bytes:
    """The FETCH lines of a block."""
    columns = [rows.numbers(), *[item.values(rows) for item in items]]
    return line_format(items) * len(rows.rows) % tuple(chain.from_iterable(zip(*columns, strict=True)))


def block_with(rows: Block, items: Sequence[Item], more: Sequence[Item], chosen: set[int]) -> bytes:
    """Like `block`, with `more` items for the `chosen` rows only."""
    plain, full = line_format(items), line_format([*items, *more])
    columns = list(zip(rows.numbers(), *[item.values(rows) for item in items], strict=True))
    extra = list(zip(*[item.values(rows) for item in more], strict=True))
    return b"".join(
        full % (*values, *added) if row in chosen else plain % values
        for row, values, added in zip(rows.rows, columns, extra, strict=True)
    )
