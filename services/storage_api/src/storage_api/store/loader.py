"""Reading what a transaction needs into its workspace: first what every batch reads, in one round trip, then one find
per collection for the rest; never a document twice.

A document read again in the same snapshot would hide what earlier mutations did to it in memory; so what is there
stays.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mailboat_common.errors import Internal
from mailboat_store_client.types import AccountId, MailboxId

from ..db import schema
from ..db.driver import Database, Document, Session
from .pages import IMMUTABLE, MUTABLE, page_id, split_page_id
from .state import AccountState, MailboxState, Page
from .workspace import DedupeId, Needs, TreeEntry, Workspace, check_page

INBOX = "INBOX"


async def load_first(db: Database, session: Session, ws: Workspace, keys: Sequence[DedupeId], needs: Needs) -> None:
    """Receipts and duplicate keys that exist, and everything in `needs`.

    Receipts, accounts and mailboxes come in one answer: a round trip costs as much as the documents of a batch.
    """
    accounts = sorted(needs.accounts | needs.inboxes)
    pairs = needs.named | {(account_id, INBOX) for account_id in needs.inboxes}
    wanted = [{"a": account_id, "k": key} for account_id, key in keys]
    parts: list[tuple[str, Document]] = []
    if wanted:
        parts.append((schema.DEDUPE, {"_id": {"$in": wanted}}))
    if needs.mailboxes:
        parts.append((schema.MAILBOXES, {"_id": {"$in": sorted(needs.mailboxes)}}))
    if pairs:
        parts.append((schema.MAILBOXES, _named(pairs)))
    if parts:
        await _joined(db, session, ws, accounts, parts)
    for mailbox_id in needs.mailboxes:
        ws.mailboxes.setdefault(mailbox_id, None)
    for pair in pairs:
        ws.names.setdefault(pair, None)
    await load(db, session, ws, needs)


async def _joined(
    db: Database, session: Session, ws: Workspace, accounts: list[AccountId], parts: list[tuple[str, Document]]
) -> None:
    """The accounts and what `parts` ask of other collections, in one answer ($unionWith isn't for transactions).

    $documents isn't either, so an account must be there for the rest to be joined to; else each is asked by itself.
    """
    joins: list[Document] = [
        {"$lookup": {"from": collection, "pipeline": [{"$match": query}], "as": str(number)}}
        for number, (collection, query) in enumerate(parts)
    ]
    pipeline: list[Document] = [
        {"$match": {"_id": {"$in": accounts}}},
        {"$group": {"_id": None, "accounts": {"$push": "$$ROOT"}}},
        *joins,
    ]
    found = await db[schema.ACCOUNTS].aggregate(pipeline, session=session) if accounts else []
    for document in found[0]["accounts"] if found else ():
        ws.accounts[document["_id"]] = AccountState(document)
    for account_id in accounts:
        ws.accounts.setdefault(account_id, None)
    for number, (collection, query) in enumerate(parts):
        documents = found[0][str(number)] if found else await db[collection].find(query, session=session)
        if collection == schema.DEDUPE:
            for document in documents:
                ws.dedupe[document["_id"]["a"], document["_id"]["k"]] = document
        else:
            _add_mailboxes(ws, documents)


async def load(db: Database, session: Session, ws: Workspace, needs: Needs) -> None:
    """Everything in `needs` that the workspace doesn't have yet."""
    await _accounts(db, session, ws, needs)
    ids = needs.mailboxes - ws.mailboxes.keys()
    for account_id in needs.inboxes:
        account = ws.accounts[account_id]
        if account is not None and account.inbox not in ws.mailboxes:
            ids.add(account.inbox)
    if ids:
        found = await db[schema.MAILBOXES].find({"_id": {"$in": sorted(ids)}}, session=session)
        _add_mailboxes(ws, found)
        for mailbox_id in ids:
            ws.mailboxes.setdefault(mailbox_id, None)
    await _by_name(db, session, ws, needs)
    await _trees(db, session, ws, needs)
    await _pages(db, session, ws, needs)
    for account_id in needs.marked - ws.marked.keys():
        found = await db[schema.BODIES].find(
            {"a": account_id, "dead_since": {"$exists": True}}, {"_id": 1}, session=session, hint="dead"
        )
        ws.marked[account_id] = {document["_id"] for document in found}
    for collection, document_ids in needs.documents.items():
        missing = [i for i in document_ids if (collection, i) not in ws.documents]
        if missing:
            for document in await db[collection].find({"_id": {"$in": missing}}, session=session):
                ws.documents[collection, document["_id"]] = document
            for document_id in missing:
                ws.documents.setdefault((collection, document_id), None)


async def _accounts(db: Database, session: Session, ws: Workspace, needs: Needs) -> None:
    wanted = (needs.accounts | needs.inboxes) - ws.accounts.keys()
    if not wanted:
        return
    for document in await db[schema.ACCOUNTS].find({"_id": {"$in": sorted(wanted)}}, session=session):
        ws.accounts[document["_id"]] = AccountState(document)
    for account_id in wanted:
        ws.accounts.setdefault(account_id, None)


def _add_mailboxes(ws: Workspace, documents: list[Document]) -> None:
    for document in documents:
        if document["_id"] in ws.mailboxes:
            continue
        mailbox = MailboxState(document)
        ws.mailboxes[mailbox.mailbox_id] = mailbox
        if mailbox.name is not None:
            ws.names.setdefault((mailbox.account_id, mailbox.name), mailbox.mailbox_id)


def _named(pairs: Collection[tuple[AccountId, str]]) -> Document:
    """A query for mailboxes by account and name; it may find a few more."""
    return {
        "a": {"$in": sorted({account_id for account_id, _ in pairs})},
        "name": {"$in": sorted({name for _, name in pairs})},
    }


async def _by_name(db: Database, session: Session, ws: Workspace, needs: Needs) -> None:
    wanted = [pair for pair in needs.named if pair not in ws.names]
    if not wanted:
        return
    _add_mailboxes(ws, await db[schema.MAILBOXES].find(_named(wanted), session=session))
    for pair in wanted:
        ws.names.setdefault(pair, None)


async def _trees(db: Database, session: Session, ws: Workspace, needs: Needs) -> None:
    for account_id in needs.trees - ws.trees.keys():
        query = {"a": account_id, "name": {"$gt": ""}}
        found = await db[schema.MAILBOXES].find(query, {"name": 1, "special_use": 1}, session=session)
        # Names change only where the tree is loaded, so nothing in the workspace can differ from what is read here.
        ws.trees[account_id] = {d["name"]: TreeEntry(MailboxId(d["_id"]), d.get("special_use")) for d in found}


async def _pages(db: Database, session: Session, ws: Workspace, needs: Needs) -> None:
    wanted: dict[MailboxId, list[int]] = {}
    for mailbox_id, numbers in needs.pages.items():
        mailbox = ws.mailboxes.get(mailbox_id)
        if mailbox is not None:
            missing = [number for number in numbers if number not in mailbox.pages]
            if missing:
                wanted[mailbox_id] = missing
    if not wanted:
        return
    ids = [
        page_id(mailbox_id, number, kind)
        for mailbox_id in sorted(wanted)
        for number in sorted(wanted[mailbox_id])
        for kind in (IMMUTABLE, MUTABLE)
    ]
    found = {d["_id"]: d for d in await db[schema.PAGES].find({"_id": {"$in": ids}}, session=session)}
    for document_id in ids[::2]:
        mailbox_id, number, _ = split_page_id(document_id)
        immutable, mutable = found.get(document_id), found.get(page_id(mailbox_id, number, MUTABLE))
        mailbox = ws.mailboxes[mailbox_id]
        if immutable is None or mutable is None or mailbox is None:
            raise Internal(f"page {number} of mailbox {mailbox_id.hex()} is incomplete")
        page = Page.read(number, immutable, mutable)
        check_page(mailbox, page)
        mailbox.pages[number] = page
