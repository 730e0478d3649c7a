"""What goes by age: tombstones, deleted mailboxes, deleted accounts.

Each step removes leaves before the document they hang on, so a step that died in the middle is found and finished by
the next. Tombstones: first the mailbox's `vanished_floor` rises above what will go, then it goes; below the floor the
store answers with every missing UID (RFC 7162 3.2.10). A deleted mailbox: pages and tombstones, then the mailbox; its
account is then due for a sweep of bodies. A deleted account: its mailboxes become deleted ones; when they and its
bodies are gone, the account goes.
"""

from __future__ import annotations

from mailboat_store_client.types import AccountId, MailboxId

from ..db import schema
from ..db.driver import Database, Document
from .gc_bodies import note
from .gc_report import HOUR, GcReport, Limits, Retention
from .pages import page_id_range


async def prune_vanished(db: Database, retention: Retention, limits: Limits, now: int) -> GcReport:
    """Forget tombstones older than `vanished`, behind each mailbox's floor."""
    vanished = db[schema.VANISHED]
    query = {"at": {"$lte": now - retention.vanished}}
    projection = {"a": 1, "m": 1, "modseq": 1}
    found = await vanished.find(query, projection, sort=[("at", 1)], limit=limits.documents)
    floors: dict[tuple[bytes, bytes], int] = {}
    for tombstone in found:
        key = (tombstone["a"], tombstone["m"])
        floors[key] = max(floors.get(key, 0), tombstone["modseq"])
    for (account_id, mailbox_id), floor in floors.items():
        await db[schema.MAILBOXES].update_one({"_id": mailbox_id, "a": account_id}, {"$max": {"vanished_floor": floor}})
    deleted = await vanished.delete_many({"_id": {"$in": [d["_id"] for d in found]}}) if found else 0
    return GcReport(tombstones_pruned=deleted, more=len(found) == limits.documents)


async def delete_mailboxes(db: Database, retention: Retention, limits: Limits, now: int) -> GcReport:
    """Remove what is left of mailboxes deleted longer ago than `restorable`."""
    report = GcReport()
    query = {"deleted_at": {"$lte": now - retention.restorable}}
    found = await db[schema.MAILBOXES].find(query, {"a": 1}, sort=[("deleted_at", 1)], limit=limits.documents)
    room = limits.documents
    for mailbox in found:
        one = await _delete_mailbox(db, mailbox, room, now)
        report = report + one
        room -= one.pages_deleted + 1
        if room <= 0:
            return report + GcReport(more=True)
    return report + GcReport(more=len(found) == limits.documents)


async def _delete_mailbox(db: Database, mailbox: Document, room: int, now: int) -> GcReport:
    account_id, mailbox_id = AccountId(mailbox["a"]), MailboxId(mailbox["_id"])
    low, high = page_id_range(mailbox_id)
    pages = db[schema.PAGES]
    ids = [d["_id"] for d in await pages.find({"_id": {"$gte": low, "$lte": high}}, {"_id": 1}, limit=room)]
    deleted = await pages.delete_many({"_id": {"$in": ids}}) if ids else 0
    if len(ids) == room:
        return GcReport(pages_deleted=deleted, more=True)
    await db[schema.VANISHED].delete_many({"a": account_id, "m": mailbox_id})
    await db[schema.RECENT].delete_one({"_id": mailbox_id})
    await db[schema.ANNOTATIONS].delete_one({"_id": mailbox_id})  # of an account's deletion, or an older release's
    await db[schema.RETRIEVED].delete_one({"_id": mailbox_id})
    # Noted before the mailbox goes, lest a death in between forgets its bodies; due after, since its tail still counts.
    await note(db, account_id, now, now + HOUR)
    gone = await db[schema.MAILBOXES].delete_one({"_id": mailbox_id, "deleted_at": {"$exists": True}})
    return GcReport(pages_deleted=deleted, mailboxes_deleted=gone)


async def delete_accounts(db: Database, retention: Retention, limits: Limits, now: int) -> GcReport:
    """Pass accounts deleted longer ago than `restorable` on to the other steps, and remove the empty ones."""
    emptied = 0
    query = {"deleted_at": {"$lte": now - retention.restorable}}
    found = await db[schema.ACCOUNTS].find(query, {"deleted_at": 1}, sort=[("deleted_at", 1)], limit=limits.documents)
    for account in found:
        account_id = AccountId(account["_id"])
        await db[schema.MAILBOXES].update_many(
            {"a": account_id, "deleted_at": {"$exists": False}},
            {"$set": {"deleted_at": account["deleted_at"]}, "$unset": {"name": 1}},
        )
        mailboxes = await db[schema.MAILBOXES].count({"a": account_id}, limit=1)
        if mailboxes or await db[schema.BODIES].count({"a": account_id}, limit=1):
            continue
        await db[schema.LEASES].delete_one({"_id": account_id})
        await db[schema.ANNOTATIONS].delete_one({"_id": account_id})
        emptied += await db[schema.ACCOUNTS].delete_one({"_id": account_id, "deleted_at": account["deleted_at"]})
    return GcReport(accounts_emptied=emptied)
