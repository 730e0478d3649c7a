"""Putting messages for other servers into the outbound queue.

`enqueue` is the one way in, for whatever transaction has something to send: a submission (`Submit`), a forward, a
notice to a remote sender. It writes one document per destination domain and tells the jobs to whoever publishes them
after the commit.

    prepared = await prepare(db, Outgoing(...), key, now)     # outside of a transaction; large messages become durable
    enqueue(ws, prepared)                                     # in a mutation's `apply`
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import encode_id, uuid7
from mailboat_mime import header_block
from mailboat_store_client.queue import QueuedRecipient
from mailboat_store_client.types import (
    NO_ACCOUNT,
    AccountId,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientResult,
)

from ..db import schema
from ..db.driver import Database, Document
from ..store.deliver import duplicate_key, first_transaction, leave_duplicate_keys, tell_duplicate
from ..store.hooks import TraceEvent
from ..store.mutation import Mutation
from ..store.workspace import DedupeId, Needs, Workspace
from . import contents, events
from .documents import DONE, GRACE_MS, HELD, READY, by_domain, job_of, pending, recipient_document
from .notify import Outcomes, header_of, together
from .suppressed import fail_at_once

MAX_HEADER = 256 << 10


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for recipients elsewhere. `content` has our trace fields; `smtputf8` as the client declared it.

    `account_id` is the account of ours that sends it, NO_ACCOUNT for notices and forwards of foreign mail.
    """

    trace_id: str
    reverse_path: str
    recipients: tuple[QueuedRecipient, ...]
    content: bytes
    account_id: AccountId = NO_ACCOUNT
    smtputf8: bool = False
    envid: str = ""
    ret: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An Outgoing with all that needs no transaction done. `parts` are still to be inserted with it."""

    message: Outgoing
    content_id: bytes
    """Empty: the message goes into its one document."""
    parts: tuple[Document, ...] = ()

    @property
    def transaction_bytes(self) -> int:
        """What it adds to a transaction, in octets."""
        message = self.message
        content = sum(len(part["data"]) for part in self.parts) if self.content_id else len(message.content)
        return content + sum(len(r.address) + len(r.orcpt) + 100 for r in message.recipients)


def prepare_small(message: Outgoing, key: bytes, now: int) -> Prepared:
    """Prepare a message of up to 1 MiB; needs no database."""
    if len(message.content) <= contents.INLINE_BYTES and len(by_domain(message.recipients)) == 1:
        return Prepared(message, b"")
    content_id = contents.content_id_of(key)
    return Prepared(message, content_id, tuple(contents.parts_of(content_id, message.content, now)))


async def prepare(db: Database, message: Outgoing, key: bytes, now: int) -> Prepared:
    """Prepare any message. `key` is the idempotency key of the call: a repeat keeps the message once."""
    if len(message.content) <= contents.IN_TRANSACTION_BYTES:
        return prepare_small(message, key, now)
    content_id = contents.content_id_of(key)
    await contents.keep(db, content_id, message.content, now)
    return Prepared(message, content_id)


def enqueue(
    ws: Workspace, prepared: Prepared, without: AbstractSet[str] = frozenset(), hold_reason: str = ""
) -> Outcomes:
    """Queue a message with the running transaction: one document per destination domain, held if there is a reason.

    `without`: recipients that have failed already, because they are suppressed. Returns what that counts as.
    """
    message = prepared.message
    documents = _documents(ws, prepared, hold_reason)
    if documents:
        events.sent(ws, documents[0], [recipient.address for recipient in message.recipients])
    judged = [fail_at_once(ws, document, without) for document in documents]
    for document, _ in judged:
        ws.insert(schema.QUEUE, document)
        if document["state"] == READY:
            ws.tell_job(job_of(document))
        if document["state"] != DONE:
            _tell_queued(ws, document)
    if any(document["state"] != DONE for document, _ in judged):
        for part in prepared.parts:
            ws.insert(schema.QUEUE_PARTS, part)
    return together(told for _, told in judged)


def _documents(ws: Workspace, prepared: Prepared, hold_reason: str) -> list[Document]:
    message = prepared.message
    header_ascii = header_block(message.content[: MAX_HEADER + 4]).isascii()
    common: Document = {
        "t": message.trace_id,
        "reverse_path": message.reverse_path,
        "envid": message.envid,
        "ret": message.ret,
        "eight_bit": not message.content.isascii(),
        "size": len(message.content),
        "state": READY,
        "attempt": 1,
        "created_at": ws.now,
        "expires_at": ws.policy.schedule.expires_at(ws.now),
        "next_attempt": ws.now,
        "lapses": 0,
    }
    common |= {"state": HELD, "hold_reason": hold_reason} if hold_reason else {"due": ws.now + GRACE_MS}
    if message.account_id != NO_ACCOUNT:
        common["a"] = message.account_id
    if prepared.content_id:
        common |= {"content_id": prepared.content_id, "header": header_of(message.content)}
    else:
        common["content"] = message.content
    documents = []
    for domain, recipients in by_domain(message.recipients).items():
        ascii_envelope = message.reverse_path.isascii() and all(r.address.isascii() for r in recipients)
        document: Document = {
            "_id": uuid7(),
            "domain": domain,
            "recipients": [recipient_document(recipient) for recipient in recipients],
            "smtputf8": message.smtputf8 and not (header_ascii and ascii_envelope),
            **common,
        }
        documents.append(document)
    return documents


def _tell_queued(ws: Workspace, document: Document) -> None:
    details = {"queue": encode_id(document["_id"]), "domain": document["domain"]}
    addresses = [recipient["address"] for recipient in pending(document)]
    details |= {"recipient": addresses[0]} if len(addresses) == 1 else {"recipients": len(addresses)}
    ws.tell_trace(TraceEvent(document["t"], ws.now, "queued", document.get("a"), details=details))


def submission_key(trace_id: str) -> bytes:
    """The idempotency key of a submission's remote recipients, beside those of its local ones."""
    return b"queue:" + trace_id.encode()


def outgoing_of(envelope: Envelope, recipients: Sequence[EnvelopeRecipient], content: bytes) -> Outgoing:
    """The remote part of an SMTP transaction; an address that was named twice gets one copy."""
    once = {r.address: QueuedRecipient(r.address, r.notify, r.orcpt) for r in reversed(recipients)}
    queued = tuple(reversed(once.values()))
    return Outgoing(
        envelope.trace_id,
        envelope.reverse_path,
        queued,
        without_return_path(content),
        envelope.account_id,
        envelope.smtputf8,
        envelope.envid,
        envelope.ret,
    )


def without_return_path(content: bytes) -> bytes:
    """The message without the Return-Path that reception put on top: it is for final delivery (RFC 5321 4.4)."""
    if content[:12].lower() != b"return-path:":
        return content
    return content[content.find(b"\r\n") + 2 :]


class Submit(Mutation[list[RecipientResult]]):
    """Queue a submission for its remote recipients, all or none of those that aren't duplicates.

    Refused NOT_PERMITTED if the sender's account was disabled or deleted since it authenticated.
    """

    kind = "submit"

    def __init__(self, envelope: Envelope, prepared: Prepared) -> None:
        super().__init__(envelope.account_id, submission_key(envelope.trace_id), prepared.transaction_bytes)
        self._envelope = envelope
        self._prepared = prepared
        self._keys: list[DedupeId] = [
            (envelope.account_id, duplicate_key(envelope, r.address)) for r in prepared.message.recipients
        ]

    def needs(self) -> Needs:
        return Needs(keys=self._keys, accounts={self.account_id})

    def apply(self, ws: Workspace) -> list[RecipientResult]:
        account = ws.accounts.get(self.account_id)
        if account is None or account.deleted or account.disabled:
            raise Refused(RefusedCode.NOT_PERMITTED, "The account may not send", "the sender's account is closed")
        message = self._prepared.message
        results, keys, wanted = [], [], []
        for recipient, key in zip(message.recipients, self._keys, strict=True):
            if first := first_transaction(ws, [key], self._envelope):
                results.append(RecipientResult(recipient.address, DeliveryStatus.DUPLICATE, duplicate_of=first))
                tell_duplicate(ws, message.trace_id, first, self.account_id, recipient=recipient.address)
                continue
            results.append(RecipientResult(recipient.address, DeliveryStatus.QUEUED))
            wanted.append(recipient)
            keys.append(key)
        if wanted:
            leave_duplicate_keys(ws, keys, message.trace_id)
            enqueue(ws, replace(self._prepared, message=replace(message, recipients=tuple(wanted))))
        return results

    def receipt(self, result: list[RecipientResult]) -> Document:
        return {
            "t": self._envelope.trace_id,
            "recipients": [[one.address, one.status.value, one.duplicate_of] for one in result],
        }

    def repeat(self, ws: Workspace, receipt: Document) -> list[RecipientResult]:
        return [
            RecipientResult(address, DeliveryStatus(status), duplicate_of=first)
            for address, status, first in receipt["recipients"]
        ]
