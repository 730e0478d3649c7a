"""What other systems are told of mail out: accepted for other servers, and what became of each recipient.

An account's events are counted in its document (store/outbox.py). Mail of no account of ours, or of a deleted one,
is told of without a `seq`; a notice with the null reverse-path isn't told of at all.
"""

from __future__ import annotations

from mailboat_common.ids import encode_id

from ..db.driver import Document
from ..store.outbox import Kind
from ..store.workspace import Missing, Needs, Workspace
from .documents import DELIVERED, FAILED

MAX_RECIPIENTS = 100

_KINDS = {DELIVERED: Kind.DELIVERED, FAILED: Kind.BOUNCED}


def sent(ws: Workspace, document: Document, recipients: list[str]) -> None:
    """A message was queued; `document` is one of its documents, `recipients` are those of all."""
    data = _common(document)
    data |= {"recipients": recipients[:MAX_RECIPIENTS], "recipient_count": len(recipients)}
    _emit(ws, document, Kind.SENT, data)


def ended(ws: Workspace, document: Document, recipient: Document) -> None:
    """A recipient was delivered or failed; anything else is no event."""
    kind = _KINDS.get(recipient["state"])
    if kind is None:
        return
    last = recipient["last"]
    data = _common(document) | {"recipient": recipient["address"], "queue": encode_id(bytes(document["_id"]))}
    data |= {name: last[name] for name in ("status", "reply", "reason", "host", "tls") if last[name]}
    if recipient.get("expired"):
        data["expired"] = True
    _emit(ws, document, kind, data)


def _common(document: Document) -> Document:
    return {"sender": document["reverse_path"], "size": document["size"], "trace_id": document["t"]}


def _emit(ws: Workspace, document: Document, kind: Kind, data: Document) -> None:
    if not ws.with_events:
        return
    account_id = document.get("a")
    if account_id is not None and account_id not in ws.accounts:
        raise Missing(Needs(accounts={account_id}))
    account = ws.accounts[account_id] if account_id is not None else None
    if account is not None and not account.deleted:
        ws.emit(account, kind, data)
    elif document["reverse_path"]:
        ws.emit_unowned(kind, data, document["reverse_path"].rpartition("@")[2].lower())
