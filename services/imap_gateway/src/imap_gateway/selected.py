"""The mailbox a session has selected: the shared view, the session's own numbering, and what it still has to be told.

RFC 9051 6.3.2, 7.4-7.5; RFC 7162 3.2 (MODSEQ in unsolicited FETCH once CONDSTORE is on).

Rule: what is owed to the client is never queued but computed from (view, tracker, `told`) when it may be sent, so a
slow
client costs no memory.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mailboat_wire.imap import response
from mailboat_wire.imap.sequence import MAX_NUMBER, STAR, SequenceSet, runs

from . import render
from .flagtext import flag_list
from .replies import bad
from .tracker import Tracker
from .view import View

Ranges = Sequence[tuple[int, int]]

NEVER_RECENT = MAX_NUMBER + 1
"""As `recent_from`: IMAP4rev2 knows no \\Recent, so such a session shows none and takes none from others."""


@dataclass(frozen=True, slots=True)
class ToldAs:
    """What a client enabled decides how it is told: MODSEQ in FETCH (CONDSTORE), VANISHED for EXPUNGE (QRESYNC), RECENT
    (not with IMAP4rev2).
    """

    modseq: bool
    vanished: bool
    recent: bool


class Selected:
    """One session in one mailbox; a `Watcher` of its view."""

    __slots__ = ("keywords_told", "read_only", "recent_from", "saved", "told", "tracker", "view", "wake")

    def __init__(self, view: View, *, read_only: bool, recent_from: int, wake: Callable[[], None]) -> None:
        self.view = view
        self.read_only = read_only
        self.recent_from = recent_from
        self.wake = wake
        self.saved: Ranges = ()
        self.begin()

    def begin(self) -> None:
        """Count from here: the client is told of the mailbox as it is now."""
        self.tracker = Tracker(self.view.uids)
        self.told = self.view.sync
        self.keywords_told = len(self.view.flag_table.keywords)

    # --- Watcher ---

    def vanished(self, uids: Sequence[int]) -> None:
        self.tracker.vanished(uids)

    def changed(self) -> None:
        self.wake()

    def deleted(self) -> None:
        self.wake()

    # --- what the client means ---

    def exists(self) -> int:
        """How many messages the client believes there are."""
        return self.tracker.exists(self.view.uids)

    def recent(self) -> int:
        """How many messages are \\Recent in this session."""
        return len(self.view.uids) - bisect_left(self.view.uids, self.recent_from)

    def ranges(self, sequence: SequenceSet, *, uid: bool) -> Ranges:
        """Ascending UID ranges of the messages a set names, as far as the client knows them.

        A message number that doesn't exist is the client's error (RFC 9051 6.4.8, 9), a UID that doesn't is not.
        """
        if sequence.saved:
            return self.saved
        ceiling = self.tracker.ceiling
        if uid:
            return [(low, min(high, ceiling)) for low, high in sequence.resolve(ceiling) if low <= ceiling]
        exists = self.exists()
        for low, high in sequence.ranges:
            if STAR not in (low, high) and max(low, high) > exists:
                raise bad(b"No such message number")
        number = self.tracker.uid
        uids = self.view.uids
        return [
            (number(uids, min(low, exists)), number(uids, min(high, exists))) for low, high in sequence.resolve(exists)
        ]

    def named(self, sequence: SequenceSet) -> Ranges:
        """The UID ranges a UID set names, whether there is a message or not; `*` is the last UID ever given."""
        return self.saved if sequence.saved else sequence.resolve(self.view.uid_next - 1)

    def known(self) -> Ranges:
        """The UID range of everything the client knows."""
        return ((1, self.tracker.ceiling),) if self.tracker.ceiling else ()

    # --- what it must be told ---

    def flag_lines(self) -> bytes:
        """FLAGS and PERMANENTFLAGS (RFC 9051 7.3.5, 7.1)."""
        table = self.view.flag_table
        self.keywords_told = len(table.keywords)
        flags = flag_list(table)
        permanent = flags if table.full else flags + b" \\*"
        if self.read_only:
            permanent = b""
        return b"* FLAGS (%b)\r\n* OK [PERMANENTFLAGS (%b)] Flags kept\r\n" % (flags, permanent)

    def owes(self) -> bool:
        """Whether there may be something to tell."""
        return bool(self.tracker.pending) or self.told != self.view.sync

    def updates(self, *, expunge: bool, told_as: ToldAs, flags: bool = True) -> list[bytes]:
        """Everything the client may be told now, in order. `expunge`: the running command allows EXPUNGE; `flags`: the
        client wants to hear of changed flags.
        """
        view, tracker = self.view, self.tracker
        lines: list[bytes] = []
        if len(view.flag_table.keywords) != self.keywords_told:
            lines.append(self.flag_lines())
        if tracker.pending:
            if expunge:
                lines.extend(self._expunges(vanished=told_as.vanished))
            elif told_as.vanished:
                # A client takes the highest MODSEQ it saw for its own: a change above a removal it wasn't told of would
                # make it miss the removal for good.
                return lines
        if self.told != view.sync:
            if flags:
                changed = view.changed_since(self.told, self)
                known = changed[: bisect_right(changed, tracker.ceiling)]
                lines.extend(self._flag_updates(known, modseq=told_as.modseq))
            if tracker.announce(view.uids):
                lines.append(self.counts(recent=told_as.recent))
            self.told = view.sync
        return lines

    def counts(self, *, recent: bool) -> bytes:
        """EXISTS, and for IMAP4rev1 RECENT."""
        if recent:
            return b"* %d EXISTS\r\n* %d RECENT\r\n" % (self.exists(), self.recent())
        return b"* %d EXISTS\r\n" % self.exists()

    def _expunges(self, *, vanished: bool) -> Iterable[bytes]:
        tracker = self.tracker
        if not vanished:
            return [b"* %d EXPUNGE\r\n" % number for number in tracker.take_expunges(self.view.uids)]
        gone = runs(tracker.pending)
        tracker.pending = []
        return [response.vanished(gone)]

    def _flag_updates(self, uids: Sequence[int], *, modseq: bool) -> list[bytes]:
        items = render.UID_FLAGS_MODSEQ if modseq else render.UID_FLAGS
        rows = [row for row in map(self.view.row, uids) if row is not None]
        return [
            render.block(render.Block(self, rows[start : start + render.BLOCK_ROWS]), items)
            for start in range(0, len(rows), render.BLOCK_ROWS)
        ]
