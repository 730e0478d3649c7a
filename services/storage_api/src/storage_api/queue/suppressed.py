"""Recipients elsewhere that are on the suppression list, of mail that no client can be refused for.

A submission is refused at RCPT. What an address of ours sends on, and notices, meet the list when they are queued: a
suppressed recipient has failed before any attempt, in the transaction that queues the others. The document stays as
proof, its reason is a step of the trace, and whoever owns the reverse-path is told as of any failure; of a notice,
which has none, nobody is.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from mailboat_store_client.queue import QueuedRecipient

from ..db import schema
from ..db.driver import Document
from ..directory.addresses import parse
from ..directory.suppressions import SUPPRESSED
from ..store.workspace import Workspace
from ..store.writes import date
from .documents import DONE, KEEP_DONE_MS, pending
from .given_up import give_up
from .notify import NOTHING_TOLD, Outcomes, tell_sender

STATUS = "5.1.1"
REASON = "Suppressed: its server called this address unknown before; the operator can release it"


def entries_for(recipients: Iterable[QueuedRecipient]) -> dict[str, set[str]]:
    """What a mutation needs for `suppressed`: the entries by collection and `_id`."""
    return {schema.SUPPRESSIONS: {key for recipient in recipients if (key := _key(recipient.address))}}


def suppressed(ws: Workspace, recipients: Iterable[QueuedRecipient]) -> set[str]:
    """Those of the addresses that get no mail now."""
    return {r.address for r in recipients if (key := _key(r.address)) and _counts(ws, key)}


def fail_at_once(ws: Workspace, document: Document, addresses: AbstractSet[str]) -> tuple[Document, Outcomes]:
    """The document, not inserted yet, with these recipients failed and their sender told.

    It is done, and without its message, if nobody else is left.
    """
    if not any(recipient["address"] in addresses for recipient in document["recipients"]):
        return document, NOTHING_TOLD
    recipients = give_up(ws, document, addresses, status=STATUS, reason=REASON)
    fields, told = tell_sender(ws, document, recipients, delays=False)
    document = document | fields
    if not pending(document):
        done = {"state": DONE, "done_at": ws.now, "expires": date(ws.now + KEEP_DONE_MS)}
        gone = ("content", "content_id", "header", "due", "hold_reason")
        document = {name: value for name, value in document.items() if name not in gone} | done
    return document, told


def _key(address: str) -> str | None:
    parsed = parse(address)
    return parsed.full if parsed is not None else None


def _counts(ws: Workspace, key: str) -> bool:
    entry = ws.document(schema.SUPPRESSIONS, key)
    if entry is None or entry["kind"] != SUPPRESSED:
        return False
    return "expires" not in entry or bool(entry["expires"] > date(ws.now))
