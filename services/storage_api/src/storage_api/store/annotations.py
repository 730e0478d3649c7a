"""Annotations: of a mailbox, or of the account itself (RFC 5464, RFC 6154 4).

One document an owner, `_id` the mailbox's or the account's id. So they follow a mailbox that is renamed; DELETE takes
them along in its transaction, RENAME of INBOX copies them. What an account has of them is counted in its document: a
change and a DELETE at the same moment conflict there or over the annotations. A special use is the mailbox's own field,
judged as CREATE judges it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client import names
from mailboat_store_client.annotations import MAX_ACCOUNT_OCTETS, changed, octets, split_use, use_of
from mailboat_store_client.types import AccountId, SpecialUse

from ..db import schema
from ..db.driver import DeleteOne, Document, UpdateOne
from .mutation import Mutation
from .state import AccountState, MailboxState
from .workspace import Needs, Workspace


class Annotate(Mutation[None]):
    """SETMETADATA: all values or none. Name "" is the account itself."""

    kind = "annotate"

    def __init__(self, account_id: AccountId, key: bytes, name: str, values: Mapping[str, bytes | None]) -> None:
        self._values, uses = split_use(values)
        super().__init__(account_id, key, sum(len(value or b"") for value in self._values.values()))
        self._uses = [use_of(value) for value in uses]
        self._name = names.canonical(name) if name else ""

    def needs(self) -> Needs:
        needs = Needs(accounts={self.account_id}, trees={self.account_id} if self._uses else set())
        if self._name:
            needs.name(self.account_id, self._name)
        else:
            needs.documents[schema.ANNOTATIONS] = {self.account_id}
        return needs

    def apply(self, ws: Workspace) -> None:
        account = ws.account(self.account_id)
        mailbox = ws.by_name(self.account_id, self._name) if self._name else None
        owner = self.account_id if mailbox is None else mailbox.mailbox_id
        if self._values:
            write(ws, account, owner, changed(read(ws, owner), self._values))
        for use in self._uses:
            _set_use(ws, account, mailbox, use)

    def receipt(self, result: None) -> Document:
        return {}

    def repeat(self, ws: Workspace, receipt: Document) -> None:
        """Nothing to answer."""


def _set_use(ws: Workspace, account: AccountState, mailbox: MailboxState | None, use: SpecialUse | None) -> None:
    """Refused SPECIAL_USE for the account itself, for INBOX, and for a use that another mailbox has."""
    if mailbox is None or mailbox.mailbox_id == account.inbox:
        raise Refused(RefusedCode.SPECIAL_USE, "This mailbox can't have a special use")
    value = None if use is None else use.value
    others = [entry for entry in ws.tree(account.account_id).values() if entry.mailbox_id != mailbox.mailbox_id]
    if value is not None and any(entry.special_use == value for entry in others):
        raise Refused(RefusedCode.SPECIAL_USE, "Another mailbox has this special use")
    ws.touch(mailbox)
    mailbox.special_use = value
    ws.set_name(mailbox, mailbox.name)  # the tree shows it
    ws.touch(account)
    account.tree_version += 1


def read(ws: Workspace, owner: bytes) -> dict[str, bytes]:
    """The annotations of a mailbox or account."""
    return entries_of(ws.document(schema.ANNOTATIONS, owner))


def entries_of(document: Document | None) -> dict[str, bytes]:
    """The annotations in a document."""
    return {entry["n"]: bytes(entry["v"]) for entry in document["entries"]} if document else {}


def write(ws: Workspace, account: AccountState, owner: bytes, entries: Mapping[str, bytes]) -> None:
    """Replace the annotations of a mailbox or account. Refused LIMIT when the account has no room for more."""
    place = (schema.ANNOTATIONS, owner)
    before = ws.document(*place)
    more = octets(entries) - octets(entries_of(before))
    if more > 0 and account.annotation_bytes + more > MAX_ACCOUNT_OCTETS:
        raise Refused(RefusedCode.LIMIT, "Too many annotations")
    packed = [{"n": name, "v": value} for name, value in entries.items()]
    if packed == (before["entries"] if before else []):
        return
    ws.touch(account)
    account.annotation_bytes += more
    ws.on_rollback(lambda: ws.documents.update({place: before}))
    ws.documents[place] = {"_id": owner, "a": account.account_id, "entries": packed} if packed else None
    query = {"_id": owner, "a": account.account_id}
    change = UpdateOne(query, {"$set": {"entries": packed}}, upsert=True) if packed else DeleteOne(query)
    ws.operate(schema.ANNOTATIONS, owner, change)
