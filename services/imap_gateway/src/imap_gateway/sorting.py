"""Carrying out SORT: the keys of what was found, and their order (RFC 5256 2.2 and BASE.6.4.SORT, RFC 5957).

Rules:
- Keys come in batches, and other sessions get their turn between them and between the slices of sorting.
- The criteria are sorted by from the last to the first, each time stably: what is equal in all stays in mailbox order.
- Dates are compared as a client sees them, in seconds.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from mailboat_mime import NO_KEYS, SortKeys
from mailboat_store_client.types import AccountId
from mailboat_wire.imap.types import SortCriterion, SortKey

from . import slices
from .bodies import INFO_BATCH, Bodies
from .progress import Progress
from .search import Result
from .search_keys.base import Snapshot

_OF_ROWS: Mapping[SortKey, Callable[[Snapshot, int], int]] = {
    SortKey.ARRIVAL: lambda rows, place: rows.internal_dates[place] // 1000,
    SortKey.SIZE: lambda rows, place: rows.sizes[place],
}
_OF_MESSAGES: Mapping[SortKey, Callable[[SortKeys], bytes]] = {
    SortKey.CC: lambda keys: keys.cc,
    SortKey.DISPLAYFROM: lambda keys: keys.display_from,
    SortKey.DISPLAYTO: lambda keys: keys.display_to,
    SortKey.FROM: lambda keys: keys.from_,
    SortKey.SUBJECT: lambda keys: keys.subject,
    SortKey.TO: lambda keys: keys.to,
}


async def in_order(
    bodies: Bodies, account_id: AccountId, found: Result, criteria: Sequence[SortCriterion], progress: Progress
) -> list[int]:
    """Indexes into what was found, in the order of the criteria."""
    columns = await _columns(bodies, account_id, found, [criterion.key for criterion in criteria], progress)
    order = list(range(len(found.uids)))
    for criterion in reversed(criteria):
        column = columns[criterion.key]
        await slices.in_slices(slices.sort(order, column.__getitem__, reverse=criterion.reverse))
    return order


async def _columns(
    bodies: Bodies, account_id: AccountId, found: Result, wanted: Sequence[SortKey], progress: Progress
) -> Mapping[SortKey, Sequence[Any]]:
    """What each criterion compares, parallel to what was found."""
    columns: dict[SortKey, Any] = {
        key: array("q", [_OF_ROWS[key](found.rows, place) for place in found.places])
        for key in wanted
        if key in _OF_ROWS
    }
    texts = {key: _OF_MESSAGES[key] for key in wanted if key in _OF_MESSAGES}
    columns |= {key: [] for key in texts}
    dates = columns[SortKey.DATE] = array("q")
    if texts or SortKey.DATE in wanted:
        async for batch, sent in keys_of(bodies, account_id, found, progress):
            dates.extend(sent)
            for key, text in texts.items():
                columns[key].extend(map(text, batch))
    return columns


async def keys_of(
    bodies: Bodies, account_id: AccountId, found: Result, progress: Progress
) -> AsyncIterator[tuple[list[SortKeys], list[int]]]:
    """The keys of what was found and its sent dates in seconds, batch by batch: INTERNALDATE where there is no Date."""
    rows, places = found.rows, found.places
    keep = bodies.keeps_sort_keys_of(len(places))
    for start in range(0, len(places), INFO_BATCH):
        progress.at(start, len(places))
        batch = places[start : start + INFO_BATCH]
        packed = await bodies.sort_keys(account_id, [rows.body_id(place) for place in batch], keep=keep)
        keys = [NO_KEYS if data is None else SortKeys.from_bytes(data) for data in packed]
        sent = [
            rows.internal_dates[place] // 1000 if each.sent is None else each.sent
            for place, each in zip(batch, keys, strict=True)
        ]
        yield keys, sent
        await asyncio.sleep(0)  # all of it may have been kept
    progress.next_stage()
