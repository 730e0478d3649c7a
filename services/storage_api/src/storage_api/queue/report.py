"""What an attempt came to: the recipients' results, and what follows from them, in one transaction.

A report counts under the token of the document's last claim. Reported to its end, the same report again is no error and
does nothing. A claim whose lease ended without that is taken back by the scheduler (`EndLease`); until somebody else
claims the document, its worker's late report is still believed, because a recipient the remote server took must not
get the message again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from mailboat_common.ids import encode_id
from mailboat_store_client.queue import (
    NO_PHASES,
    AttemptReport,
    ClaimToken,
    Outcome,
    Phases,
    QueueId,
    RecipientReport,
)
from mailboat_store_client.types import NO_ACCOUNT, AccountId

from ..db import schema
from ..db.driver import Document
from ..store.hooks import TraceEvent
from ..store.mutation import Mutation
from ..store.workspace import Needs, Workspace
from ..store.writes import date
from . import events
from .documents import CLAIMED, DELIVERED, DONE, FAILED, HELD, KEEP_DONE_MS, PENDING, READY
from .hard_bounce import suppress, suppressible
from .notify import NOTHING_TOLD, Outcomes, tell_sender

BROKEN_OFF = "The attempt was broken off"
MAX_TEXT = 2000
_STATES = {Outcome.DELIVERED: DELIVERED, Outcome.FAILED: FAILED, Outcome.DEFERRED: PENDING}


@dataclass(frozen=True, slots=True)
class Reported:
    """`taken`: the report counted, now or before. `seconds`: time in the queue of what it delivered. `unused`: the id
    of the message its document doesn't need any more. `told`: what its failures and notices count as.
    """

    taken: bool
    seconds: tuple[float, ...] = ()
    unused: bytes = b""
    told: Outcomes = NOTHING_TOLD


class Ending(Mutation[Reported]):
    """What ends an attempt or a document. Nothing is kept under a key: the document itself knows.

    `owner` is the account that sent the message, whose events are counted in its document: with it known beforehand a
    batch reads all accounts at once, and no other batch of this process works on them meanwhile.
    """

    def __init__(self, queue_id: QueueId, owner: AccountId | None = None) -> None:
        super().__init__(NO_ACCOUNT, None)
        self._queue_id = queue_id
        self._owners = set() if owner is None else {owner}

    @property
    def accounts(self) -> set[AccountId]:
        return self._owners

    def needs(self) -> Needs:
        return Needs(accounts=set(self._owners), documents={schema.QUEUE: {self._queue_id}})

    def receipt(self, result: Reported) -> Document:
        return {}

    def repeat(self, ws: Workspace, receipt: Document) -> Reported:
        return Reported(True)


class Report(Ending):
    """One attempt's results."""

    kind = "queue_report"

    def __init__(self, report: AttemptReport, owner: AccountId | None = None) -> None:
        super().__init__(report.queue_id, owner)
        self._report = report

    def needs(self) -> Needs:
        needs = super().needs()
        if unknown := suppressible(self._report.recipients):
            needs.documents[schema.SUPPRESSIONS] = unknown
        return needs

    def apply(self, ws: Workspace) -> Reported:
        document = ws.document(schema.QUEUE, self._queue_id)
        if document is None or document.get("token") != self._report.token:
            return Reported(False)
        if document.get("ended") or document["state"] == DONE:
            return Reported(True)
        attempt = document["attempt"] if document["state"] == CLAIMED else document["attempt"] - 1
        reports = {one.address: one for one in self._report.recipients}
        recipients, seconds = [], []
        for recipient in document["recipients"]:
            report = reports.get(recipient["address"])
            if report is None or recipient["state"] != PENDING or _told(recipient, attempt):
                recipients.append(recipient)
                continue
            recipients.append(_reported(recipient, report, attempt, ws.now))
            _tell(ws, document, recipients[-1], self._report.phases)
            suppress(ws, document["t"], report)
            if report.outcome is Outcome.DELIVERED:
                seconds.append((ws.now - document["created_at"]) / 1000)
        if self._report.final:  # one update of the document, not two
            ended = end_attempt(ws, document | {"recipients": recipients}, attempt)
        else:
            ws.change(schema.QUEUE, document, {"recipients": recipients})
            ended = Reported(True)
        return replace(ended, seconds=tuple(seconds))


class EndLease(Ending):
    """Take back a claim whose lease has ended; not taken if it was renewed or reported meanwhile."""

    kind = "queue_lease"

    def __init__(self, queue_id: QueueId, token: ClaimToken, owner: AccountId | None = None) -> None:
        super().__init__(queue_id, owner)
        self._token = token

    def apply(self, ws: Workspace) -> Reported:
        document = ws.document(schema.QUEUE, self._queue_id)
        if document is None or document["state"] != CLAIMED or document["token"] != self._token:
            return Reported(False)
        if document["lease_until"] > ws.now:
            return Reported(False)
        return end_attempt(ws, document, document["attempt"], lapsed=True)


def end_attempt(ws: Workspace, document: Document, attempt: int, *, lapsed: bool = False) -> Reported:
    """Decide how a document goes on after its attempt, and what its sender is told.

    A worker that died is no fault of the message: the first lapse in a row is followed at once by another attempt.
    """
    recipients = [_broken_off(ws, document, r, attempt) for r in document["recipients"]]
    waits = any(recipient["state"] == PENDING for recipient in recipients)
    lapses = document.get("lapses", 0) + 1 if lapsed else 0
    at: int | None = None
    if waits:
        at = ws.policy.schedule.next_attempt(
            attempt,
            queued_at=document["created_at"],
            expires_at=document["expires_at"],
            now=ws.now,
            jitter=random.random(),  # noqa: S311 - spreads load
        )
        if lapses == 1:
            at = ws.now
    if waits and at is None:
        recipients = [_expired(ws, document, r) for r in recipients]
    fields, told = tell_sender(ws, document, recipients, delays=not lapsed)
    fields |= {"ended": not lapsed, "lapses": lapses, "attempt": attempt + 1}
    if at is None:
        return Reported(True, unused=finish(ws, document, fields), told=told)
    fields |= {"state": READY, "next_attempt": at, "due": at}
    gone = ["lease_until", "worker", "hold", "published_at"]
    if document.get("hold") or document["state"] == HELD:  # held meanwhile: the report came after its lease's end
        del fields["due"]
        fields["state"] = HELD
        gone.append("due")
    ws.change(schema.QUEUE, document, fields, gone)
    return Reported(True, told=told)


def finish(ws: Workspace, document: Document, fields: Document) -> bytes:
    """Nothing is left to do: the document stays as proof, without its message and an operator's route, which may hold a
    password. Returns the id of the message.
    """
    content_id = bytes(document.get("content_id", b""))
    done: Document = {"state": DONE, "done_at": ws.now, "expires": date(ws.now + KEEP_DONE_MS)}
    gone = ("content", "content_id", "header", "due", "lease_until", "worker", "hold", "published_at", "route")
    ws.change(schema.QUEUE, document, fields | done, gone)
    return content_id


def _told(recipient: Document, attempt: int) -> bool:
    """Whether the worker has told this attempt's result already; that it was broken off is only our guess."""
    last = recipient.get("last")
    return last is not None and last["attempt"] == attempt and not last.get("broken_off")


def _reported(recipient: Document, report: RecipientReport, attempt: int, now: int) -> Document:
    counted = recipient.get("last", {}).get("attempt") == attempt
    last: Document = {
        "at": now,
        "attempt": attempt,
        "outcome": report.outcome.value,
        "status": report.status[:32],
        "reply": report.reply[:MAX_TEXT],
        "reason": report.reason[:MAX_TEXT],
        "host": report.host[:MAX_TEXT],
        "tls": report.tls[:32],
    }
    changed = recipient | {
        "state": _STATES[report.outcome],
        "attempts": recipient["attempts"] + (not counted),
        "last": last,
    }
    if report.dsn_passed_on:
        changed["dsn_passed_on"] = True
    return changed


def _broken_off(ws: Workspace, document: Document, recipient: Document, attempt: int) -> Document:
    """A recipient the attempt didn't come to is deferred."""
    if recipient["state"] != PENDING or _told(recipient, attempt):
        return recipient
    report = RecipientReport(recipient["address"], Outcome.DEFERRED, "4.4.2", reason=BROKEN_OFF)
    changed = _reported(recipient, report, attempt, ws.now)
    changed["last"]["broken_off"] = True
    _tell(ws, document, changed)
    return changed


def _expired(ws: Workspace, document: Document, recipient: Document) -> Document:
    """Given up after days; what the last attempt met stays to be told (RFC 3463 3.5: X.4.7)."""
    if recipient["state"] != PENDING:
        return recipient
    changed = recipient | {"state": FAILED, "expired": True}
    _tell(ws, document, changed)
    return changed


def _tell(ws: Workspace, document: Document, recipient: Document, phases: Phases = NO_PHASES) -> None:
    """A trace event of what became of a recipient."""
    last = recipient["last"]
    details = {
        "recipient": recipient["address"],
        "queue": encode_id(bytes(document["_id"])),
        "attempt": last["attempt"],
    }
    details |= {name: last[name] for name in ("status", "reply", "reason", "host", "tls") if last[name]}
    if spent := {name: ms for name, ms in asdict(phases).items() if ms is not None}:
        details["phases"] = spent
    if recipient.get("expired"):
        details["expired"] = True
    kind = {DELIVERED: "delivered", FAILED: "failed"}.get(recipient["state"], "deferred")
    ws.tell_trace(TraceEvent(document["t"], ws.now, kind, document.get("a"), details=details))
    events.ended(ws, document, recipient)


def unused_of(outcomes: Sequence[Reported]) -> list[bytes]:
    """Messages that may be unnecessary now."""
    return sorted({outcome.unused for outcome in outcomes if outcome.unused})
