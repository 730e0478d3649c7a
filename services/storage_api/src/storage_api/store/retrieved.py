"""Which messages POP3 has given away whole, and since which day: the record behind "leave a copy for N days".

One document per mailbox in `retrieved`: runs of consecutive UIDs with the day (days since the epoch, UTC) of their
first retrieval, as three packed columns; `oldest` is the least of the days, for the sweep. A client that fetches what
is new each day costs one run of 12 octets a day. A UID never comes back, so what it says stays true for ever; runs
below the lowest UID that can be alive are dropped when the document is written.

A message that isn't in the record was not retrieved: losing a record, or running over MAX_RUNS, keeps mail longer.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.log import get_logger
from mailboat_store_client.columns import U32, pack_numbers, unpack
from mailboat_store_client.types import AccountId, MailboxId

from ..db import schema
from ..db.driver import DeleteOne, Document, UpdateOne
from .mutation import Mutation
from .state import MailboxState
from .workspace import Needs, Workspace

log = get_logger(__name__)

DAY_MS = 24 * 3600 * 1000
MAX_RUNS = 100_000  # 1.2 MB


class Run(NamedTuple):
    """UIDs `first` to `last`, first retrieved on `day`."""

    first: int
    last: int
    day: int


def read_runs(document: Document | None) -> list[Run]:
    """The runs of a record, ascending by UID."""
    if document is None:
        return []
    columns = [unpack(U32, document[name]) for name in ("f", "l", "d")]
    return [Run(*row) for row in zip(*columns, strict=True)]


def with_uids(runs: Sequence[Run], uids: Sequence[int], day: int) -> list[Run]:
    """The record once these UIDs (ascending) were retrieved on `day`; the first retrieval counts."""
    old = iter(runs)
    run = next(old, None)
    out: list[Run] = []
    for uid in uids:
        while run is not None and run.last < uid:
            _push(out, run)
            run = next(old, None)
        if run is None or uid < run.first:
            _push(out, Run(uid, uid, day))
    while run is not None:
        _push(out, run)
        run = next(old, None)
    return out


def _push(out: list[Run], run: Run) -> None:
    if out and out[-1].day == run.day and out[-1].last + 1 == run.first:
        out[-1] = Run(out[-1].first, run.last, run.day)
    else:
        out.append(run)


def split_due(runs: Sequence[Run], last_day: int, limit: int) -> tuple[array[int], list[Run]]:
    """(UIDs retrieved on `last_day` or before, at most `limit`, ascending; the runs that are left without them)."""
    uids: array[int] = array(U32)
    left: list[Run] = []
    for run in runs:
        room = limit - len(uids)
        if run.day > last_day or room <= 0:
            left.append(run)
            continue
        end = min(run.last, run.first + room - 1)
        uids.extend(range(run.first, end + 1))
        if end < run.last:
            left.append(Run(end + 1, run.last, run.day))
    return uids, left


def lowest_uid(mailbox: MailboxState) -> int:
    """No UID below is alive."""
    if mailbox.directory:
        return mailbox.directory[0].first_uid
    return mailbox.tail.uids[0] if mailbox.tail.uids else mailbox.uid_next


def living(runs: Sequence[Run], lowest: int) -> list[Run]:
    """The runs without what is below `lowest`."""
    return [Run(max(run.first, lowest), run.last, run.day) for run in runs if run.last >= lowest]


def write_runs(ws: Workspace, mailbox: MailboxState, runs: Sequence[Run]) -> None:
    """Write the record with the transaction, and let the mutations after this one see it."""
    mailbox_id = mailbox.mailbox_id
    where = (schema.RETRIEVED, mailbox_id)
    before = ws.documents[where]
    query = {"_id": mailbox_id, "a": mailbox.account_id}
    document: Document | None = None
    if runs:
        firsts, lasts, days = zip(*runs, strict=True)
        columns = {"f": firsts, "l": lasts, "d": days}
        fields = {"oldest": min(days), **{name: pack_numbers(U32, values) for name, values in columns.items()}}
        document = {**query, **fields}
        ws.operate(*where, UpdateOne(query, {"$set": fields}, upsert=True))
    elif before is not None:
        ws.operate(*where, DeleteOne(query))
    ws.documents[where] = document
    ws.on_rollback(lambda: ws.documents.__setitem__(where, before))


class Retrieved(Mutation[int]):
    """Record that POP3 gave these messages (ascending UIDs) whole; the result is how many it hadn't given before."""

    kind = "retrieved"

    def __init__(self, account_id: AccountId, key: bytes, mailbox_id: MailboxId, uids: array[int]) -> None:
        super().__init__(account_id, key)
        self._mailbox_id = mailbox_id
        self._uids = uids

    def needs(self) -> Needs:
        return Needs(mailboxes={self._mailbox_id}, documents={schema.RETRIEVED: {self._mailbox_id}})

    def apply(self, ws: Workspace) -> int:
        mailbox = ws.mailbox(self.account_id, self._mailbox_id)
        if self._uids and self._uids[-1] >= mailbox.uid_next:
            raise Refused(RefusedCode.INVALID, "A message that never was")
        before = read_runs(ws.document(schema.RETRIEVED, self._mailbox_id))
        after = living(with_uids(before, self._uids, ws.now // DAY_MS), lowest_uid(mailbox))
        new = _count(after) - _count(living(before, lowest_uid(mailbox)))
        if new <= 0:
            return 0
        if len(after) > MAX_RUNS:
            log.warning("record of retrieved messages is full, they stay", mailbox_id=self._mailbox_id.hex())
            return 0
        write_runs(ws, mailbox, after)
        return new

    def receipt(self, result: int) -> Document:
        return {"n": result}

    def repeat(self, ws: Workspace, receipt: Document) -> int:
        new: int = receipt["n"]
        return new


def _count(runs: Sequence[Run]) -> int:
    return sum(run.last - run.first + 1 for run in runs)
