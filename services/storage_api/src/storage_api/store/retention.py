"""Leaving a copy for a set time: what POP3 retrieved is removed so many days later, whatever its clients do.

The days are `pop3_retention_days` of the account (-1: never), or else of its domain; unset is never. A day is counted
from 0:00 UTC to 0:00, so a message stays at least its days, as EXPIRE (RFC 2449 6.7) promises, and about a day more
at most. With 0 the gateway removes at QUIT; what a session without QUIT left is removed here as with 1.

Rules: the policy is read in the transaction that removes, and what it was read from is written by it: a change of the
policy comes before (then it holds) or after, never between. The record is cut in the same transaction. So any number
of workers may sweep at once and be killed anywhere. A removal is an expunge like every other: a modseq, a tombstone
with the reason REASON, news for the views.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mailboat_common import metrics
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.log import get_logger
from mailboat_store_client.types import AccountId, MailboxId

from ..db import schema
from ..db.driver import Database, Document, UpdateOne
from . import edit
from .committer import Committer
from .failures import guarded
from .mutation import Mutation
from .retrieved import DAY_MS, living, lowest_uid, read_runs, split_due, write_runs
from .workspace import Needs, Workspace

log = get_logger(__name__)

FIELD = "pop3_retention_days"
NEVER = -1
REASON = "pop3_retention"
MAX_UIDS = 10_000  # looked at in one transaction
BATCH = 200

_removed = metrics.counter("pop3_retention_removed_total", "Messages removed some days after POP3 retrieved them")


def days_of(account: Document, domain: Document | None) -> int | None:
    """The days that hold for an account; None is never."""
    days: int | None = account.get(FIELD)
    if days is None:
        days = domain.get(FIELD) if domain else None
    return None if days == NEVER else days


def last_due_day(now: int, days: int) -> int:
    """What was retrieved on this day (since the epoch) or before has stayed its time at `now` (ms)."""
    return now // DAY_MS - 1 - max(days, 1)


async def retention_of(db: Database, account_id: AccountId) -> int | None:
    """The days that hold for an account; None is never. Refused NO_ACCOUNT."""
    found = await _with_domains(db, [account_id])
    if account_id not in found:
        raise Refused(RefusedCode.NO_ACCOUNT, "No such account")
    return found[account_id]


async def least_retention(db: Database) -> int | None:
    """The fewest days that any account can have; None if nothing is ever removed."""
    query = {FIELD: {"$gte": 0}}
    found = [
        document[FIELD]
        for collection in (schema.DOMAINS, schema.ACCOUNTS)
        for document in await db[collection].find(query, {FIELD: 1}, sort=[(FIELD, 1)], limit=1)
    ]
    return min(found, default=None)


async def _with_domains(db: Database, account_ids: Collection[AccountId]) -> dict[AccountId, int | None]:
    """The days of each account that exists."""
    lookup = {"from": schema.DOMAINS, "localField": "domain", "foreignField": "_id", "as": "of"}
    pipeline: list[Document] = [
        {"$match": {"_id": {"$in": sorted(account_ids)}, "deleted_at": {"$exists": False}}},
        {"$project": {FIELD: 1, "domain": 1}},
        {"$lookup": lookup},
        {"$project": {FIELD: 1, f"of.{FIELD}": 1}},
    ]
    found = await db[schema.ACCOUNTS].aggregate(pipeline)
    return {d["_id"]: days_of(d, d["of"][0] if d["of"] else None) for d in found}


@dataclass(frozen=True, slots=True)
class Removed:
    """What one transaction removed, and whether more of the mailbox is due."""

    count: int
    more: bool


class RemoveRetrieved(Mutation[Removed]):
    """Remove what has stayed its time at `now` (ms). Refused CONFLICT when nothing is due: no receipt stands in the
    way when the policy changes back.
    """

    kind = "retention"

    def __init__(self, account_id: AccountId, key: bytes, mailbox_id: MailboxId, now: int) -> None:
        super().__init__(account_id, key)
        self._mailbox_id = mailbox_id
        self._now = now

    def needs(self) -> Needs:
        return Needs(
            accounts={self.account_id},
            mailboxes={self._mailbox_id},
            documents={schema.RETRIEVED: {self._mailbox_id}},
        )

    def apply(self, ws: Workspace) -> Removed:
        account = ws.account(self.account_id)
        mailbox = ws.mailbox(self.account_id, self._mailbox_id)
        days = self._days(ws, account.stored)
        runs = read_runs(ws.document(schema.RETRIEVED, self._mailbox_id))
        last = last_due_day(self._now, days)
        uids, left = split_due(living(runs, lowest_uid(mailbox)), last, MAX_UIDS)
        if left == runs:
            raise Refused(RefusedCode.CONFLICT, "Nothing is due in this mailbox")
        write_runs(ws, mailbox, left)
        found = ws.find(mailbox, uids) if uids else []
        count = len(edit.remove(ws, account, mailbox, found, reason=REASON).uids) if found else 0
        return Removed(count, any(run.day <= last for run in left))

    def _days(self, ws: Workspace, account: Document) -> int:
        days = days_of(account, None)
        if FIELD not in account and "domain" in account:
            domain = ws.document(schema.DOMAINS, account["domain"])
            days = days_of(account, domain)
            # $inc, since an update that changes nothing conflicts with nothing.
            guard = UpdateOne({"_id": account["domain"]}, {"$inc": {"retention_removals": 1}})
            ws.operate(schema.DOMAINS, account["domain"], guard)
        if days is None:
            raise Refused(RefusedCode.CONFLICT, "Nothing is removed from this mailbox")
        return days

    def receipt(self, result: Removed) -> Document:
        return {"n": result.count, "more": result.more}

    def repeat(self, ws: Workspace, receipt: Document) -> Removed:
        return Removed(receipt["n"], receipt["more"])


class RetentionSweep:
    """The worker's job: `run(now)` looks at up to BATCH mailboxes and goes on where the last round ended."""

    def __init__(self, db: Database, committer: Committer) -> None:
        self._db = db
        self._committer = committer
        self._after: tuple[int, bytes] | None = None

    @guarded
    async def run(self, now: int) -> bool:
        """One bounded round at `now` (ms): whether more mailboxes wait."""
        least = await least_retention(self._db)
        if least is None:
            self._after = None
            return False
        query: dict[str, Any] = {"oldest": {"$lte": last_due_day(now, least)}}
        if self._after is not None:
            oldest, mailbox_id = self._after
            behind = [{"oldest": oldest, "_id": {"$gt": mailbox_id}}, {"oldest": {"$gt": oldest}}]
            query = {"$and": [query, {"$or": behind}]}
        records = self._db[schema.RETRIEVED]
        found = await records.find(query, sort=[("oldest", 1), ("_id", 1)], limit=BATCH)
        policies = await _with_domains(self._db, {AccountId(d["a"]) for d in found}) if found else {}
        for record in found:
            days = policies.get(AccountId(record["a"]))
            if days is not None and record["oldest"] <= last_due_day(now, days):
                await self._remove(record, now)
        more = len(found) == BATCH
        self._after = (found[-1]["oldest"], found[-1]["_id"]) if more else None
        return more

    async def _remove(self, record: Document | None, now: int) -> None:
        while record is not None:
            account_id, mailbox_id = AccountId(record["a"]), MailboxId(record["_id"])
            mutation = RemoveRetrieved(account_id, _key(record, now), mailbox_id, now)
            try:
                removed = await self._committer.submit(mutation)
            except Refused as refused:  # the policy, the mailbox or the account went meanwhile
                log.info("nothing removed", mailbox_id=mailbox_id.hex(), cause=refused.public)
                return
            _removed.inc(removed.count)
            if removed.count:
                log.info("retrieved messages removed", mailbox_id=mailbox_id.hex(), count=removed.count)
            record = await self._db[schema.RETRIEVED].find_one({"_id": mailbox_id}) if removed.more else None


def _key(record: Document, now: int) -> bytes:
    """Of what the record says and the day: two workers that see the same remove once."""
    parts = (b"retention", record["_id"], record["f"], record["l"], record["d"], (now // DAY_MS).to_bytes(8, "big"))
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()[:16]
