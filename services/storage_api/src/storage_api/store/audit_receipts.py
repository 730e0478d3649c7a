"""What receipts say was filed, compared with what is there. Pure: no database.

For a day every mutation's receipt is in `dedupe` (store.md, rule 6), written in its transaction; so the receipts of
deliveries, appends, replacements, copies, moves and undeletes are the list of what was accepted. Each place they name
must be visible or have left under a tombstone, and what was answered as a duplicate must have a first that was filed or
waits.
For an hour each accepted recipient has a duplicate key as well: its transaction was filed here, or waits.
The other way round each entry saved within that day must be claimed by one of them, or by the tombstone of a move: an
entry nobody claims was filed twice, or came from nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from mailboat_store_client.columns import U32, unpack

from ..db.driver import Document
from .audit_findings import Finding, FindingKind, Summary
from .audit_mailbox import MailboxAudit

RECEIPT_MS = 24 * 3_600_000
_FILING = frozenset({"append", "deliver", "copy", "move", "replace", "undelete"})


@dataclass(slots=True)
class ReceiptAudit:
    """Feed it an account's receipts and tombstones, then `finish` with its mailboxes."""

    account_id: bytes
    summary: Summary
    complete_after: int
    """Receipts written after this (ms) and those an hour before them are all still there."""
    findings: list[Finding] = field(default_factory=list)
    submitted: list[Document] = field(default_factory=list)
    """Results of submissions, for `audit_queue` to look at."""
    _claims: dict[tuple[bytes, int], str] = field(default_factory=dict)
    _moved: set[tuple[bytes, int]] = field(default_factory=set)
    _filed: dict[str, set[tuple[bytes, int]]] = field(default_factory=dict)
    _duplicates: list[tuple[str, str]] = field(default_factory=list)
    _accepted: set[str] = field(default_factory=set)

    def find(self, kind: FindingKind, mailbox_id: bytes | None, detail: str) -> None:
        """Note a finding in this account."""
        self.findings.append(Finding(kind, self.account_id, mailbox_id, detail))

    def receipt(self, document: Document) -> None:
        """One `dedupe` document."""
        kind = document.get("kind", "")
        if kind == "duplicate":
            self._accepted.add(document["trace"])
        if kind == "submit":
            self.summary.receipts += 1
            self.submitted.append(document["r"])
        if kind not in _FILING:
            return
        self.summary.receipts += 1
        result = document["r"]
        trace = result.get("t", "")
        name = f"{kind} {trace or bytes(document['_id']['k']).hex()}"
        places = filed(result)
        for place in places:
            if place in self._claims:
                detail = f"UID {place[1]} was given by {self._claims[place]} and by {name}"
                self.find(FindingKind.DOUBLE_MESSAGE, place[0], detail)
            self._claims[place] = name
        if trace and places:
            self._filed.setdefault(trace, set()).update(places)
        first = result.get("of")
        if first:
            self.summary.duplicates += 1
            if document["expires"].timestamp() * 1000 - RECEIPT_MS > self.complete_after:
                self._duplicates.append((trace, first))

    def tombstone(self, document: Document) -> None:
        """A tombstone; a move's says where its messages went."""
        target = document.get("target")
        if target is not None:
            self._moved.update((target["m"], uid) for uid in unpack(U32, target["u"]))

    def finish(self, mailboxes: Mapping[bytes, MailboxAudit], pending: Set[str]) -> None:
        """Compare all claims with the mailboxes of the same snapshot, and the transactions that wait in it."""
        for (mailbox_id, uid), name in self._claims.items():
            mailbox = mailboxes.get(mailbox_id)
            if mailbox is not None and mailbox.holds(uid):
                self.summary.visible += mailbox.alive
                self.summary.removed += not mailbox.alive
            elif mailbox is not None and uid in mailbox.vanished:
                self.summary.removed += 1
            else:
                self.find(FindingKind.LOST_MESSAGE, mailbox_id, f"UID {uid}, filed by {name}")
        for trace, places in self._filed.items():
            if len(places) > 1:
                self.find(FindingKind.DOUBLE_MESSAGE, None, f"transaction {trace} was filed {len(places)} times")
        for trace, first in self._duplicates:
            if first not in self._filed and first not in pending:
                detail = f"transaction {trace} was answered as a duplicate of {first}, which wasn't filed"
                self.find(FindingKind.LOST_MESSAGE, None, detail)
        for trace in self._accepted - self._filed.keys() - pending:
            self.find(
                FindingKind.LOST_MESSAGE, None, f"transaction {trace} was accepted and is neither filed nor waiting"
            )
        for mailbox_id, mailbox in mailboxes.items():
            for uid in mailbox.recent:
                if (mailbox_id, uid) not in self._claims and (mailbox_id, uid) not in self._moved:
                    self.find(FindingKind.UNCLAIMED_ENTRY, mailbox_id, f"UID {uid}")


def filed(result: Document) -> list[tuple[bytes, int]]:
    """(mailbox id, UID) of what a receipt's result says was filed."""
    mailbox_id = result.get("m")
    return [] if mailbox_id is None else [(mailbox_id, uid) for uid in unpack(U32, result["u"])]
