"""What the store needs of an account's document, and the mailboxes a new account begins with.

The directory creates accounts: it inserts `new_account_document(...)` (with fields of its own added) and the documents
of `default_mailboxes(...)` in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_common.ids import uuid7
from mailboat_store_client.types import AccountId, MailboxId, SpecialUse

from ..db.driver import Document
from .pages import pack_directory, pack_tail
from .rows import empty

DEFAULT_MAILBOXES: tuple[tuple[str, SpecialUse | None], ...] = (
    ("INBOX", None),
    ("Drafts", SpecialUse.DRAFTS),
    ("Sent", SpecialUse.SENT),
    ("Junk", SpecialUse.JUNK),
    ("Trash", SpecialUse.TRASH),
    ("Archive", SpecialUse.ARCHIVE),
)


def mailbox_document(
    account_id: AccountId,
    mailbox_id: MailboxId,
    name: str,
    uid_validity: int,
    *,
    special_use: SpecialUse | None = None,
    subscribed: bool = True,
) -> Document:
    """A new, empty mailbox. `highest_modseq` begins at 1 (RFC 7162 wants it positive)."""
    use = {"special_use": special_use.value} if special_use else {}
    return {
        "_id": mailbox_id,
        "a": account_id,
        "name": name,
        **use,
        "uid_validity": uid_validity,
        "uid_next": 1,
        "highest_modseq": 1,
        "messages": 0,
        "unseen": 0,
        "deleted": 0,
        "size": 0,
        "keywords": [],
        "subscribed": subscribed,
        "tail": pack_tail(empty()),
        "pages": pack_directory(()),
        "vanished_floor": 0,
    }


def default_mailboxes(account_id: AccountId, now: int) -> list[Document]:
    """Documents of the mailboxes of a new account, INBOX first; `now` is ms since the epoch."""
    first = now // 1000
    return [
        mailbox_document(account_id, MailboxId(uuid7()), name, first + number, special_use=special_use)
        for number, (name, special_use) in enumerate(DEFAULT_MAILBOXES)
    ]


def new_account_document(
    account_id: AccountId, mailboxes: Sequence[Document], *, quota_bytes: int = 0, quota_messages: int = 0
) -> Document:
    """The store's fields of a new account. `mailboxes` are those inserted with it, INBOX first; quota 0 means none."""
    return {
        "_id": account_id,
        "usage": {"bytes": 0, "messages": 0},
        "quota_bytes": quota_bytes,
        "quota_messages": quota_messages,
        "tree_version": 1,
        "last_uid_validity": max(mailbox["uid_validity"] for mailbox in mailboxes),
        "seq": 0,
        "mailbox_count": len(mailboxes),
        "inbox": mailboxes[0]["_id"],
        "other_subscriptions": [],
        "disabled": False,
    }
