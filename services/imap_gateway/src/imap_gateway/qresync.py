"""QRESYNC: what a client that was away has missed, in one round trip (RFC 7162 3.2).

Rules:
- A removal is known by the store's tombstones, a change by the view's modseqs. The tombstones are read after the view,
  so they may name what the view still has: that is left out, and told as any removal is once the view has followed.
- Below the store's floor every UID that isn't there is named, less what the client's message numbers prove it knows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t
from mailboat_wire.imap.sequence import MAX_NUMBER, SequenceSet

from . import render
from .fetch import Fetcher, Plan, changed_only
from .view import View

if TYPE_CHECKING:
    from .selected import Ranges
    from .session import Session


async def tell_vanished(
    session: Session, modseq: int, within: Ranges, match: tuple[SequenceSet, SequenceSet] | None = None
) -> None:
    """Write VANISHED (EARLIER) for what was removed after `modseq` (RFC 7162 3.2.6), of the UID ranges `within`.

    `match`: message numbers and their UIDs as the client knew them (3.2.5.2), to name fewer below the floor.
    """
    view = session.mailbox.view
    vanished = await session.gateway.store.read.vanished(session.account, view.mailbox_id, modseq)
    low = 0 if match is None or not vanished.floor_reached else _agreed(view, *match)
    gone = _without(_intersection(vanished.ranges, within), view, low, session.mailbox.tracker.pending)
    session.write(response.vanished(gone, earlier=True))


async def resynchronise(session: Session, asked: t.QResync) -> None:
    """After SELECT's own responses: what vanished, then what changed (RFC 7162 3.2.5).

    Nothing under another UIDVALIDITY.
    """
    view = session.mailbox.view
    if asked.uid_validity != view.uid_validity or asked.modseq >= view.sync:
        return
    known: Ranges = ((1, view.uid_next - 1),) if view.uid_next > 1 else ()
    if asked.known_uids is not None:
        known = _intersection(asked.known_uids.resolve(0), known)
    await tell_vanished(session, asked.modseq, known, asked.match)
    changed = changed_only(view, known, asked.modseq)
    await Fetcher(session, Plan(render.UID_FLAGS_MODSEQ), changed).run()


def _intersection(left: Iterable[tuple[int, int]], right: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is in both, from ascending disjoint ranges."""
    found: list[tuple[int, int]] = []
    place = 0
    for low, high in left:
        while place < len(right) and right[place][1] < low:
            place += 1
        at = place
        while at < len(right) and right[at][0] <= high:
            found.append((max(low, right[at][0]), min(high, right[at][1])))
            at += 1
    return found


def _without(gone: Iterable[tuple[int, int]], view: View, agreed: int, pending: Sequence[int]) -> list[tuple[int, int]]:
    """`gone` above the UID `agreed`, less the UIDs that the client counts at present: the view's and the ascending
    `pending`.
    """
    found: list[tuple[int, int]] = []
    for low, high in gone:
        start = max(low, agreed + 1)
        present = [uid for begin, end in view.rows([(start, high)]) for uid in view.uids[begin:end]]
        present.extend(pending[bisect_left(pending, start) : bisect_right(pending, high)])
        for uid in sorted(present):
            if start < uid:
                found.append((start, uid - 1))
            start = uid + 1
        if start <= high:
            found.append((start, high))
    return found


def _agreed(view: View, numbers: SequenceSet, uids: SequenceSet) -> int:
    """The highest UID up to which client and server have the same messages: its number is the same for both (3.2.5.2).

    The server's messages are among the client's (UIDs only rise), so equal counts below a UID mean equal messages.
    """
    best = 0
    for number, uid in zip(_each(numbers), _each(uids), strict=False):
        if number > len(view) or view.uids[number - 1] != uid:
            break  # what is gone moves all that is above it
        best = uid
    return best


def _each(wanted: SequenceSet) -> Iterable[int]:
    for low, high in wanted.ranges:
        yield from range(min(low, high), min(max(low, high), MAX_NUMBER) + 1)
