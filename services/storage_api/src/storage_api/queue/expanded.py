"""Telling a sender who asked for success that an address stood for several (RFC 3461 5.2.7.1, 5.2.7.3; RFC 3464 2.3.3).

One notice for the address that was named, in the transaction of what it leads to: "expanded", or for a group with an
owner, which is a mailing list, "delivered". From there on nobody tells of success: what is sent on doesn't ask for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailboat_store_client.types import NO_ACCOUNT, AccountId, Envelope, EnvelopeRecipient

from ..db.driver import Document
from ..store.deliver import duplicate_key, first_transaction, leave_duplicate_keys
from ..store.mutation import Mutation
from ..store.workspace import DedupeId, Needs, Workspace
from .notify import tell_expanded


@dataclass(frozen=True, slots=True)
class Expanded:
    """A recipient that leads to `targets` others; `owned`: bounces of these go to an owner."""

    recipient: EnvelopeRecipient
    targets: int
    owned: bool


def without_success(recipient: EnvelopeRecipient) -> EnvelopeRecipient:
    """As it is passed on: the wish to be told of success ends here."""
    words = recipient.notify.upper().split(",")
    if "SUCCESS" not in words:
        return recipient
    return replace(recipient, notify=",".join(word for word in words if word != "SUCCESS") or "NEVER")


class TellExpanded(Mutation[None]):
    """Write the notice, once for each transaction."""

    kind = "expanded"

    def __init__(self, envelope: Envelope, expanded: Sequence[Expanded], header: bytes) -> None:
        key = hashlib.sha256(f"expanded\0{envelope.trace_id}".encode()).digest()
        super().__init__(NO_ACCOUNT, key, len(header))
        self._envelope = envelope
        self._expanded = expanded
        self._header = header
        self._duplicate: DedupeId = (NO_ACCOUNT, duplicate_key(envelope, "expanded"))

    @property
    def accounts(self) -> set[AccountId]:
        return set()

    def needs(self) -> Needs:
        return Needs(keys=[self._duplicate])

    def apply(self, ws: Workspace) -> None:
        if first_transaction(ws, [self._duplicate], self._envelope):
            return
        leave_duplicate_keys(ws, [self._duplicate], self._envelope.trace_id)
        told = [(one.recipient, one.targets, one.owned) for one in self._expanded]
        tell_expanded(ws, self._envelope, told, self._header)

    def receipt(self, result: None) -> Document:
        return {"t": self._envelope.trace_id}

    def repeat(self, ws: Workspace, receipt: Document) -> None:
        return None
