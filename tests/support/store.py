"""A store on a real database for tests: accounts, envelopes, and a checker of everything a mailbox promises."""

from __future__ import annotations

import hashlib
import os
import time
from array import array
from collections import Counter
from dataclasses import dataclass

from mailboat_common.ids import trace_id, uuid7
from mailboat_store_client.columns import U32, unpack
from mailboat_store_client.types import (
    DEAD,
    DELETED,
    SEEN,
    AccountId,
    AppendMessage,
    Envelope,
    EnvelopeRecipient,
    MailboxId,
)
from storage_api.db import schema
from storage_api.db.driver import Database, Document, Session
from storage_api.store.accounts import default_mailboxes, new_account_document
from storage_api.store.mongo import MongoStore
from storage_api.store.pages import (
    PAGE_ROWS,
    TAIL_ROWS,
    page_id_range,
    split_page_id,
    unpack_directory,
    unpack_page,
    unpack_tail,
)

MESSAGE = b"From: a@example.test\r\nTo: b@example.test\r\nSubject: Hello\r\n\r\nHello there.\r\n"


def key() -> bytes:
    """A fresh idempotency key."""
    return os.urandom(16)


async def new_account(db: Database, *, quota: int = 0) -> AccountId:
    """An account with the default mailboxes."""
    account_id = AccountId(uuid7())
    mailboxes = default_mailboxes(account_id, time.time_ns() // 1_000_000)
    await db[schema.MAILBOXES].insert_many(mailboxes)
    await db[schema.ACCOUNTS].insert_one(new_account_document(account_id, mailboxes, quota_bytes=quota))
    return account_id


def envelope(*accounts: AccountId, content: bytes = MESSAGE, reverse_path: str = "s@elsewhere.example") -> Envelope:
    """A transaction with one address for each account."""
    recipients = tuple(EnvelopeRecipient(f"{a.hex()}@example.test", a) for a in accounts)
    return Envelope(trace_id(), reverse_path, recipients, hashlib.sha256(content).digest())


async def inbox_of(store: MongoStore, account_id: AccountId) -> MailboxId:
    """The id of INBOX."""
    return (await store.read.head(account_id, "INBOX")).mailbox_id


async def fill(store: MongoStore, account_id: AccountId, name: str, count: int) -> None:
    """Append `count` messages, up to 256 a call."""
    for start in range(0, count, 256):
        messages = [AppendMessage(MESSAGE)] * min(256, count - start)
        await store.write.append(account_id, name, messages, key=key())


@dataclass(slots=True)
class Contents:
    """What the checker found in one mailbox: living UIDs and vanished ones."""

    living: list[int]
    vanished: list[int]


async def check_account(db: Database, account_id: AccountId) -> dict[MailboxId, Contents]:
    """Read an account in one snapshot, independently of the store's own code paths, and assert all that must hold."""
    out: dict[MailboxId, Contents] = {}
    size = messages = 0
    bodies: set[bytes] = set()
    async with db.snapshot() as session:
        account = await db[schema.ACCOUNTS].find_one({"_id": account_id}, session=session)
        assert account is not None
        for mailbox in await db[schema.MAILBOXES].find({"a": account_id}, session=session):
            if mailbox.get("deleted_at") is not None:
                continue
            contents, found = await _check_mailbox(db, session, mailbox)
            out[mailbox["_id"]] = contents
            bodies |= found
            size += mailbox["size"]
            messages += mailbox["messages"]
        held = {d["_id"] for d in await db[schema.BODIES].find({"a": account_id}, {"_id": 1}, session=session)}
    assert bodies <= held, f"{len(bodies - held)} entries without a body"
    assert account["usage"] == {"bytes": size, "messages": messages}
    return out


async def _check_mailbox(db: Database, session: Session, mailbox: Document) -> tuple[Contents, set[bytes]]:
    mailbox_id = mailbox["_id"]
    first, last = page_id_range(mailbox_id)
    documents = await db[schema.PAGES].find({"_id": {"$gte": first, "$lte": last}}, session=session, sort=[("_id", 1)])
    directory = unpack_directory(mailbox["pages"])
    assert [split_page_id(d["_id"])[1] for d in documents[::2]] == [ref.number for ref in directory]
    uids: array[int] = array("I")
    counts: Counter[str] = Counter()
    bodies: set[bytes] = set()
    pages = [unpack_page(a, b) for a, b in zip(documents[::2], documents[1::2], strict=True)]
    tail = unpack_tail(mailbox["tail"])
    assert len(tail) <= TAIL_ROWS
    for ref, page, mutable in zip(directory, pages, documents[1::2], strict=True):
        assert (ref.first_uid, ref.rows) == (page.uids[0], len(page))
        assert len(page) <= PAGE_ROWS
        assert ref.dead == sum(1 for word in page.flags[0] if word & DEAD)
        assert mutable["max_modseq"] == max(page.modseqs)
        assert mutable["a"] == mailbox["a"]
    for columns in [*pages, tail]:
        for row, word in enumerate(columns.flags[0]):
            uids.append(columns.uids[row])
            if word & DEAD:
                uids.pop()
                continue
            counts["messages"] += 1
            counts["unseen"] += not word & SEEN
            counts["deleted"] += bool(word & DELETED)
            counts["size"] += columns.sizes[row]
            assert columns.modseqs[row] <= mailbox["highest_modseq"]
            bodies.add(columns.body_id(row))
    for name in ("messages", "unseen", "deleted", "size"):
        assert counts[name] == mailbox[name], name
    every_uid = [uid for columns in [*pages, tail] for uid in columns.uids]
    assert every_uid == sorted(set(every_uid))
    vanished: list[int] = []
    for tombstone in await db[schema.VANISHED].find({"a": mailbox["a"], "m": mailbox_id}, session=session):
        assert tombstone["modseq"] <= mailbox["highest_modseq"]
        vanished += unpack(U32, tombstone["u"])
    assert sorted([*uids, *vanished]) == list(range(1, mailbox["uid_next"])), "each UID lives or vanished, once"
    return Contents(list(uids), sorted(vanished)), bodies
