"""Notices at the end of an attempt: from a queue document to documents of `notices`, in the report's transaction.

A notice is a document of its own until it is filed or queued (`notice_sender`), so that whoever dies in between loses
none; the queue document notes what was told, so that none is written twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mailboat_common import ids
from mailboat_common.ids import encode_id
from mailboat_mime import header_block
from mailboat_store_client.queue import Outcome
from mailboat_store_client.types import Envelope, EnvelopeRecipient

from ..db import schema
from ..db.driver import Document
from ..store.hooks import TraceEvent
from ..store.workspace import Workspace
from .documents import DELIVERED, FAILED, PENDING
from .notices import RecipientState, SentMessage, notices_due
from .report_message import MAX_HEADER, MAX_RETURNED, Notice, write

_OUTCOMES = {DELIVERED: Outcome.DELIVERED, FAILED: Outcome.FAILED, PENDING: Outcome.DEFERRED}
_SUBJECTS = {
    "1": "address",
    "2": "mailbox",
    "3": "system",
    "4": "network",
    "5": "protocol",
    "6": "content",
    "7": "policy",
}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What is to be counted after the commit: the class of each recipient that failed, the kind of each notice."""

    bounced: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


NOTHING_TOLD = Outcomes()


def together(outcomes: Iterable[Outcomes]) -> Outcomes:
    """The sum of several."""
    several = tuple(outcomes)
    bounced = tuple(name for one in several for name in one.bounced)
    return Outcomes(bounced, tuple(name for one in several for name in one.notices))


def tell_sender(
    ws: Workspace, document: Document, recipients: Sequence[Document], *, delays: bool
) -> tuple[Document, Outcomes]:
    """Write the notices that are due. Returns the fields to set in the queue document, recipients among them.

    `delays`: whether a deferral may be told now.
    """
    schedule = ws.policy.schedule
    message = sent_message(document, recipients)
    notice_at = schedule.delay_notice_at(document["created_at"]) if delays else None
    due = notices_due(message, ws.now, notice_at)
    notices = [write(plan, hostname=ws.policy.hostname, notice_id=ids.trace_id(), now=ws.now) for plan in due.plans]
    for notice in notices:
        insert_notice(ws, notice)
        details = {"notice": notice.trace_id, "about": notice.kind.value, "recipient": notice.recipient}
        details["queue"] = encode_id(bytes(document["_id"]))
        ws.tell_trace(TraceEvent(document["t"], ws.now, "notice", document.get("a"), details=details))
    for recipient in due.untold:
        details = {"recipient": recipient.address, "status": recipient.status}
        ws.tell_trace(TraceEvent(document["t"], ws.now, "untold", document.get("a"), details=details))
    fields: Document = {"recipients": [_settled(recipient, due.settled) for recipient in recipients]}
    if due.delay:
        fields["delay_told"] = True
    failed = [r for r in message.recipients if r.address in due.settled and r.outcome is Outcome.FAILED]
    kinds = [notice.kind.value for notice in notices] + ["untold"] * len(due.untold)
    return fields, Outcomes(tuple(bounce_class(r.status, expired=r.expired) for r in failed), tuple(kinds))


def success_wanted(recipients: Iterable[EnvelopeRecipient]) -> list[EnvelopeRecipient]:
    """Those whose sender asked to be told of success (RFC 3461 4.1)."""
    return [recipient for recipient in recipients if "SUCCESS" in recipient.notify.upper().split(",")]


def tell_filed(ws: Workspace, envelope: Envelope, recipients: Sequence[EnvelopeRecipient], header: bytes) -> None:
    """Write the notice that is due for recipients whose message is filed by the running transaction."""
    states = [
        RecipientState(r.address, Outcome.DELIVERED, r.notify, r.orcpt, status="2.0.0", at=ws.now, local=True)
        for r in success_wanted(recipients)
    ]
    _tell_local(ws, envelope, states, header)


def tell_expanded(
    ws: Workspace, envelope: Envelope, expanded: Sequence[tuple[EnvelopeRecipient, int, bool]], header: bytes
) -> None:
    """The same for recipients that lead to several: (recipient, how many, whether they have an owner) each."""
    states = [
        RecipientState(
            r.address, Outcome.DELIVERED, r.notify, r.orcpt, status="2.0.0", at=ws.now, local=owned, expanded_to=count
        )
        for r, count, owned in expanded
    ]
    _tell_local(ws, envelope, states, header)


def tell_closed(ws: Workspace, envelope: Envelope, recipients: Sequence[EnvelopeRecipient], header: bytes) -> None:
    """The same for recipients whose account was closed after their message was accepted (RFC 5321 6.1)."""
    reason = "The mailbox was closed before the message could be filed"
    states = [
        RecipientState(r.address, Outcome.FAILED, r.notify, r.orcpt, status="5.2.1", reason=reason, at=ws.now)
        for r in recipients
    ]
    _tell_local(ws, envelope, states, header)


def _tell_local(ws: Workspace, envelope: Envelope, states: Sequence[RecipientState], header: bytes) -> None:
    message = SentMessage(
        envelope.trace_id, envelope.reverse_path, tuple(states), ws.now, ws.now, header, envid=envelope.envid
    )
    for plan in notices_due(message, ws.now, None).plans:
        notice = write(plan, hostname=ws.policy.hostname, notice_id=ids.trace_id(), now=ws.now)
        insert_notice(ws, notice)
        details = {"notice": notice.trace_id, "about": notice.kind.value, "recipient": notice.recipient}
        ws.tell_trace(TraceEvent(envelope.trace_id, ws.now, "notice", details=details))


def insert_notice(ws: Workspace, notice: Notice) -> None:
    """Keep a notice with the running transaction until it is on its way."""
    document: Document = {
        "_id": notice.trace_id,
        "at": ws.now,
        "due": ws.now,
        "kind": notice.kind.value,
        "about": notice.about,
        "recipient": notice.recipient,
        "smtputf8": notice.smtputf8,
        "content": notice.content,
    }
    ws.insert(schema.NOTICES, document)
    details = {"about": notice.about, "notice": notice.kind.value, "recipient": notice.recipient}
    ws.tell_trace(TraceEvent(notice.trace_id, ws.now, "written", details=details))


def sent_message(document: Document, recipients: Sequence[Document]) -> SentMessage:
    """A queue document as notices see it; its content only where it lies in the document."""
    content = bytes(document["content"]) if "content" in document else None
    header = bytes(document["header"]) if "header" in document else header_of(content or b"")
    return SentMessage(
        trace_id=document["t"],
        reverse_path=document["reverse_path"],
        recipients=tuple(_state(recipient) for recipient in recipients),
        created_at=document["created_at"],
        expires_at=document["expires_at"],
        header=header,
        content=content if content is not None and len(content) <= MAX_RETURNED else None,
        envid=document["envid"],
        ret=document["ret"],
        delay_told=document.get("delay_told", False),
    )


def header_of(content: bytes) -> bytes:
    """As much of a message's header as a notice may need."""
    return header_block(content[:MAX_HEADER])


def bounce_class(status: str, *, expired: bool) -> str:
    """RFC 3463's subject of a failure as a metric's label."""
    return "expired" if expired else _SUBJECTS.get(status[2:3], "other") if status[1:2] == "." else "other"


def _state(recipient: Document) -> RecipientState:
    last: Mapping[str, str | int] = recipient.get("last", {})
    return RecipientState(
        address=recipient["address"],
        outcome=_OUTCOMES.get(recipient["state"]) if last else None,
        notify=recipient["notify"],
        orcpt=recipient["orcpt"],
        **{name: last[name] for name in ("status", "reply", "reason", "host", "at") if name in last},  # type: ignore[arg-type]
        expired=recipient.get("expired", False),
        dsn_passed_on=recipient.get("dsn_passed_on", False),
        settled=recipient.get("settled", False),
    )


def _settled(recipient: Document, addresses: frozenset[str]) -> Document:
    return recipient | {"settled": True} if recipient["address"] in addresses else recipient
