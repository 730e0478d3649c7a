"""One mailbox in memory, shared by all sessions of this process that have it selected.

Design: `docs/architecture.md`, "a protocol gateway"; RFC 7162 for modification sequences.

Rules:
- Rows are parallel columns, ascending by UID. A row's index is the message number of a session to which nothing is owed
  (see `tracker`).
- `sync` is the modseq of the snapshot the view equals. A Delta applies only if its `modseq_before` is `sync`; every
  other
  news is answered by asking the store for changes since `sync`. A view therefore never skips a change.
- Rows vanish here at once; every watcher is told synchronously, before anything else can look at the rows.
- `log` says which rows changed flags at which modseq, for the FETCH responses owed to sessions; past its end a session
  looks at all modseqs instead.
- No I/O here: `views` asks the store and calls `apply_changes`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Protocol

from mailboat_store_client.types import (
    DELETED,
    KEYWORD_BITS_WORD0,
    SEEN,
    AccountId,
    BodyId,
    Columns,
    Delta,
    FlagTable,
    MailboxChanges,
    MailboxHead,
    MailboxId,
)
from mailboat_wire.imap.sequence import runs

from .blocks import BLOCK_ROWS, BlockCache
from .flagbits import rows_with
from .flagtext import FlagTexts

LOG_ENTRIES = 64
ROW_BYTES = 56  # 4 uid, 8 modseq, 8 flags, 16 body id, 8 + 8 dates, 4 size
MANY_RUNS = 64  # from here on rebuilding the columns is cheaper than cutting runs out


def words_of(table: FlagTable) -> int:
    """How many flag words the keywords of a table need."""
    return 1 + max(0, len(table.keywords) - KEYWORD_BITS_WORD0 + 63) // 64


class Watcher(Protocol):
    """A session that has the mailbox selected."""

    def vanished(self, uids: Sequence[int]) -> None:
        """These UIDs, ascending, are gone from the view."""

    def changed(self) -> None:
        """Something happened: send it if the client may be told now."""

    def deleted(self) -> None:
        """The mailbox is gone."""


class View:
    """The rows of one mailbox and who watches them."""

    __slots__ = (
        "account_id",
        "blocks",
        "body_ids",
        "first_recent",
        "first_uid_validity",
        "flag_table",
        "flag_texts",
        "flags",
        "gone",
        "internal_dates",
        "log",
        "log_floor",
        "mailbox_id",
        "modseqs",
        "name",
        "removals",
        "save_dates",
        "sizes",
        "sync",
        "uid_next",
        "uid_validity",
        "uids",
        "watchers",
    )

    def __init__(self, account_id: AccountId, mailbox_id: MailboxId, blocks: BlockCache) -> None:
        self.account_id = account_id
        self.mailbox_id = mailbox_id
        self.name = ""
        self.uid_validity = 0
        self.first_uid_validity = 0
        self.uid_next = 1
        self.sync = 0
        self.first_recent = 1
        self.flag_table = FlagTable()
        self.uids: array[int] = array("I")
        self.modseqs: array[int] = array("Q")
        self.flags: list[array[int]] = [array("Q")]
        self.body_ids = bytearray()
        self.internal_dates: array[int] = array("q")
        self.save_dates: array[int] = array("q")
        self.sizes: array[int] = array("I")
        self.watchers: list[Watcher] = []
        self.log: deque[tuple[int, array[int], Watcher | None]] = deque(maxlen=LOG_ENTRIES)
        self.log_floor = 0
        self.gone = False
        self.removals = 0  # how often rows moved: what holds row numbers over an await looks at it
        self.flag_texts = FlagTexts()
        self.blocks = blocks.of_view()

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def bytes(self) -> int:
        """Memory the columns take."""
        return len(self.uids) * (ROW_BYTES + 8 * (len(self.flags) - 1)) + 2048

    # --- reading ---

    def row(self, uid: int) -> int | None:
        """The row of a UID, None if it isn't there."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else None

    def rows(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Row ranges [from, to) of the messages in ascending UID ranges; empty ones are left out."""
        uids = self.uids
        for low, high in ranges:
            start = bisect_left(uids, low)
            end = bisect_right(uids, high, start)
            if start < end:
                yield start, end

    def count(self, ranges: Sequence[tuple[int, int]]) -> int:
        """How many messages are in the UID ranges."""
        return sum(end - start for start, end in self.rows(ranges))

    def select(self, ranges: Sequence[tuple[int, int]]) -> array[int]:
        """The UIDs that exist in the UID ranges, ascending."""
        found: array[int] = array("I")
        for start, end in self.rows(ranges):
            found.extend(self.uids[start:end])
        return found

    def body_id(self, row: int) -> BodyId:
        """The body id of a row."""
        return BodyId(bytes(self.body_ids[16 * row : 16 * row + 16]))

    def has_deleted(self) -> bool:
        """Whether a message has \\Deleted."""
        return b"\1" in rows_with(self.flags[0], DELETED)

    def first_unseen(self) -> int | None:
        """The row of the first message without \\Seen."""
        row = rows_with(self.flags[0], SEEN, present=False).find(b"\1")
        return None if row < 0 else row

    def changed_since(self, modseq: int, but: Watcher | None = None) -> Sequence[int]:
        """UIDs whose flags changed after `modseq` (those the watcher changed itself left out where the log still
        knows).
        """
        if modseq >= self.sync:
            return ()
        if modseq < self.log_floor:
            return array("I", compress(self.uids, [value > modseq for value in self.modseqs]))
        entries = [uids for at, uids, origin in self.log if at > modseq and (origin is not but or but is None)]
        if len(entries) == 1:
            return entries[0]
        return sorted({uid for uids in entries for uid in uids})

    # --- changing ---

    def watch(self, watcher: Watcher) -> None:
        self.watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        self.watchers.remove(watcher)

    def load(self, changes: MailboxChanges) -> None:
        """Take a whole mailbox (the answer to changes since 0)."""
        columns = changes.changed
        self.uids = columns.uids
        self.modseqs = columns.modseqs
        self.flags = columns.flags[: words_of(changes.head.flag_table)]
        self.body_ids = bytearray(columns.body_ids)
        self.internal_dates = columns.internal_dates
        self.save_dates = columns.save_dates
        self.sizes = columns.sizes
        self._take_head(changes.head)
        self.sync = self.log_floor = changes.head.highest_modseq
        self.log.clear()
        self.blocks.drop_from(0)

    def apply_changes(self, changes: MailboxChanges) -> None:
        """Move to the snapshot of `changes`, which were asked for with since = sync."""
        if changes.since != self.sync or changes.head.highest_modseq < self.sync:
            return  # an answer overtaken by a delta: the caller looks at `sync` and asks again
        self._take_head(changes.head)
        self._apply(changes.changed, changes.vanished, changes.head.highest_modseq, None)

    def contradicted(self, head: MailboxHead) -> bool:
        """Whether the store, asked for changes since `sync`, shows another history: a backup was put back."""
        return head.uid_validity != self.uid_validity or head.highest_modseq < self.sync

    def apply_delta(self, delta: Delta, origin: Watcher | None) -> bool:
        """Apply a mutation's result. False: it doesn't join on to `sync`, so the store must be asked."""
        if delta.modseq_after <= self.sync:
            return True
        if delta.modseq_before != self.sync:
            return False
        self.uid_next = delta.uid_next
        self._take_flags(delta.flag_table)
        self._apply(delta.changed, delta.vanished, delta.modseq_after, origin)
        return True

    def mark_deleted(self) -> None:
        """The mailbox is gone: sessions end between commands."""
        if not self.gone:
            self.gone = True
            for watcher in list(self.watchers):
                watcher.deleted()

    def _take_head(self, head: MailboxHead) -> None:
        self.name = head.name
        self.uid_validity = head.uid_validity
        self.first_uid_validity = head.first_uid_validity
        self.uid_next = head.uid_next
        self.first_recent = head.first_recent
        self._take_flags(head.flag_table)

    def _take_flags(self, table: FlagTable) -> None:
        self.flag_table = table
        self.flag_texts.table = table

    def _apply(self, changed: Columns, vanished: Sequence[int], modseq: int, origin: Watcher | None) -> None:
        news = self.sync != modseq
        if len(changed):
            self._update(changed, modseq, origin)
        if len(vanished):
            self._remove(vanished)
        self.sync = modseq
        if news:
            for watcher in list(self.watchers):
                watcher.changed()

    def _update(self, changed: Columns, modseq: int, origin: Watcher | None) -> None:
        while len(self.flags) < min(len(changed.flags), words_of(self.flag_table)):
            self.flags.append(array("Q", bytes(8 * len(self.uids))))
        last = self.uids[-1] if self.uids else 0
        new = bisect_right(changed.uids, last)
        touched = self._reflag(changed, new)
        if len(touched):
            if len(self.log) == LOG_ENTRIES:
                self.log_floor = self.log[0][0]
            self.log.append((modseq, touched, origin))
        if new < len(changed):
            self._extend(changed, new)

    def _reflag(self, changed: Columns, count: int) -> array[int]:
        """New flags for the first `count` rows of `changed`; the UIDs that exist."""
        uids = changed.uids[:count]
        if not count:
            return uids
        start = bisect_left(self.uids, uids[0])
        if self.uids[start : start + count] == uids:  # a run, as "1:*" makes it
            self.modseqs[start : start + count] = changed.modseqs[:count]
            for word, column in enumerate(self.flags):
                column[start : start + count] = (
                    changed.flags[word][:count] if word < len(changed.flags) else array("Q", bytes(8 * count))
                )
            self.blocks.drop_rows(start, start + count)
            return uids
        touched: array[int] = array("I")
        dirty: set[int] = set()
        for index, uid in enumerate(uids):
            row = self.row(uid)
            if row is None:
                continue
            touched.append(uid)
            dirty.add(row // BLOCK_ROWS)
            self.modseqs[row] = changed.modseqs[index]
            for word, column in enumerate(self.flags):
                column[row] = changed.flags[word][index] if word < len(changed.flags) else 0
        self.blocks.drop(dirty)
        return touched

    def _extend(self, changed: Columns, start: int) -> None:
        count = len(changed) - start
        self.blocks.drop_from(len(self.uids) // BLOCK_ROWS)
        self.uids.extend(changed.uids[start:])
        self.modseqs.extend(changed.modseqs[start:])
        for word, column in enumerate(self.flags):
            column.extend(changed.flags[word][start:] if word < len(changed.flags) else array("Q", bytes(8 * count)))
        self.body_ids += changed.body_ids[16 * start :]
        self.internal_dates.extend(changed.internal_dates[start:])
        self.save_dates.extend(changed.save_dates[start:])
        self.sizes.extend(changed.sizes[start:])
        self.uid_next = max(self.uid_next, self.uids[-1] + 1)

    def _remove(self, vanished: Sequence[int]) -> None:
        rows = [row for row in map(self.row, vanished) if row is not None]
        if not rows:
            return
        gone = array("I", [self.uids[row] for row in rows])
        cuts = [(low, high + 1) for low, high in runs(rows)]
        columns = [self.uids, self.modseqs, *self.flags, self.internal_dates, self.save_dates, self.sizes]
        if len(cuts) <= MANY_RUNS:
            for start, end in reversed(cuts):
                for column in columns:
                    del column[start:end]
                del self.body_ids[16 * start : 16 * end]
        else:
            keep = bytearray(b"\1") * len(self.uids)
            for start, end in cuts:
                keep[start:end] = bytes(end - start)
            ids = [self.body_ids[16 * row : 16 * row + 16] for row in compress(range(len(keep)), keep)]
            for column in columns:
                column[:] = array(column.typecode, compress(column, keep))
            self.body_ids = bytearray(b"".join(ids))
        self.blocks.drop_from(rows[0] // BLOCK_ROWS)
        self.removals += 1
        for watcher in self.watchers:
            watcher.vanished(gone)
