"""EMAILID and THREADID (RFC 8474 5.4). An identifier that can't be ours matches nothing; it is no error."""

from __future__ import annotations

from itertools import compress

from mailboat_store_client.types import BodyField
from mailboat_wire.imap import types as t

from ..bodies import INFO_BATCH
from ..objectid import body_id_of, thread_of
from .base import Key, Mask, Search, both


async def _object_id(search: Search, key: t.SearchObjectId, candidates: Mask) -> Mask:
    if key.kind is t.ObjectIdKind.EMAIL:
        return both(_email(search, key), candidates)
    return await _thread(search, key, candidates)


def _email(search: Search, key: t.SearchObjectId) -> Mask:
    """Rows of this body, of which a mailbox may hold several copies; the view's column decides."""
    body_id, ids = body_id_of(key.value), search.rows.body_ids
    found: list[int] = []
    at = -1 if body_id is None else ids.find(body_id)
    while body_id is not None and at >= 0:
        row, inside = divmod(at, 16)
        if not inside:
            found.append(row)
        at = ids.find(body_id, at + 1)
    return search.rows.mask(found)


async def _thread(search: Search, key: t.SearchObjectId, candidates: Mask) -> Mask:
    thread = thread_of(key.value)
    rows = list(compress(range(len(candidates)), candidates)) if thread is not None else []
    account, found = search.selected.view.account_id, []
    for start in range(0, len(rows), INFO_BATCH):
        search.progress.at(start, len(rows))
        batch = rows[start : start + INFO_BATCH]
        ids = [search.rows.body_id(row) for row in batch]
        infos = await search.gateway.bodies.infos(account, ids, BodyField.THREAD)
        found += [row for row, info in zip(batch, infos, strict=True) if info is not None and info.thread == thread]
    search.progress.next_stage()
    return search.rows.mask(found)


OBJECT_ID = Key(_object_id, lambda _search, key: int(key.kind is t.ObjectIdKind.THREAD))
