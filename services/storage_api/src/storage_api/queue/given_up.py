"""Recipients that fail by a decision made here, not by a server's words: suppressed ones, what an operator returns."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from mailboat_common.ids import encode_id
from mailboat_store_client.queue import Outcome

from ..db.driver import Document
from ..store.hooks import TraceEvent
from ..store.workspace import Workspace
from . import events
from .documents import FAILED, PENDING


def give_up(
    ws: Workspace, document: Document, addresses: AbstractSet[str], *, status: str, reason: str, by: str = ""
) -> list[Document]:
    """All recipients of a document, those with these addresses that were pending as failed; traced, and told as events.

    `by`: the operator whose decision it is. Telling the sender is the caller's (`notify.tell_sender`).
    """
    last: Document = {"at": ws.now, "outcome": Outcome.FAILED.value, "status": status, "reason": reason}
    last |= {"reply": "", "host": "", "tls": ""}
    recipients: list[Document] = []
    for recipient in document["recipients"]:
        if recipient["address"] not in addresses or recipient["state"] != PENDING:
            recipients.append(recipient)
            continue
        attempt = recipient.get("last", {}).get("attempt", 0)
        failed = recipient | {"state": FAILED, "last": last | {"attempt": attempt}}
        details = {"recipient": recipient["address"], "queue": encode_id(bytes(document["_id"]))}
        details |= {"status": status, "reason": reason} | ({"by": by} if by else {})
        ws.tell_trace(TraceEvent(document["t"], ws.now, "failed", document.get("a"), details=details))
        events.ended(ws, document, failed)
        recipients.append(failed)
    return recipients
