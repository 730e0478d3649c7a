"""Carrying out SEARCH: the snapshot, the message sets it names, and its result.

RFC 9051 6.4.4; RFC 4731 (ESEARCH), RFC 5182 (SEARCHRES), RFC 7162 3.1.5 (MODSEQ), RFC 9585 (INPROGRESS).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

from mailboat_wire.imap import types as t

from .gateway import Gateway
from .progress import Progress
from .replies import bad
from .search_keys import SEARCH_KEYS
from .search_keys.base import Search, Snapshot
from .selected import Selected


@dataclass(frozen=True, slots=True)
class Result:
    """What was found, ascending: UIDs, their modseqs, and their message numbers as the client counts now.

    `places` are its rows in the snapshot that was searched.
    """

    uids: Sequence[int]
    modseqs: Sequence[int]
    numbers: Sequence[int]
    rows: Snapshot
    places: Sequence[int]


def keys(key: t.SearchKey) -> Iterator[t.SearchKey]:
    """A key and all keys in it."""
    yield key
    match key:
        case t.SearchAnd():
            for each in key.keys:
                yield from keys(each)
        case t.SearchOr():
            yield from keys(key.left)
            yield from keys(key.right)
        case t.SearchNot():
            yield from keys(key.key)


async def search(
    gateway: Gateway, selected: Selected, key: t.SearchKey, progress: Progress, *, more_stages: int = 0
) -> Result:
    """The messages of the selected mailbox that match. `more_stages` of the progress are what the caller does then."""
    used = list(keys(key))
    if any(type(each) not in SEARCH_KEYS for each in used):
        raise bad(b"Unknown search key")
    sequences = {
        each: selected.ranges(each.sequence, uid=each.uid) for each in used if isinstance(each, t.SearchSequence)
    }
    rows, removals = Snapshot.of(selected), selected.view.removals
    under_way = Search(gateway, selected, rows, sequences, time.time(), progress)
    progress.stages = max(1, more_stages + sum(reads_messages(under_way, each) for each in used))
    mask = await under_way.evaluate(key, b"\1" * len(rows))
    uids = list(compress(rows.uids, mask))
    if removals == selected.view.removals and not selected.tracker.pending:
        numbers = list(compress(range(1, len(rows) + 1), mask))
    else:
        numbers = selected.tracker.numbers(selected.view.uids, uids)
    return Result(uids, list(compress(rows.modseqs, mask)), numbers, rows, list(compress(range(len(rows)), mask)))


def reads_messages(search: Search, key: t.SearchKey) -> bool:
    """Whether a key is one of those that take time: not the view's columns decide it, nor other keys."""
    return not isinstance(key, t.SearchAnd | t.SearchOr | t.SearchNot) and search.cost(key) > 0
