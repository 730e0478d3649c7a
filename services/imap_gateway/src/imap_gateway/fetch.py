"""Carrying out FETCH: which rows, in which batches, loaded from where, rendered how.

RFC 9051 6.4.5, RFC 7162 3.1.4 (CHANGEDSINCE, MODSEQ), RFC 9394 3.3 (PARTIAL).

Rules:
- The messages are chosen once, as UID ranges: what arrives meanwhile is above them, what vanishes is passed over.
- Nothing is loaded that isn't sent soon: one batch ahead, and none while the client reads too slowly.
- Batches that need nothing but the view or rendered fields are kept as blocks.
- A message over LARGE_BYTES is never held whole: its sections stream from the store.
- A message of which a part can't be decoded (BINARY) is passed over, and not marked as read.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import TYPE_CHECKING

from mailboat_common.errors import Internal, Refused
from mailboat_store_client.types import SEEN, BodyField, BodyId, BodyInfo, FlagMode
from mailboat_wire.imap.sequence import runs
from mailboat_wire.imap.types import PartialRange

from . import render
from .blocks import BLOCK_ROWS
from .bodies import CONTENT_BATCH, CONTENT_BYTES
from .fetch_items.binary import BinaryItem
from .fetch_items.sections import Opened, SectionItem
from .progress import Progress
from .render import Block, Flags, Item
from .selected import Ranges, Selected
from .view import View

if TYPE_CHECKING:
    from .session import Session

ROWS_PER_BATCH = 16 * BLOCK_ROWS  # of what the view answers: some 150 KB of output
INFOS_PER_BATCH = 4 * BLOCK_ROWS
HEADERS_PER_BATCH = 2 * BLOCK_ROWS
LOOSE_RUN = 32  # shorter runs of rows are rendered together
LARGE_BYTES = 64 * 1024  # from here on a section is read as a range


class Plan:
    """What a FETCH command asks for."""

    __slots__ = ("binary", "content", "items", "key", "needs", "sets_seen", "shows_flags")

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = tuple(items)
        self.key = b"\0".join([item.key for item in items])
        self.content = any(item.content for item in items)
        self.sets_seen = any(item.sets_seen for item in items)
        self.binary = [item for item in items if isinstance(item, BinaryItem)]
        self.shows_flags = any(isinstance(item, Flags) for item in items)
        self.needs: BodyField | None = None
        for item in items:
            if item.needs is not None:
                self.needs = item.needs if self.needs is None else self.needs | item.needs

    @property
    def waits(self) -> bool:
        """Whether the store is asked for anything."""
        return self.content or self.needs is not None

    @property
    def batch(self) -> int:
        """How many rows at a time."""
        if self.content:
            return CONTENT_BATCH
        if self.needs is None:
            return ROWS_PER_BATCH
        return HEADERS_PER_BATCH if BodyField.HEADER in self.needs else INFOS_PER_BATCH


class Cursor:
    """Walks the rows of UID ranges in pieces, whatever happens to the view between two pieces."""

    __slots__ = ("_next_uid", "_ranges", "_view")

    def __init__(self, view: View, ranges: Ranges) -> None:
        self._view = view
        self._ranges = ranges
        self._next_uid = 0

    def take(self, rows: int, max_bytes: int | None = None) -> list[Sequence[int]]:
        """The next pieces, at most `rows` rows and (but for a single row) `max_bytes` bytes of messages in all."""
        pieces: list[Sequence[int]] = []
        loose: list[int] = []
        left, room = rows, max_bytes
        for start, end in self._view.rows([(max(low, self._next_uid), high) for low, high in self._remaining()]):
            stop = min(end, start + left)
            if room is not None:
                stop, room = self._fitting(start, stop, room, first=left == rows)
            if stop - start < LOOSE_RUN:
                loose.extend(range(start, stop))
            else:
                if loose:
                    pieces.append(loose)
                    loose = []
                pieces.extend(_aligned(start, stop))
            left -= stop - start
            if stop > start:
                self._next_uid = self._view.uids[stop - 1] + 1
            if stop < end or left == 0:
                break
        if loose:
            pieces.append(loose)
        return pieces

    def _remaining(self) -> Ranges:
        first = bisect_left(self._ranges, self._next_uid, key=lambda pair: pair[1])
        return self._ranges[first:] if first else self._ranges

    def _fitting(self, start: int, stop: int, room: int, *, first: bool) -> tuple[int, int]:
        sizes = self._view.sizes
        for row in range(start, stop):
            if sizes[row] > room and not (first and row == start):
                return row, room
            room -= sizes[row]
        return stop, room


def _aligned(start: int, stop: int) -> list[Sequence[int]]:
    """[start, stop) cut where blocks begin."""
    cuts = [start, *range((start // BLOCK_ROWS + 1) * BLOCK_ROWS, stop, BLOCK_ROWS), stop]
    return [range(low, high) for low, high in pairwise(cuts)]


@dataclass(slots=True)
class Piece:
    """Rows with what was loaded for them. `text`: already rendered. `uids` find the rows again if they moved."""

    block: Block
    uids: Sequence[int]
    removals: int
    text: bytes | None = None


Wanted = list[tuple[BodyId, int]]
"""Bodies to load for the rows of some pieces, in their order: (id, size in bytes)."""


def partial_only(view: View, ranges: Ranges, partial: PartialRange) -> Ranges:
    """Of the messages in the ranges, those at the places the client asks for (RFC 9394 3.3)."""
    pieces = list(view.rows(ranges))
    start, stop = partial.places(sum(end - first for first, end in pieces))
    found = []
    for first, end in pieces:
        low, high = max(first, first + start), min(end, first + stop)
        if low < high:
            found.append((view.uids[low], view.uids[high - 1]))
        start, stop = start - (end - first), stop - (end - first)
    return found


def changed_only(view: View, ranges: Ranges, modseq: int) -> Ranges:
    """Of the ranges, what changed after `modseq` (RFC 7162 3.1.4.1)."""
    found: array[int] = array("I")
    for start, end in view.rows(ranges):
        newer = [value > modseq for value in view.modseqs[start:end]]
        found.extend(compress(view.uids[start:end], newer))
    return runs(found)


class Fetcher:
    """One FETCH command in one session. `undecodable`: messages were passed over for it (RFC 3516 4.3)."""

    def __init__(self, session: Session, plan: Plan, ranges: Ranges) -> None:
        self.session = session
        self.selected: Selected = session.mailbox
        self.view = self.selected.view
        self.plan = plan
        self.cursor = Cursor(self.view, ranges)
        self.undecodable = False
        self.progress: Progress | None = None

    async def run(self, progress: Progress | None = None) -> None:
        """Send it all. `progress` is the command's, if this is the whole of it."""
        self.progress = progress
        if not self.plan.waits:
            while rows := self.cursor.take(self.plan.batch):
                for each in rows:
                    self.session.write(self._render(Block(self.selected, each)))
                await self.session.link.drain()
                await asyncio.sleep(0)  # a large mailbox must not make other sessions wait
            return
        loading = self._load_next()
        sent = 0
        try:
            while loading is not None:
                pieces = await loading
                loading = self._load_next()
                for piece in pieces:
                    await self._send(piece)
                    sent += len(piece.uids)
                    if progress is not None:
                        progress.at(sent, progress.goal or sent)
                await self.session.link.drain()
        finally:
            if loading is not None and not loading.cancel():
                loading.exception()  # whatever it is, an earlier one is on its way up

    # --- loading ---

    def _load_next(self) -> asyncio.Task[list[Piece]] | None:
        max_bytes = CONTENT_BYTES if self.plan.content else None
        rows = self.cursor.take(self.plan.batch, max_bytes)
        if not rows:
            return None
        pieces = [
            Piece(Block(self.selected, each), [self.view.uids[row] for row in each], self.view.removals)
            for each in rows
        ]
        for piece in pieces:
            number = self._cacheable(piece.block)
            if number is not None:
                piece.text = self.view.blocks.get(number[0], number[1])
        missing = [piece for piece in pieces if piece.text is None]
        return asyncio.create_task(self._load(pieces, missing, self._wanted(missing)))

    async def _load(self, pieces: list[Piece], missing: list[Piece], wanted: Wanted) -> list[Piece]:
        await self._fill(missing, wanted)
        return pieces

    def _wanted(self, pieces: list[Piece]) -> Wanted:
        """The bodies that the pieces' rows name at this moment, with their sizes.

        Asked for in the same step in which the rows were found: a task begins later, and by then another session's
        EXPUNGE may have moved the rows, so that they name the neighbours' bodies.
        """
        view = self.view
        return [(view.body_id(row), view.sizes[row]) for piece in pieces for row in piece.block.rows]

    async def _fill(self, pieces: list[Piece], wanted: Wanted) -> None:
        """Infos and contents for pieces of one batch."""
        bodies, account = self.session.gateway.bodies, self.session.account
        ids = [body_id for body_id, _ in wanted]
        if not ids:
            return
        infos: Sequence[BodyInfo | None] = ()
        if self.plan.needs is not None:
            infos = await bodies.infos(account, ids, self.plan.needs)
        contents: Sequence[bytes | None] = ()
        if self.plan.content:
            small = [body_id for body_id, size in wanted if not self._streams(size)]
            loaded = dict(zip(small, await bodies.contents(account, small), strict=True)) if small else {}
            contents = [loaded.get(body_id) for body_id in ids]
        place = 0
        for piece in pieces:
            count = len(piece.block.rows)
            if infos:
                piece.block.infos = infos[place : place + count]
            if contents:
                piece.block.contents = contents[place : place + count]
            place += count

    def _streams(self, size: int) -> bool:
        """Whether sections of a message of this size are read as ranges."""
        if size > CONTENT_BYTES:
            return True
        return size > LARGE_BYTES and not any(isinstance(item, SectionItem) and item.whole for item in self.plan.items)

    # --- sending ---

    async def _send(self, piece: Piece) -> None:
        await self._find_again(piece)
        self._pass_over_undecodable(piece)
        seen = await self._mark_seen(piece) if self.plan.sets_seen and not self.selected.read_only else set()
        await self._find_again(piece)
        block = piece.block
        if not block.rows:
            return
        large = [index for index, row in enumerate(block.rows) if self._must_stream(block, index, row)]
        if large:
            await self._send_large(block, set(large), seen)
        elif piece.text is not None:
            self.session.write(piece.text)
        elif seen and not self.plan.shows_flags:
            chosen = {row for row in block.rows if self.view.uids[row] in seen}
            self.session.write(render.block_with(block, self.plan.items, render.FLAGS, chosen))
        else:
            self.session.write(self._render(block))

    async def _find_again(self, piece: Piece) -> None:
        """Rows moved while we waited: find them by UID, without those that are gone."""
        if piece.removals == self.view.removals:
            return
        piece.removals = self.view.removals
        rows = [self.view.row(uid) for uid in piece.uids]
        kept = [index for index, row in enumerate(rows) if row is not None]
        missing = piece.text is not None
        piece.text = None
        self._keep(piece, kept, [row for row in rows if row is not None])
        if missing and self.plan.waits:
            await self._fill([piece], self._wanted([piece]))
            await self._find_again(piece)

    def _keep(self, piece: Piece, kept: Sequence[int], rows: Sequence[int]) -> None:
        """Reduce a piece to what stands at the places `kept`, which is in these rows now."""
        old = piece.block
        piece.uids = [piece.uids[index] for index in kept]
        piece.block = Block(
            self.selected,
            rows,
            [old.infos[index] for index in kept] if old.infos else (),
            [old.contents[index] for index in kept] if old.contents else (),
        )

    def _pass_over_undecodable(self, piece: Piece) -> None:
        if not self.plan.binary:
            return
        infos, rows = piece.block.infos, piece.block.rows
        kept = [index for index, info in enumerate(infos) if all(item.decodes(info) for item in self.plan.binary)]
        if len(kept) < len(infos):
            self.undecodable = True
            self._keep(piece, kept, [rows[index] for index in kept])

    async def _mark_seen(self, piece: Piece) -> set[int]:
        """Reading marks as read (RFC 9051 6.4.5): the UIDs for which that is news."""
        flags, uids = self.view.flags[0], self.view.uids
        unseen = [uids[row] for row in piece.block.rows if not flags[row] & SEEN]
        if not unseen:
            return set()
        write = self.session.gateway.store.write
        result = await write.store_flags(
            self.session.account, self.view.mailbox_id, unseen, FlagMode.ADD, ["\\Seen"], key=os.urandom(16)
        )
        await self.session.gateway.views.settle(result.delta, self.selected)
        return set(unseen)

    def _cacheable(self, block: Block) -> tuple[int, bytes] | None:
        """(block number, what) if the rows are a whole block that looks the same to every session; else None."""
        rows = block.rows
        if self.plan.content or not isinstance(rows, range) or len(rows) != BLOCK_ROWS or rows.start % BLOCK_ROWS:
            return None
        if self.selected.tracker.pending:
            return None
        key = self.plan.key
        if self.plan.shows_flags:
            uids, recent_from = self.view.uids, self.selected.recent_from
            if uids[rows.start] >= recent_from:
                key = b"\1" + key
            elif uids[rows.stop - 1] >= recent_from:
                return None
        return rows.start // BLOCK_ROWS, key

    def _render(self, block: Block) -> bytes:
        place = self._cacheable(block)
        if place is None:
            return render.block(block, self.plan.items)
        text = self.view.blocks.get(*place)
        if text is None:
            text = render.block(block, self.plan.items)
            self.view.blocks.put(*place, text)
        return text

    # --- large messages ---

    def _must_stream(self, block: Block, index: int, row: int) -> bool:
        if self.plan.content and self._streams(self.view.sizes[row]):
            return True
        if self.plan.needs is None or BodyField.HEADER not in self.plan.needs:
            return False
        info = block.infos[index] if block.infos else None
        return info is not None and info.header is None  # over 256 KB: read as a range

    async def _send_large(self, block: Block, large: set[int], seen: set[int]) -> None:
        """A batch in which some message is large: row by row, found again by UID after each."""
        uids = [self.view.uids[row] for row in block.rows]
        for index, uid in enumerate(uids):
            row = self.view.row(uid)
            if row is None:
                continue
            one = Block(
                self.selected,
                [row],
                block.infos[index : index + 1],
                block.contents[index : index + 1],
            )
            items = self.plan.items
            if uid in seen and not self.plan.shows_flags:
                items = (*items, *render.FLAGS)
            if index in large:
                await self._stream(one, items, self.view.body_id(row), self.view.sizes[row])
            else:
                self.session.write(render.block(one, items))

    async def _stream(self, one: Block, items: Sequence[Item], body_id: BodyId, size: int) -> None:
        """One message's FETCH response, its sections straight from the store."""
        info = one.infos[0] if one.infos else None
        opened = {
            index: await self._open(item, info, body_id, size)
            for index, item in enumerate(items)
            if isinstance(item, SectionItem)
        }
        row = self.view.row(self.view.uids[one.rows[0]]) if one.rows[0] < len(self.view) else None
        if row is None or self.view.body_id(row) != body_id:
            return  # gone while its sections were opened
        write = self.session.write
        # Before anything is waited for: while a section is sent the row may move, or be another message's.
        begin = b"* %d FETCH (" % one.numbers()[0]
        short = [b"" if isinstance(item, SectionItem) else item.fragment % item.values(one)[0] for item in items]
        with self.progress.silently() if self.progress is not None else nullcontext():
            write(begin)
            for index, item in enumerate(items):
                write(b" " + short[index] if index else short[index])
                if isinstance(item, SectionItem):
                    await self._send_section(item, opened[index])
            write(b")\r\n")

    async def _open(self, item: SectionItem, info: BodyInfo | None, body_id: BodyId, size: int) -> Opened:
        """A section about to be sent; that there is none, if the message is gone."""

        def read(start: int, octets: int) -> AsyncIterator[bytes]:
            return self.session.gateway.store.read.read(self.session.account, body_id, start, octets)

        try:
            return await item.open(read, info, size)
        except Refused:
            return item.absent

    async def _send_section(self, item: SectionItem, opened: Opened) -> None:
        """The item with its literal. Once that is announced there is no way back but cutting the connection."""
        session = self.session
        session.write(item.fragment % opened.text)
        left = opened.left
        try:
            if opened.rest is not None:
                async for chunk in opened.rest:
                    session.write(chunk)
                    left -= len(chunk)
                    if session.link.full:
                        await session.link.drain()
        except BaseException:
            session.link.abort()
            raise
        if left:
            session.link.abort()
            raise Internal("a body's length is not what its index entry says")
