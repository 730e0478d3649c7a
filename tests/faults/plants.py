"""Faults planted in a real store by hand, and taken away again: what the judge and `mailboatctl audit` must find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mailboat_store_client.types import Columns
from pymongo.database import Database
from storage_api.store import rows
from storage_api.store.pages import IMMUTABLE, pack_tail, page_id, unpack_tail

Document = dict[str, Any]
Db = Database[Document]


class Planted:
    """One account's documents: INBOX with its tail, pages, bodies and blobs."""

    def __init__(self, db: Db, account_id: bytes) -> None:
        self.db = db
        self.account_id = account_id
        self.inbox = self._one("mailboxes", {"a": account_id, "name": "INBOX"})
        self.tail: Columns = unpack_tail(self.inbox["tail"])

    def _one(self, collection: str, query: Document) -> Document:
        found = self.db[collection].find_one(query)
        assert found is not None, f"{collection} has no {query}"
        return found

    def write_tail(self, tail: Columns, **fields: int) -> None:
        """Replace the tail and set counters."""
        self.set_inbox(tail=pack_tail(tail), **fields)

    def set_inbox(self, **fields: Any) -> None:
        """Set fields of the mailbox's document."""
        assert self.db["mailboxes"].update_one({"_id": self.inbox["_id"]}, {"$set": fields}).matched_count == 1

    def set_usage(self, messages: int, size: int) -> None:
        """Add to the account's usage."""
        change = {"$inc": {"usage.messages": messages, "usage.bytes": size}}
        assert self.db["accounts"].update_one({"_id": self.account_id}, change).matched_count == 1


def drop_page(p: Planted) -> None:
    """Both documents of the first page."""
    gone = p.db["pages"].delete_many({"a": p.account_id, "m": p.inbox["_id"]})
    assert gone.deleted_count == 2


def drop_tail_entry(p: Planted) -> None:
    """The newest entry, with every counter as if it had never been."""
    last = len(p.tail.uids) - 1
    size = p.tail.sizes[last]
    counters = {"messages": p.inbox["messages"] - 1, "unseen": p.inbox["unseen"] - 1, "size": p.inbox["size"] - size}
    p.write_tail(rows.part(p.tail, 0, last), **counters)
    p.set_usage(-1, -size)


def deliver_twice(p: Planted) -> None:
    """The newest message once more under a new UID, with every counter right."""
    last = len(p.tail.uids) - 1
    copy = rows.part(p.tail, last, last + 1)
    copy.uids[0], copy.modseqs[0] = p.inbox["uid_next"], p.inbox["highest_modseq"] + 1
    rows.extend(p.tail, copy)
    p.write_tail(
        p.tail,
        uid_next=p.inbox["uid_next"] + 1,
        highest_modseq=p.inbox["highest_modseq"] + 1,
        messages=p.inbox["messages"] + 1,
        unseen=p.inbox["unseen"] + 1,
        size=p.inbox["size"] + copy.sizes[0],
    )
    p.set_usage(1, copy.sizes[0])


def change_uid(p: Planted) -> None:
    """The newest message gets the next UID."""
    p.tail.uids[-1] = p.inbox["uid_next"]
    p.write_tail(p.tail, uid_next=p.inbox["uid_next"] + 1)


def lose_flag(p: Planted) -> None:
    """The newest message was \\Flagged."""
    assert p.tail.flags[0][-1]
    p.tail.flags[0][-1] = 0
    p.write_tail(p.tail)


def resurrect(p: Planted) -> None:
    """An expunged message is there again."""
    tombstone = p._one("vanished", {"a": p.account_id, "m": p.inbox["_id"]})
    uid = int.from_bytes(tombstone["u"][:4], "little")
    body_id = bytes(tombstone["b"][:16])
    size = p._one("bodies", {"_id": body_id})["size"]
    first = rows.part(p.tail, 0, 1)
    assert uid < first.uids[0]
    first.uids[0], first.sizes[0], first.flags[0][0] = uid, size, 0
    first.body_ids = bytearray(body_id)
    rows.extend(first, p.tail)
    counters = {"messages": p.inbox["messages"] + 1, "unseen": p.inbox["unseen"] + 1, "size": p.inbox["size"] + size}
    p.write_tail(first, **counters)
    p.set_usage(1, size)


def delete_body(p: Planted) -> None:
    """The body the newest entry names."""
    assert p.db["bodies"].delete_one({"_id": bytes(p.tail.body_ids[-16:])}).deleted_count == 1


def delete_chunk(p: Planted) -> None:
    """A chunk of an attachment."""
    digest = p._one("bodies", {"a": p.account_id, "blobs": {"$exists": True}})["blobs"][0]
    assert p.db["blob_chunks"].delete_one({"h": digest}).deleted_count == 1


def wrong_counter(p: Planted) -> None:
    """The mailbox says one message more than it has."""
    p.set_inbox(messages=p.inbox["messages"] + 1)


def wrong_usage(p: Planted) -> None:
    """The account pays for octets it doesn't have."""
    p.set_usage(0, 100)


def swap_page_rows(p: Planted) -> None:
    """Two UIDs of a page in the wrong order."""
    document_id = page_id(p.inbox["_id"], 0, IMMUTABLE)
    uids = bytes(p._one("pages", {"_id": document_id})["u"])
    swapped = uids[4:8] + uids[:4] + uids[8:]
    assert p.db["pages"].update_one({"_id": document_id}, {"$set": {"u": swapped}}).modified_count == 1


@contextmanager
def planted(db: Db, account_id: bytes, plant: Callable[[Planted], None]) -> Iterator[None]:
    """The fault while the block runs; then every document is as it was."""
    digests = db["bodies"].distinct("blobs", {"a": account_id})
    kept: dict[str, Document] = {name: {"a": account_id} for name in ("mailboxes", "pages", "vanished", "bodies")}
    kept |= {"accounts": {"_id": account_id}, "blob_chunks": {"h": {"$in": digests}}}
    before = {name: list(db[name].find(query)) for name, query in kept.items()}
    try:
        plant(Planted(db, account_id))
        yield
    finally:
        for name, query in kept.items():
            db[name].delete_many(query)
            if before[name]:
                db[name].insert_many(before[name])
