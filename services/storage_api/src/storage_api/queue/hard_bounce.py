"""Addresses that a remote server called unknown: remembered, so that nothing goes there for a while.

Servers judge a sender by how often it writes to addresses that don't exist. Only a server's own words count, and only
about the address itself (RFC 3463 X.1.1, X.1.3, X.1.6): a policy's refusal, a full mailbox or a domain we can't find
says nothing about whether the address is right. What an operator allowed is never suppressed.
"""

from __future__ import annotations

from collections.abc import Iterable

from mailboat_store_client.queue import Outcome, RecipientReport

from ..db import schema
from ..db.driver import Document, ReplaceOne
from ..directory.addresses import parse
from ..directory.suppressions import ALLOWED, SUPPRESSED
from ..store.hooks import TraceEvent
from ..store.workspace import Workspace
from ..store.writes import date

UNKNOWN = ("5.1.1", "5.1.3", "5.1.6")
_MAX_TEXT = 500


def suppressible(reports: Iterable[RecipientReport]) -> set[str]:
    """The normalised addresses whose failure means that they don't exist."""
    return {address for report in reports if (address := _unknown(report))}


def suppress(ws: Workspace, trace_id: str, report: RecipientReport) -> None:
    """Remember the address with the running transaction if this failure says that it doesn't exist."""
    address = _unknown(report)
    if not address or not ws.policy.suppression_ms:
        return
    known = ws.document(schema.SUPPRESSIONS, address)
    if known is not None and (known["kind"] == ALLOWED or "expires" not in known):
        return  # as an operator decided
    document: Document = {
        "_id": address,
        "kind": SUPPRESSED,
        "reason": "bounce",
        "status": report.status,
        "reply": report.reply[:_MAX_TEXT],
        "host": report.host[:_MAX_TEXT],
        "trace": trace_id,
        "at": ws.now,
        "expires": date(ws.now + ws.policy.suppression_ms),
    }
    ws.operate(schema.SUPPRESSIONS, address, ReplaceOne({"_id": address}, document, upsert=True))
    ws.tell_trace(TraceEvent(trace_id, ws.now, "suppressed", details={"recipient": address, "status": report.status}))


def _unknown(report: RecipientReport) -> str | None:
    if report.outcome is not Outcome.FAILED or report.status not in UNKNOWN or not report.reply.startswith("5"):
        return None
    address = parse(report.address)
    return address.full if address is not None else None
