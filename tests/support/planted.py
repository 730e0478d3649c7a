"""A store planted by hand, document by document: what collectors and audits are tested on.

Tests make exactly the state they judge, faults included, without the code that normally keeps faults out.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mailboat_common.ids import uuid7
from mailboat_store_client.types import DEAD, DELETED, SEEN, AccountId, BodyId, Columns, MailboxId
from storage_api.db import schema
from storage_api.db.driver import Database, Document, connect
from storage_api.db.migrations import migrate
from storage_api.store import rows
from storage_api.store.accounts import mailbox_document, new_account_document
from storage_api.store.bodies import Bodies
from storage_api.store.pages import (
    IMMUTABLE,
    MUTABLE,
    PageRef,
    immutable_fields,
    mutable_fields,
    pack_directory,
    pack_tail,
    page_id,
)

MESSAGE = b"Subject: planted\r\nMessage-ID: <planted@example.test>\r\n\r\nHello.\r\n"


@asynccontextmanager
async def empty_database(uri: str, name: str) -> AsyncIterator[Database]:
    """The migrated database `name` without any document; emptying is ten times faster than making a new one."""
    database = connect(uri, app="test", database=f"test_{name}")
    await migrate(database)
    collections = schema.INDEXES | schema.RETENTION_INDEXES | schema.QUEUE_INDEXES | schema.NOTICE_INDEXES
    await asyncio.gather(*(database[collection].delete_many({}) for collection in collections))
    yield database
    await database.close()


@dataclass(slots=True)
class Mailbox:
    """One mailbox as it will be planted: pages of rows, then a tail."""

    account_id: AccountId
    mailbox_id: MailboxId
    name: str
    pages: list[Columns] = field(default_factory=list)
    tail: Columns = field(default_factory=rows.empty)
    deleted_at: int | None = None
    modseq: int = 1

    def row(self, where: Columns, uid: int, body_id: bytes, size: int, flags: int = 0) -> None:
        """Append a row to a page or to the tail."""
        self.modseq += 1
        rows.add(
            where, uid=uid, modseq=self.modseq, words=(flags,), body_id=body_id, internal_date=1, save_date=1, size=size
        )

    def living(self) -> list[tuple[int, int, int]]:
        """(uid, flags, size) of the rows without the dead bit."""
        found: list[tuple[int, int, int]] = []
        for columns in (*self.pages, self.tail):
            for row, uid in enumerate(columns.uids):
                if columns.flags[0][row] < DEAD:
                    found.append((uid, columns.flags[0][row], columns.sizes[row]))
        return found

    def documents(self) -> list[tuple[str, Document]]:
        """The documents of the mailbox and its pages, right in every counter."""
        living = self.living()
        uids = [uid for columns in (*self.pages, self.tail) for uid in columns.uids]
        document = mailbox_document(self.account_id, self.mailbox_id, self.name, 1)
        document |= {
            "uid_next": max(uids, default=0) + 1,
            "highest_modseq": self.modseq,
            "messages": len(living),
            "unseen": sum(not flags & SEEN for _, flags, _ in living),
            "deleted": sum(bool(flags & DELETED) for _, flags, _ in living),
            "size": sum(size for _, _, size in living),
            "tail": pack_tail(self.tail),
            "pages": pack_directory([self._ref(number, page) for number, page in enumerate(self.pages)]),
        }
        if self.deleted_at is not None:
            document["deleted_at"] = self.deleted_at
            document["old_name"] = document.pop("name")
        out: list[tuple[str, Document]] = [(schema.MAILBOXES, document)]
        for number, page in enumerate(self.pages):
            own = {"a": self.account_id, "m": self.mailbox_id}
            immutable = {"_id": page_id(self.mailbox_id, number, IMMUTABLE), **own, **immutable_fields(page)}
            mutable = {"_id": page_id(self.mailbox_id, number, MUTABLE), **own, **mutable_fields(page)}
            out += [(schema.PAGES, immutable), (schema.PAGES, {**mutable, "max_modseq": max(page.modseqs)})]
        return out

    @staticmethod
    def _ref(number: int, page: Columns) -> PageRef:
        dead = sum(word >= DEAD for word in page.flags[0])
        return PageRef(number, page.uids[0], len(page.uids), dead)


class Plant:
    """Plants accounts, bodies, mailboxes and tombstones in `db`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.bodies = Bodies(db)

    async def body(self, account_id: AccountId, content: bytes = MESSAGE) -> BodyId:
        """A body with nothing that refers to it."""
        prepared = await self.bodies.prepare(account_id, content)
        for collection, document in self.bodies.documents(prepared):
            await self.db[collection].insert_one(document)
        return prepared.body_id

    async def account(self, mailboxes: Sequence[Mailbox], account_id: AccountId, **more: object) -> None:
        """The account of these mailboxes, with usage as they say; `more` are further fields."""
        documents = [document for mailbox in mailboxes for document in mailbox.documents()]
        heads = [document for collection, document in documents if collection == schema.MAILBOXES]
        living = [d for d in heads if "deleted_at" not in d]
        account = new_account_document(account_id, heads or [{"_id": b"", "uid_validity": 1}])
        account["usage"] = {"bytes": sum(d["size"] for d in living), "messages": sum(d["messages"] for d in living)}
        await self.db[schema.ACCOUNTS].insert_one({**account, **more})
        for collection, document in documents:
            await self.db[collection].insert_one(document)

    def mailbox(self, account_id: AccountId, name: str = "INBOX", deleted_at: int | None = None) -> Mailbox:
        """An empty mailbox, not yet in the database."""
        return Mailbox(account_id, MailboxId(uuid7()), name, deleted_at=deleted_at)

    async def tombstone(self, mailbox: Mailbox, modseq: int, at: int, removed: Sequence[tuple[int, bytes]]) -> None:
        """A commit that removed (uid, body id) pairs at `at` (ms)."""
        document: Document = {
            "_id": mailbox.mailbox_id + modseq.to_bytes(8, "big") + bytes(2),
            "a": mailbox.account_id,
            "m": mailbox.mailbox_id,
            "modseq": modseq,
            "at": at,
            "reason": "expunge",
            "u": array("I", [uid for uid, _ in removed]).tobytes(),
            "b": b"".join(body_id for _, body_id in removed),
        }
        await self.db[schema.VANISHED].insert_one(document)
