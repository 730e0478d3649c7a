"""The Queue port of the fake: one attempt's rules without a schedule; what is deferred is due at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7

from ..queue import (
    AttemptReport,
    Claimed,
    ClaimToken,
    Job,
    Outcome,
    QueuedRecipient,
    QueueId,
    RecipientReport,
    Transport,
)
from ..types import Envelope, EnvelopeRecipient
from .state import State

LEASE_MS = 120_000
LIFETIME_MS = 5 * 24 * 3600 * 1000


@dataclass(slots=True)
class Queued:
    """A queue document. `waiting` are the recipients still to be delivered, `results` what was last said of each."""

    queue_id: QueueId
    envelope: Envelope
    domain: str
    content: bytes
    created_at: int
    waiting: dict[str, QueuedRecipient]
    attempt: int = 1
    token: ClaimToken | None = None
    lease_until: int = 0
    claimed: bool = False
    ended: bool = False
    held: bool = False
    results: dict[str, RecipientReport] = field(default_factory=dict)


class MemoryQueue:
    """The Queue port. `documents` holds everything ever queued; `transports` is the table, by domain or `*`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.documents: dict[QueueId, Queued] = {}
        self.transports: dict[str, Transport] = {}

    def submit(self, envelope: Envelope, recipients: Sequence[EnvelopeRecipient], content: bytes) -> None:
        """Queue a message for remote recipients, a document for each domain."""
        by_domain: dict[str, dict[str, QueuedRecipient]] = {}
        for one in recipients:
            domain = one.address.rpartition("@")[2].lower()
            queued = QueuedRecipient(one.address, one.notify, one.orcpt)
            by_domain.setdefault(domain, {}).setdefault(one.address, queued)
        for domain, waiting in by_domain.items():
            queue_id = QueueId(uuid7())
            self.documents[queue_id] = Queued(queue_id, envelope, domain, content, self._state.clock(), waiting)

    def jobs(self) -> list[Job]:
        """What is to be tried now, claims whose lease has ended among it."""
        out = []
        for document in self.documents.values():
            if document.claimed and document.lease_until <= self._state.clock():
                self._end(document)
            if document.waiting and not document.claimed and not document.held:
                out.append(Job(document.queue_id, document.attempt, document.domain))
        return out

    async def claim(self, jobs: Sequence[Job], worker: str, *, max_bytes: int, key: bytes) -> list[Claimed | None]:
        out: list[Claimed | None] = []
        for job in jobs:
            document = self.documents.get(job.queue_id)
            claimed = self._claim(document, job, ClaimToken(key)) if document is not None else None
            if document is not None and claimed is not None and len(document.content) <= max_bytes:
                max_bytes -= len(document.content)
                claimed = self._shown(document, document.content)
            out.append(claimed)
        return out

    def _claim(self, document: Queued, job: Job, token: ClaimToken) -> Claimed | None:
        if document.attempt != job.attempt or not document.waiting:
            return None
        if document.claimed:
            return self._shown(document, None) if document.token == token else None
        if document.held:
            return None
        document.claimed, document.ended, document.token = True, False, token
        document.lease_until = self._state.clock() + LEASE_MS
        return self._shown(document, None)

    def _shown(self, document: Queued, content: bytes | None) -> Claimed:
        envelope = document.envelope
        addresses = [envelope.reverse_path, *document.waiting]
        header, _, _ = document.content.partition(b"\r\n\r\n")
        needs_utf8 = not (header.isascii() and all(address.isascii() for address in addresses))
        return Claimed(
            queue_id=document.queue_id,
            attempt=document.attempt,
            token=document.token or ClaimToken(b""),
            lease_until=document.lease_until,
            trace_id=envelope.trace_id,
            domain=document.domain,
            transport=self.transports.get(document.domain) or self.transports.get("*") or Transport(),
            reverse_path=envelope.reverse_path,
            recipients=tuple(document.waiting.values()),
            size=len(document.content),
            content=content,
            eight_bit=not document.content.isascii(),
            smtputf8=envelope.smtputf8 and needs_utf8,
            envid=envelope.envid,
            ret=envelope.ret,
            expires_at=document.created_at + LIFETIME_MS,
        )

    def _held_by(self, queue_id: QueueId, token: ClaimToken) -> Queued | None:
        document = self.documents.get(queue_id)
        return document if document is not None and document.claimed and document.token == token else None

    async def content(self, queue_id: QueueId, token: ClaimToken) -> bytes:
        document = self._held_by(queue_id, token)
        if document is None:
            raise Refused(RefusedCode.NO_MESSAGE, "The claim was lost")
        return document.content

    async def renew(self, claims: Sequence[tuple[QueueId, ClaimToken]]) -> list[bool]:
        out = []
        for queue_id, token in claims:
            document = self._held_by(queue_id, token)
            if document is not None:
                document.lease_until = self._state.clock() + LEASE_MS
            out.append(document is not None)
        return out

    async def report(self, reports: Sequence[AttemptReport]) -> list[bool]:
        return [self._report(report) for report in reports]

    def _report(self, report: AttemptReport) -> bool:
        document = self.documents.get(report.queue_id)
        if document is None or document.token != report.token:
            return False
        if document.ended:
            return True
        for one in report.recipients:
            if one.address in document.waiting:
                document.results[one.address] = one
                if one.outcome is not Outcome.DEFERRED:
                    del document.waiting[one.address]
        if report.final:
            self._end(document)
            document.ended = True
        return True

    def _end(self, document: Queued) -> None:
        document.attempt += document.claimed
        document.claimed = False
