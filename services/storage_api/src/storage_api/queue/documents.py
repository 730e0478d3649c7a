"""The values of a queue document's fields, and what may be read from one without the database.

One document is one message for one destination domain (`db/schema.py` lists its fields). It is its own outbox: `state`
and `due` say what is to be done with it and when, and whatever RabbitMQ knows of it may be lost.

    ready ──claim──▶ claimed ──report──▶ ready | done        held: an operator's hold, left by release
"""

from __future__ import annotations

from collections.abc import Iterable

from mailboat_store_client.queue import Job, QueuedRecipient, QueueId

from ..db.driver import Document
from ..directory.addresses import normalise_domain

READY, CLAIMED, HELD, DONE = "ready", "claimed", "held", "done"
STATES = (READY, CLAIMED, HELD, DONE)

PENDING, DELIVERED, FAILED, REMOVED = "pending", "delivered", "failed", "removed"

LEASE_MS = 120_000
GRACE_MS = 2_000
"""New documents are published by whoever committed them; the scheduler looks after this."""
REPUBLISH_MS = 60_000
"""A job that nobody claimed for so long is published again."""
KEEP_DONE_MS = 30 * 24 * 3600 * 1000


def domain_of(address: str) -> str:
    """Where an address's mail goes: A-labels in lower case; an address literal as it is."""
    text = address.rpartition("@")[2]
    return normalise_domain(text) or text.lower()


def by_domain(recipients: Iterable[QueuedRecipient]) -> dict[str, list[QueuedRecipient]]:
    """Recipients by destination domain, in order."""
    found: dict[str, list[QueuedRecipient]] = {}
    for recipient in recipients:
        found.setdefault(domain_of(recipient.address), []).append(recipient)
    return found


def recipient_document(recipient: QueuedRecipient) -> Document:
    """A recipient nobody has tried yet."""
    return {
        "address": recipient.address,
        "notify": recipient.notify,
        "orcpt": recipient.orcpt,
        "state": PENDING,
        "attempts": 0,
    }


def pending(document: Document) -> list[Document]:
    """Recipients that are still to be delivered."""
    return [recipient for recipient in document["recipients"] if recipient["state"] == PENDING]


def job_of(document: Document) -> Job:
    """The job that tries this document now."""
    return Job(QueueId(bytes(document["_id"])), document["attempt"], document["domain"])
