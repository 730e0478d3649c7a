"""Mutations of the mailbox tree (RFC 9051 6.3.4 to 6.3.8, store.md rule 13).

Each increments the account's `tree_version`, so tree changes of one account serialise. A mailbox that gets a name used
before has a higher uid_validity than every earlier one of the account. DELETE frees the name and dates `deleted_at`;
pages and bodies go later. Subscriptions are names: those of living mailboxes are kept with the mailbox, others in the
account.
"""

from __future__ import annotations

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7
from mailboat_store_client import names
from mailboat_store_client.types import AccountId, MailboxHead, MailboxId, SpecialUse

from ..db.driver import Document
from . import edit
from .accounts import mailbox_document
from .annotations import read as read_annotations
from .annotations import write as write_annotations
from .mutation import Mutation
from .state import AccountState, MailboxState
from .transfer import transfer
from .workspace import Needs, Workspace

MAX_MAILBOXES = 10_000
MAX_OTHER_SUBSCRIPTIONS = 1_000


class TreeMutation(Mutation[None]):
    """A change of the tree without a result."""

    def needs(self) -> Needs:
        return Needs(accounts={self.account_id}, trees={self.account_id})

    def receipt(self, result: None) -> Document:
        return {}

    def repeat(self, ws: Workspace, receipt: Document) -> None:
        """Nothing to answer."""


class Create(Mutation[MailboxHead]):
    """CREATE with missing parents."""

    kind = "create"

    def __init__(self, account_id: AccountId, key: bytes, name: str, special_use: SpecialUse | None) -> None:
        super().__init__(account_id, key)
        self._name = names.canonical(name)
        self._special_use = special_use

    def needs(self) -> Needs:
        return Needs(accounts={self.account_id}, trees={self.account_id})

    def apply(self, ws: Workspace) -> MailboxHead:
        account = ws.account(self.account_id)
        tree = ws.tree(self.account_id)
        if self._name in tree:
            raise Refused(RefusedCode.MAILBOX_EXISTS, "Mailbox already exists")
        use = self._special_use
        if use is not None and any(entry.special_use == use.value for entry in tree.values()):
            raise Refused(RefusedCode.SPECIAL_USE, "Another mailbox has this special use")
        make_parents(ws, account, self._name)
        return head_of(make(ws, account, self._name, use), 1)

    def receipt(self, result: MailboxHead) -> Document:
        return {"m": result.mailbox_id}

    def repeat(self, ws: Workspace, receipt: Document) -> MailboxHead:
        return head_of(ws.mailbox(self.account_id, receipt["m"]), 1)


class Rename(TreeMutation):
    """RENAME with children; of INBOX: CREATE and MOVE of all."""

    kind = "rename"

    def __init__(self, account_id: AccountId, key: bytes, name: str, new_name: str) -> None:
        super().__init__(account_id, key)
        self._name = names.canonical(name)
        self._new_name = names.canonical(new_name)

    def apply(self, ws: Workspace) -> None:
        account = ws.account(self.account_id)
        tree = ws.tree(self.account_id)
        if self._name not in tree:
            raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
        if self._new_name in tree:
            raise Refused(RefusedCode.MAILBOX_EXISTS, "Mailbox already exists")
        if self._name == "INBOX":
            self._rename_inbox(ws, account)
            return
        if names.is_child(self._new_name, self._name):
            raise Refused(RefusedCode.BAD_NAME, "A mailbox can't become its own child")
        affected = [name for name in tree if name == self._name or names.is_child(name, self._name)]
        ids = {name: tree[name].mailbox_id for name in affected}
        ws.need_mailboxes(ids.values())
        make_parents(ws, account, self._new_name)
        for name in affected:
            new = names.canonical(self._new_name + name[len(self._name) :])
            if new in tree:
                raise Refused(RefusedCode.MAILBOX_EXISTS, "Mailbox already exists")
            mailbox = ws.mailbox(self.account_id, ids[name])
            ws.touch(mailbox)
            if mailbox.subscribed:
                add_subscription(ws, account, name)
            ws.set_name(mailbox, new)
            mailbox.subscribed = drop_subscription(ws, account, new)
        count_change(ws, account)

    def _rename_inbox(self, ws: Workspace, account: AccountState) -> None:
        inbox = ws.mailbox(self.account_id, account.inbox)
        make_parents(ws, account, self._new_name)
        target = make(ws, account, self._new_name, None)
        write_annotations(ws, account, target.mailbox_id, read_annotations(ws, inbox.mailbox_id))
        transfer(ws, account, inbox, target, None, move=True)


class Delete(TreeMutation):
    """DELETE of a mailbox without children."""

    kind = "delete"

    def __init__(self, account_id: AccountId, key: bytes, name: str) -> None:
        super().__init__(account_id, key)
        self._name = names.canonical(name)

    def apply(self, ws: Workspace) -> None:
        account = ws.account(self.account_id)
        tree = ws.tree(self.account_id)
        if self._name == "INBOX":
            raise Refused(RefusedCode.INBOX_FIXED, "INBOX can't be deleted")
        if self._name not in tree:
            raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
        if any(names.is_child(name, self._name) for name in tree):
            raise Refused(RefusedCode.HAS_CHILDREN, "Mailbox has children")
        mailbox = ws.mailbox(self.account_id, tree[self._name].mailbox_id)
        ws.touch(mailbox)
        ws.set_name(mailbox, None)
        mailbox.old_name = self._name
        mailbox.deleted_at = ws.now
        mailbox.compact_at = None
        if mailbox.subscribed:
            add_subscription(ws, account, self._name)
        write_annotations(ws, account, mailbox.mailbox_id, {})
        edit.charge(ws, account, -mailbox.size, -mailbox.messages)
        account.removals_at = ws.now
        account.mailbox_count -= 1
        count_change(ws, account)
        ws.tell(mailbox, deleted=True)


class Subscribe(TreeMutation):
    """SUBSCRIBE and UNSUBSCRIBE; the name need not exist."""

    kind = "subscribe"

    def __init__(self, account_id: AccountId, key: bytes, name: str, subscribed: bool) -> None:
        super().__init__(account_id, key)
        self._name = names.canonical(name)
        self._subscribed = subscribed

    def apply(self, ws: Workspace) -> None:
        account = ws.account(self.account_id)
        entry = ws.tree(self.account_id).get(self._name)
        if entry is not None:
            mailbox = ws.mailbox(self.account_id, entry.mailbox_id)
            ws.touch(mailbox)
            mailbox.subscribed = self._subscribed
        elif self._subscribed:
            add_subscription(ws, account, self._name)
        else:
            drop_subscription(ws, account, self._name)
        count_change(ws, account)


def make(ws: Workspace, account: AccountState, name: str, special_use: SpecialUse | None) -> MailboxState:
    """A new mailbox. Refused LIMIT when the account has too many."""
    if account.mailbox_count >= MAX_MAILBOXES:
        raise Refused(RefusedCode.LIMIT, "Too many mailboxes")
    ws.touch(account)
    account.last_uid_validity = max(ws.now // 1000, account.last_uid_validity + 1)
    account.mailbox_count += 1
    document = mailbox_document(
        account.account_id, MailboxId(uuid7()), name, account.last_uid_validity, special_use=special_use
    )
    mailbox = MailboxState(document, is_new=True)
    ws.add_mailbox(mailbox)
    drop_subscription(ws, account, name)  # the mailbox itself holds it from now on
    count_change(ws, account)
    return mailbox


def make_parents(ws: Workspace, account: AccountState, name: str) -> None:
    """The levels above `name` that are missing."""
    tree = ws.tree(account.account_id)
    for parent in names.parents(name):
        if parent not in tree:
            make(ws, account, parent, None)


def count_change(ws: Workspace, account: AccountState) -> None:
    """The tree has changed: caches of LIST are stale, and other changes of it wait."""
    ws.touch(account)
    account.tree_version += 1
    ws.tell_tree(account)


def add_subscription(ws: Workspace, account: AccountState, name: str) -> None:
    """Keep the subscription of a name without a mailbox."""
    ws.touch(account)
    if name not in account.other_subscriptions:
        if len(account.other_subscriptions) >= MAX_OTHER_SUBSCRIPTIONS:
            raise Refused(RefusedCode.LIMIT, "Too many subscriptions")
        account.other_subscriptions.append(name)


def drop_subscription(ws: Workspace, account: AccountState, name: str) -> bool:
    """Forget the subscription of a name without a mailbox. Returns whether there was one."""
    if name not in account.other_subscriptions:
        return False
    ws.touch(account)
    account.other_subscriptions.remove(name)
    return True


def head_of(mailbox: MailboxState, first_recent: int) -> MailboxHead:
    """A mailbox as callers see it."""
    assert mailbox.name is not None
    return MailboxHead(
        mailbox.mailbox_id,
        mailbox.name,
        mailbox.uid_validity,
        mailbox.uid_next,
        mailbox.highest_modseq,
        mailbox.messages,
        mailbox.unseen,
        mailbox.deleted,
        mailbox.size,
        mailbox.table(),
        mailbox.use(),
        mailbox.subscribed,
        first_recent,
        mailbox.stored.get("first_uid_validity", 0),
    )
