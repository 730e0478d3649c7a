"""The mutations of mail in: filing one account's copy, and keeping a whole transaction in an `accepted` document.

Duplicate keys (design.md, section 6): a sender whose connection died on our 250 offers the message again. Each filed
recipient leaves a key made of the content's digest, the reverse-path and the address, for an hour. Until the client
spoke again, the same message for the same address in another transaction is a duplicate; afterwards only one that began
earlier: an offer the sender gave up may still be under way when its repeat is long confirmed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import encode_id
from mailboat_store_client.types import (
    AccountId,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    MailboxId,
    RecipientResult,
)

from ..db import schema
from ..db.driver import Document, ReplaceOne, UpdateOne
from ..queue.notify import tell_closed, tell_filed
from . import edit
from . import rows as columns_of
from .bodies import PreparedBody
from .hooks import TraceEvent
from .mutation import Mutation
from .outbox import Kind
from .state import MailboxState
from .workspace import DedupeId, Needs, Workspace
from .writes import date

DUPLICATE_MS = 3600 * 1000


def receipt_key(trace_id: str) -> bytes:
    """The idempotency key of a delivery; one per transaction and account."""
    return b"trace:" + trace_id.encode()


def duplicate_key(envelope: Envelope, address: str) -> bytes:
    """32 bytes, so never the key of a call (16)."""
    parts = (envelope.content_sha256, envelope.reverse_path.encode(), address.lower().encode())
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def leave_duplicate_keys(ws: Workspace, keys: Sequence[DedupeId], trace_id: str) -> None:
    """Write the keys in this transaction; those that are there already are renewed."""
    for account_id, key in keys:
        document: Document = {
            "_id": {"a": account_id, "k": key},
            "kind": "duplicate",
            "trace": trace_id,
            "expires": date(ws.now + DUPLICATE_MS),
        }
        before = ws.dedupe.get((account_id, key))
        if before is None:
            ws.insert(schema.DEDUPE, document)
        elif before["trace"] == trace_id:
            continue
        else:
            ws.operate(schema.DEDUPE, (account_id, key), ReplaceOne({"_id": document["_id"]}, document))
        ws.remember((account_id, key), document)


def first_transaction(ws: Workspace, keys: Sequence[DedupeId], envelope: Envelope) -> str | None:
    """The trace of another transaction that brought the same message, if this one repeats it.

    Once the other's 250 was confirmed, what begins later is a copy on purpose. What began before it (trace ids are in
    order of time) is an offer whose sender gave up and came again; it was under way for longer than its repeat.
    """
    now = date(ws.now)
    for key in keys:
        document = ws.dedupe.get(key)
        if document is None or document["expires"] <= now or document["trace"] == envelope.trace_id:
            continue
        first: str = document["trace"]
        confirmed = document.get("confirmed", False) or first in envelope.confirmed
        if not confirmed or envelope.trace_id < first:
            return first
    return None


def tell_duplicate(
    ws: Workspace, trace_id: str, first: str, account_id: AccountId | None = None, **details: object
) -> None:
    """A step in both traces: of the copy that wasn't taken, and of the message that it repeats."""
    ws.tell_trace(TraceEvent(trace_id, ws.now, "duplicate", account_id, details={**details, "of": first}))
    ws.tell_trace(TraceEvent(first, ws.now, "offered_again", account_id, details={**details, "as": trace_id}))


class Deliver(Mutation[RecipientResult]):
    """File one copy for one account, whichever of its addresses were named.

    Refused NO_ACCOUNT (deleted; disabled too, but not once accepted) and OVER_QUOTA. With `accepted`, the recipient
    is struck from that document in the same transaction; if it isn't in it any more, it was dealt with before. `header`
    is the message's, if its sender is to be told of success.
    """

    kind = "deliver"

    def __init__(
        self,
        account_id: AccountId,
        envelope: Envelope,
        recipients: Sequence[EnvelopeRecipient],
        body: PreparedBody,
        *,
        accepted: bool = False,
        exempt: bool = False,
        header: bytes = b"",
    ) -> None:
        super().__init__(account_id, receipt_key(envelope.trace_id), body.transaction_bytes)
        self._envelope = envelope
        self._address = recipients[0].address
        self._hint = next((recipient.mailbox for recipient in recipients if recipient.mailbox), None)
        self._body = body
        self._accepted = accepted
        self._exempt = exempt
        self._recipients = recipients
        self._header = header
        self._keys: list[DedupeId] = [(account_id, duplicate_key(envelope, r.address)) for r in recipients]

    def needs(self) -> Needs:
        needs = Needs(keys=self._keys, accounts={self.account_id}, inboxes={self.account_id})
        if self._hint:
            needs.trees.add(self.account_id)
        if self._accepted:
            needs.documents[schema.ACCEPTED] = {self._envelope.trace_id}
        return needs

    def prefetch(self, ws: Workspace) -> Needs | None:
        account = ws.accounts[self.account_id]
        inbox = ws.mailboxes.get(account.inbox) if account is not None else None
        if inbox is None or not (full := edit.last_page_if_full(inbox, 1)):
            return None
        return Needs(pages={inbox.mailbox_id: full})

    def apply(self, ws: Workspace) -> RecipientResult:
        account = ws.account(self.account_id)
        if account.disabled and not self._accepted:  # what was accepted before is still filed: its sender has a 250
            raise Refused(RefusedCode.NO_ACCOUNT, "No such account", "disabled")
        if self._accepted and not self._strike(ws):
            return RecipientResult(self._address, DeliveryStatus.ACCEPTED)
        trace_id = self._envelope.trace_id
        if first := first_transaction(ws, self._keys, self._envelope):
            tell_duplicate(ws, trace_id, first, self.account_id, recipient=self._address)
            return RecipientResult(self._address, DeliveryStatus.DUPLICATE, duplicate_of=first)
        if not self._exempt:
            edit.check_quota(account, self._body.size, 1)
        mailbox = self._mailbox(ws, account.inbox)
        modseq = edit.next_modseq(ws, mailbox)
        uid = edit.take_uids(ws, mailbox, 1)
        new = columns_of.empty()
        columns_of.add(
            new,
            uid=uid,
            modseq=modseq,
            words=(0,),
            body_id=self._body.body_id,
            internal_date=ws.now,
            save_date=ws.now,
            size=self._body.size,
        )
        edit.add(ws, account, mailbox, new)
        ws.insert(schema.BODIES, {**self._body.document, "t": trace_id})
        leave_duplicate_keys(ws, self._keys, trace_id)
        self._tell_filed(ws, mailbox.mailbox_id, uid)
        if self._header:
            tell_filed(ws, self._envelope, self._recipients, self._header)
        ws.emit(account, Kind.RECEIVED, self._received(mailbox, uid))
        return RecipientResult(self._address, DeliveryStatus.FILED, uid, mailbox.mailbox_id)

    def _received(self, mailbox: MailboxState, uid: int) -> Document:
        """Envelope, size and names; nothing of the content (docs/events.md)."""
        return {
            "message": f"{encode_id(mailbox.mailbox_id)}.{uid}",
            "mailbox": mailbox.name or "",
            "sender": self._envelope.reverse_path,
            "recipient": self._address,
            "size": self._body.size,
            "trace_id": self._envelope.trace_id,
        }

    def _mailbox(self, ws: Workspace, inbox: MailboxId) -> MailboxState:
        """The mailbox a plus-tag names, if it exists (in any case, the exact name first); else INBOX."""
        if self._hint:
            tree = ws.tree(self.account_id)
            fold = self._hint.casefold()
            matching = sorted(name for name in tree if name.casefold() == fold)
            if matching:
                name = self._hint if self._hint in matching else matching[0]
                return ws.mailbox(self.account_id, tree[name].mailbox_id)
        return ws.mailbox(self.account_id, inbox)

    def _strike(self, ws: Workspace) -> bool:
        """Strike the account from the accepted document; False if it isn't pending there."""
        trace_id = self._envelope.trace_id
        document = ws.document(schema.ACCEPTED, trace_id)
        if document is None or not any(r["a"] == self.account_id for r in document["pending"]):
            return False
        operation = UpdateOne({"_id": trace_id}, {"$pull": {"pending": {"a": self.account_id}}})
        ws.operate(schema.ACCEPTED, trace_id, operation)
        return True

    def _tell_filed(self, ws: Workspace, mailbox_id: MailboxId, uid: int) -> None:
        details = {"recipient": self._address}
        ws.tell_trace(TraceEvent(self._envelope.trace_id, ws.now, "filed", self.account_id, mailbox_id, uid, details))

    def receipt(self, result: RecipientResult) -> Document:
        receipt: Document = {"t": self._envelope.trace_id, "status": result.status.value}
        if result.mailbox_id is not None:
            receipt["m"] = result.mailbox_id
            receipt["u"] = result.uid.to_bytes(4, "little")
        if result.duplicate_of:
            receipt["of"] = result.duplicate_of
        return receipt

    def repeat(self, ws: Workspace, receipt: Document) -> RecipientResult:
        if self._accepted:
            self._strike(ws)
        mailbox_id = receipt.get("m")
        if mailbox_id is not None:
            mailbox = ws.mailboxes.get(mailbox_id)
            if mailbox is not None and mailbox.alive:
                ws.tell(mailbox)
        return RecipientResult(
            self._address,
            DeliveryStatus(receipt["status"]),
            int.from_bytes(receipt.get("u", b""), "little"),
            mailbox_id,
            receipt.get("of", ""),
        )


def _pending(recipient: EnvelopeRecipient) -> Document:
    """A recipient in an `accepted` document."""
    return {
        "address": recipient.address,
        "a": recipient.account_id,
        "mailbox": recipient.mailbox,
        "notify": recipient.notify,
        "orcpt": recipient.orcpt,
    }


NotKept = dict[AccountId, RecipientResult | Refused]


class Accept(Mutation[NotKept]):
    """Keep a transaction's recipients in an `accepted` document, before its 250.

    The duplicate keys are written with it, so a message offered again while recipients still wait is a duplicate. The
    result names the recipients (accounts) that aren't kept, with what they get instead: a duplicate's result, or the
    refusal of an account that is gone or over quota. Such a one leaves no key: its sender is told and may come again.
    """

    kind = "accept"

    def __init__(
        self,
        envelope: Envelope,
        recipients: dict[AccountId, list[EnvelopeRecipient]],
        document: Document,
        exempt: Set[AccountId],
    ) -> None:
        super().__init__(next(iter(recipients)), None)
        self._envelope = envelope
        self._recipients = recipients
        self._document = document
        self._exempt = exempt
        self._keys: dict[AccountId, list[DedupeId]] = {
            account_id: [(account_id, duplicate_key(envelope, r.address)) for r in of_account]
            for account_id, of_account in recipients.items()
        }

    @property
    def accounts(self) -> set[AccountId]:
        return set(self._recipients)

    def needs(self) -> Needs:
        keys = [key for of_account in self._keys.values() for key in of_account]
        keys += [(account_id, receipt_key(self._envelope.trace_id)) for account_id in self._recipients]
        documents = {schema.ACCEPTED: {self._envelope.trace_id}}
        return Needs(keys=keys, accounts=set(self._recipients), documents=documents)

    def apply(self, ws: Workspace) -> NotKept:
        trace_id = self._envelope.trace_id
        before = ws.document(schema.ACCEPTED, trace_id)
        waiting = {recipient["a"] for recipient in before["pending"]} if before else set()
        not_kept: NotKept = {}
        pending = []
        for account_id, recipients in self._recipients.items():
            if account_id in waiting or (account_id, receipt_key(trace_id)) in ws.dedupe:
                continue  # the call is repeated; this one waits already, or is filed
            if first := first_transaction(ws, self._keys[account_id], self._envelope):
                not_kept[account_id] = RecipientResult("", DeliveryStatus.DUPLICATE, duplicate_of=first)
                tell_duplicate(ws, trace_id, first, account_id, recipient=recipients[0].address)
                continue
            try:
                self._judge(ws, account_id, refused_before=before is not None)
            except Refused as refused:
                not_kept[account_id] = refused
                continue
            leave_duplicate_keys(ws, self._keys[account_id], trace_id)
            pending += [_pending(recipient) for recipient in recipients]
        if pending:
            ws.insert(schema.ACCEPTED, {**self._document, "pending": pending, "at": ws.now})
            ws.tell_trace(TraceEvent(trace_id, ws.now, "accepted", details={"recipients": len(pending)}))
        return not_kept

    def _judge(self, ws: Workspace, account_id: AccountId, *, refused_before: bool) -> None:
        """Refused NO_ACCOUNT or OVER_QUOTA, also when the call is repeated and there is room meanwhile."""
        account = ws.account(account_id)
        if account.disabled:
            raise Refused(RefusedCode.NO_ACCOUNT, "No such account", "disabled")
        if refused_before:
            raise Refused(RefusedCode.OVER_QUOTA, "Quota exceeded", "as the first time")
        if account_id not in self._exempt:
            edit.check_quota(account, self._document["size"], 1)

    def receipt(self, result: NotKept) -> Document:
        return {"not_kept": list(result)}

    def repeat(self, ws: Workspace, receipt: Document) -> NotKept:
        return {}


class GiveUp(Mutation[None]):
    """Strike recipients whose account is gone from an `accepted` document, and tell the sender with it."""

    kind = "give_up"

    def __init__(self, envelope: Envelope, recipients: Sequence[EnvelopeRecipient], header: bytes) -> None:
        super().__init__(recipients[0].account_id, None)
        self._envelope = envelope
        self._recipients = recipients
        self._header = header

    def needs(self) -> Needs:
        return Needs(documents={schema.ACCEPTED: {self._envelope.trace_id}})

    def apply(self, ws: Workspace) -> None:
        trace_id = self._envelope.trace_id
        document = ws.document(schema.ACCEPTED, trace_id)
        waiting = {recipient["a"] for recipient in document["pending"]} if document else set()
        struck = [recipient for recipient in self._recipients if recipient.account_id in waiting]
        if not struck or document is None:
            return
        gone = {recipient.account_id for recipient in struck}
        left = [recipient for recipient in document["pending"] if recipient["a"] not in gone]
        pull = UpdateOne({"_id": trace_id}, {"$pull": {"pending": {"a": {"$in": sorted(gone)}}}})
        ws.operate(schema.ACCEPTED, trace_id, pull)
        ws.documents[schema.ACCEPTED, trace_id] = {**document, "pending": left}
        ws.on_rollback(lambda: ws.documents.__setitem__((schema.ACCEPTED, trace_id), document))
        tell_closed(ws, self._envelope, struck, self._header)

    def receipt(self, result: None) -> Document:
        return {}

    def repeat(self, ws: Workspace, receipt: Document) -> None:
        return None
