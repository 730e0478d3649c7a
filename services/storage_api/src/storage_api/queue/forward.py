"""Queueing what an address of ours sends on: a forward, a group's members elsewhere, a bounce of either.

It commits with the copies that are filed here, or with the `accepted` document. Its duplicate key belongs to no
account: who forwards without a copy has nothing filed that an audit could look for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from mailboat_store_client.types import NO_ACCOUNT, AccountId, DeliveryStatus, Envelope

from ..db.driver import Database, Document
from ..store.deliver import duplicate_key, first_transaction, leave_duplicate_keys, tell_duplicate
from ..store.hooks import TraceEvent
from ..store.mutation import Mutation
from ..store.workspace import DedupeId, Needs, Workspace
from . import contents
from .notify import NOTHING_TOLD, Outcomes
from .submit import Outgoing, Prepared, enqueue, prepare
from .suppressed import entries_for, suppressed


@dataclass(frozen=True, slots=True)
class Forwarded:
    """`status` QUEUED, also if every recipient is suppressed, or DUPLICATE. `told`: what the suppressed count as."""

    status: DeliveryStatus
    told: Outcomes = NOTHING_TOLD


class Forward(Mutation[Forwarded]):
    """Queue one message that is sent on."""

    kind = "forward"

    def __init__(self, envelope: Envelope, via: str, prepared: Prepared, key: bytes) -> None:
        super().__init__(NO_ACCOUNT, key, prepared.transaction_bytes)
        self._envelope = envelope
        self._via = via
        self._prepared = prepared
        self._duplicate: DedupeId = (NO_ACCOUNT, duplicate_key(envelope, f"forward:{via}"))

    @property
    def accounts(self) -> set[AccountId]:
        return set()

    def needs(self) -> Needs:
        return Needs(keys=[self._duplicate], documents=entries_for(self._prepared.message.recipients))

    def apply(self, ws: Workspace) -> Forwarded:
        if first := first_transaction(ws, [self._duplicate], self._envelope):
            tell_duplicate(ws, self._envelope.trace_id, first, via=self._via)
            return Forwarded(DeliveryStatus.DUPLICATE)
        leave_duplicate_keys(ws, [self._duplicate], self._envelope.trace_id)
        details = {"via": self._via, "reverse_path": self._prepared.message.reverse_path}
        ws.tell_trace(TraceEvent(self._envelope.trace_id, ws.now, "forwarded", details=details))
        told = enqueue(ws, self._prepared, suppressed(ws, self._prepared.message.recipients))
        return Forwarded(DeliveryStatus.QUEUED, told)

    def receipt(self, result: Forwarded) -> Document:
        return {"t": self._envelope.trace_id, "status": result.status.value}

    def repeat(self, ws: Workspace, receipt: Document) -> Forwarded:
        return Forwarded(DeliveryStatus(receipt["status"]))


async def prepare_forwards(
    db: Database, envelope: Envelope, messages: Sequence[tuple[str, Outgoing]], now: int
) -> list[Forward]:
    """Prepare (via, message) each; if together they are large, their contents become durable first."""
    together = sum(len(message.content) for _, message in messages)
    forwards = []
    for via, message in messages:
        key = hashlib.sha256(f"forward\0{envelope.trace_id}\0{via}".encode()).digest()
        if together > contents.IN_TRANSACTION_BYTES:
            content_id = contents.content_id_of(key)
            await contents.keep(db, content_id, message.content, now)
            prepared = Prepared(message, content_id)
        else:
            prepared = await prepare(db, message, key, now)
        forwards.append(Forward(envelope, via, prepared, key))
    return forwards
