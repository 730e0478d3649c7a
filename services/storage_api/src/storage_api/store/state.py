"""Documents of accounts, mailboxes and pages as objects a transaction works on, and back.

Each can be saved and restored (`save`, `restore`), so that a refused mutation leaves no trace while its siblings go
on, and each knows how it differs from what was read (`update`).
"""

from __future__ import annotations

from typing import Any

from mailboat_store_client.types import AccountId, Columns, FlagTable, MailboxId, Quota, SpecialUse

from ..db.driver import Document
from . import rows
from .pages import (
    IMMUTABLE,
    MUTABLE,
    PageRef,
    immutable_fields,
    mutable_fields,
    pack_directory,
    pack_tail,
    page_id,
    unpack_directory,
    unpack_page,
    unpack_tail,
)


def _difference(stored: Document, now: Document) -> Document:
    """The update that turns what is stored into what is now; empty if they are equal. None means absent."""
    changed = {key: value for key, value in now.items() if value is not None and stored.get(key) != value}
    gone = {key: "" for key, value in now.items() if value is None and stored.get(key) is not None}
    update: Document = {}
    if changed:
        update["$set"] = changed
    if gone:
        update["$unset"] = gone
    return update


class AccountState:
    """The store's fields of an account."""

    __slots__ = (
        "account_id",
        "address",
        "annotation_bytes",
        "bytes_used",
        "deleted",
        "disabled",
        "inbox",
        "last_uid_validity",
        "mailbox_count",
        "messages",
        "other_subscriptions",
        "quota_bytes",
        "quota_messages",
        "removals_at",
        "seq",
        "seq_at",
        "stored",
        "touched",
        "tree_version",
    )

    def __init__(self, document: Document) -> None:
        self.stored = document
        self.touched = -1
        self.account_id = AccountId(document["_id"])
        usage = document["usage"]
        self.bytes_used: int = usage["bytes"]
        self.messages: int = usage["messages"]
        self.quota_bytes: int = document["quota_bytes"]
        self.quota_messages: int = document.get("quota_messages", 0)
        self.tree_version: int = document["tree_version"]
        self.last_uid_validity: int = document["last_uid_validity"]
        self.mailbox_count: int = document["mailbox_count"]
        self.inbox = MailboxId(document["inbox"])
        self.other_subscriptions: list[str] = list(document["other_subscriptions"])
        self.disabled: bool = bool(document["disabled"])
        self.deleted: bool = document.get("deleted_at") is not None
        self.removals_at: int | None = document.get("removals_at")
        self.annotation_bytes: int = document.get("annotation_bytes", 0)
        self.address: str = document.get("address", "")
        self.seq: int = document.get("seq", 0)
        self.seq_at: int = document.get("seq_at", 0)

    def quota(self) -> Quota:
        """Usage as this transaction has it by now, and the limits."""
        return Quota(self.bytes_used, self.quota_bytes, self.messages, self.quota_messages)

    def save(self) -> tuple[Any, ...]:
        """What `restore` needs."""
        return (
            self.bytes_used,
            self.messages,
            self.tree_version,
            self.last_uid_validity,
            self.mailbox_count,
            list(self.other_subscriptions),
            self.removals_at,
            self.annotation_bytes,
            self.seq,
        )

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Back to the state at `save`."""
        (
            self.bytes_used,
            self.messages,
            self.tree_version,
            self.last_uid_validity,
            self.mailbox_count,
            self.other_subscriptions,
            self.removals_at,
            self.annotation_bytes,
            self.seq,
        ) = saved

    def update(self) -> Document:
        """The update of the account's document; empty if nothing changed."""
        now: Document = {
            "tree_version": self.tree_version,
            "last_uid_validity": self.last_uid_validity,
            "mailbox_count": self.mailbox_count,
            "other_subscriptions": self.other_subscriptions,
            "removals_at": self.removals_at,
            "annotation_bytes": self.annotation_bytes or None,
            "seq": self.seq,
            "seq_at": self.seq_at or None,
        }
        update = _difference(self.stored, now)
        usage = {"bytes": self.bytes_used, "messages": self.messages}
        if usage != self.stored["usage"]:
            update.setdefault("$set", {})["usage"] = usage
        return update


class MailboxState:
    """A mailbox's document, unpacked. `pages` holds those loaded, by number."""

    __slots__ = (
        "account_id",
        "compact_at",
        "deleted",
        "deleted_at",
        "directory",
        "highest_modseq",
        "is_new",
        "keywords",
        "mailbox_id",
        "messages",
        "name",
        "old_name",
        "pages",
        "size",
        "special_use",
        "stored",
        "subscribed",
        "tail",
        "touched",
        "uid_next",
        "uid_validity",
        "unseen",
        "vanished_floor",
    )

    def __init__(self, document: Document, *, is_new: bool = False) -> None:
        self.stored = document
        self.is_new = is_new
        self.touched = -1
        self.pages: dict[int, Page] = {}
        self.mailbox_id = MailboxId(document["_id"])
        self.account_id = AccountId(document["a"])
        self.name: str | None = document.get("name")
        self.old_name: str | None = document.get("old_name")
        self.uid_validity: int = document["uid_validity"]
        self.uid_next: int = document["uid_next"]
        self.highest_modseq: int = document["highest_modseq"]
        self.messages: int = document["messages"]
        self.unseen: int = document["unseen"]
        self.deleted: int = document["deleted"]
        self.size: int = document["size"]
        self.keywords: list[str] = list(document["keywords"])
        self.special_use: str | None = document.get("special_use")
        self.subscribed: bool = document["subscribed"]
        self.tail: Columns = unpack_tail(document["tail"])
        self.directory: list[PageRef] = unpack_directory(document["pages"])
        self.vanished_floor: int = document["vanished_floor"]
        self.compact_at: int | None = document.get("compact_at")
        self.deleted_at: int | None = document.get("deleted_at")

    @property
    def alive(self) -> bool:
        """False once the mailbox was deleted."""
        return self.deleted_at is None

    def table(self) -> FlagTable:
        """The keyword table; its version is the number of names, since names are only ever added."""
        return FlagTable(tuple(self.keywords), len(self.keywords))

    @staticmethod
    def no_table() -> FlagTable:
        """The keyword table of a mailbox that is gone."""
        return FlagTable()

    def use(self) -> SpecialUse | None:
        """The special use, if any."""
        return SpecialUse(self.special_use) if self.special_use else None

    def save(self) -> tuple[Any, ...]:
        """What `restore` needs."""
        return (
            self.name,
            self.old_name,
            self.special_use,
            self.uid_next,
            self.highest_modseq,
            self.messages,
            self.unseen,
            self.deleted,
            self.size,
            list(self.keywords),
            self.subscribed,
            rows.copy(self.tail),
            list(self.directory),
            self.compact_at,
            self.deleted_at,
            dict(self.pages),
        )

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Back to the state at `save`. Pages loaded since stay loaded; pages made since are forgotten."""
        loaded = self.pages
        (
            self.name,
            self.old_name,
            self.special_use,
            self.uid_next,
            self.highest_modseq,
            self.messages,
            self.unseen,
            self.deleted,
            self.size,
            self.keywords,
            self.subscribed,
            self.tail,
            self.directory,
            self.compact_at,
            self.deleted_at,
            self.pages,
        ) = saved
        self.pages.update({n: page for n, page in loaded.items() if not page.is_new and n not in self.pages})

    def update(self) -> Document:
        """The update of the mailbox's document; empty if nothing changed."""
        now: Document = {
            "name": self.name,
            "old_name": self.old_name,
            "special_use": self.special_use,
            "uid_next": self.uid_next,
            "highest_modseq": self.highest_modseq,
            "messages": self.messages,
            "unseen": self.unseen,
            "deleted": self.deleted,
            "size": self.size,
            "keywords": self.keywords,
            "subscribed": self.subscribed,
            "tail": pack_tail(self.tail),
            "pages": pack_directory(self.directory),
            "compact_at": self.compact_at,
            "deleted_at": self.deleted_at,
        }
        if not self.is_new:
            return _difference(self.stored, now)
        whole = {**self.stored, **now}
        del whole["_id"], whole["a"]
        return {"$set": {key: value for key, value in whole.items() if value is not None}}


class Page:
    """A page's two documents together. `removed`: compaction takes the documents away."""

    __slots__ = (
        "columns",
        "immutable_changed",
        "is_new",
        "max_modseq",
        "mutable_changed",
        "number",
        "removed",
        "touched",
    )

    def __init__(self, number: int, columns: Columns, max_modseq: int, *, is_new: bool = False) -> None:
        self.number = number
        self.columns = columns
        self.max_modseq = max_modseq
        self.is_new = is_new
        self.touched = -1
        self.removed = False
        self.immutable_changed = is_new
        self.mutable_changed = is_new

    @classmethod
    def read(cls, number: int, immutable: Document, mutable: Document) -> Page:
        """A page from its documents."""
        return cls(number, unpack_page(immutable, mutable), mutable["max_modseq"])

    def save(self) -> tuple[Any, ...]:
        """What `restore` needs."""
        return rows.copy(self.columns), self.max_modseq, self.immutable_changed, self.mutable_changed, self.removed

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Back to the state at `save`."""
        self.columns, self.max_modseq, self.immutable_changed, self.mutable_changed, self.removed = saved

    def updates(self, mailbox: MailboxState) -> list[tuple[bytes, Document | None]]:
        """(`_id`, update) of each document that changed; None: delete it."""
        ids = [page_id(mailbox.mailbox_id, self.number, kind) for kind in (IMMUTABLE, MUTABLE)]
        if self.removed:
            return [(document_id, None) for document_id in ids]
        own = {"a": mailbox.account_id, "m": mailbox.mailbox_id}
        out: list[tuple[bytes, Document | None]] = []
        if self.immutable_changed:
            out.append((ids[0], {"$set": {**own, **immutable_fields(self.columns)}}))
        if self.mutable_changed:
            fields = mutable_fields(self.columns)
            out.append((ids[1], {"$set": {**own, "max_modseq": self.max_modseq, **fields}}))
        return out
