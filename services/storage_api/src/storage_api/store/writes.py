"""A workspace's changes as bulk writes: one per collection, documents in `_id` order (store.md, rule 3).

Two transactions that meet on several documents therefore meet on the first of them, and the loser has written nothing
else. At most one update goes to any account, mailbox or page, however many mutations touched it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..db import schema
from ..db.driver import DeleteOne, Document, InsertOne, UpdateOne, WriteOperation
from . import outbox
from .pages import split_page_id
from .workspace import Workspace

# What conflicts comes first: a refused transaction should have done little.
ORDER = (
    schema.ACCOUNTS,
    schema.MAILBOXES,
    schema.PAGES,
    schema.ACCEPTED,
    schema.QUEUE,
    schema.SUPPRESSIONS,
    schema.NOTICES,
    schema.VANISHED,
    schema.BODIES,
    schema.DEDUPE,
    schema.OUTBOX,
)


def date(ms: int) -> datetime:
    """A BSON date (what TTL indexes need) of ms since the epoch."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def plan(ws: Workspace) -> list[tuple[str, list[WriteOperation]]]:
    """(collection, operations) in the order they are to be written."""
    out: dict[str, list[WriteOperation]] = {}
    if ws.events:
        out[schema.OUTBOX] = [InsertOne(_outbox(ws))]  # before the accounts: it dates them
    if accounts := _accounts(ws):
        out[schema.ACCOUNTS] = accounts
    if mailboxes := _mailboxes(ws):
        out[schema.MAILBOXES] = mailboxes
    if pages := _pages(ws):
        out[schema.PAGES] = pages
    for collection, documents in ws.inserts.items():
        if documents:
            ordered = sorted(documents, key=_sort_key)
            out.setdefault(collection, []).extend([InsertOne(document) for document in ordered])
    for collection, pairs in ws.operations.items():
        if pairs:
            ordered_pairs = sorted(pairs, key=lambda pair: pair[0])
            out.setdefault(collection, []).extend([operation for _, operation in ordered_pairs])
    rank = {name: number for number, name in enumerate(ORDER)}
    return sorted(out.items(), key=lambda item: (rank.get(item[0], len(ORDER)), item[0]))


def _sort_key(document: Document) -> Any:
    document_id = document["_id"]
    return (document_id["a"], document_id["k"]) if isinstance(document_id, dict) else document_id


def _outbox(ws: Workspace) -> Document:
    accounts = [ws.accounts[a] for a in {e["a"] for e in ws.events if "a" in e}]
    owners = [account for account in accounts if account is not None]
    order = outbox.order(ws.now, [account.seq_at for account in owners])
    for account in owners:
        account.seq_at = order
    return outbox.batch(order, ws.events)


def _accounts(ws: Workspace) -> list[WriteOperation]:
    out: list[WriteOperation] = []
    for account_id in sorted(ws.accounts):
        account = ws.accounts[account_id]
        if account is not None and account.touched >= 0 and (update := account.update()):
            out.append(UpdateOne({"_id": account_id}, update))
    return out


def _mailboxes(ws: Workspace) -> list[WriteOperation]:
    out: list[WriteOperation] = []
    for mailbox_id in sorted(ws.mailboxes):
        mailbox = ws.mailboxes[mailbox_id]
        if mailbox is not None and (mailbox.is_new or mailbox.touched >= 0) and (update := mailbox.update()):
            query = {"_id": mailbox_id, "a": mailbox.account_id}
            out.append(UpdateOne(query, update, upsert=mailbox.is_new))
    return out


def _pages(ws: Workspace) -> list[WriteOperation]:
    updates: list[WriteOperation] = []
    deletes: list[WriteOperation] = []
    for mailbox_id in sorted(ws.mailboxes):
        mailbox = ws.mailboxes[mailbox_id]
        if mailbox is None:
            continue
        for number in sorted(mailbox.pages):
            for document_id, update in mailbox.pages[number].updates(mailbox):
                query = {"_id": document_id, "a": mailbox.account_id}
                assert split_page_id(document_id)[0] == mailbox_id
                if update is None:
                    deletes.append(DeleteOne(query))
                else:
                    updates.append(UpdateOne(query, update, upsert=True))
    return updates + deletes
