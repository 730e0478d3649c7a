"""What the store tells the rest of the process after a commit.

Hooks run in the event loop and must not block, await or raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mailboat_store_client.queue import Job
from mailboat_store_client.types import AccountId, MailboxChanged, MailboxId


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One step of a message's journey; `at` is ms since the epoch.

    `kind` is received, accepted, filed, duplicate, over_quota, gone or forwarded; answered (what its client was told),
    offered_again (by another transaction, whose duplicate it is), announced (to clients, by EXISTS); on the way out
    queued, attempt, delivered, deferred, failed, notice (to the sender), untold, suppressed, and held, released,
    retried, rerouted or removed by an operator. A notice's own trace begins with written.
    """

    trace_id: str
    at: int
    kind: str
    account_id: AccountId | None = None
    mailbox_id: MailboxId | None = None
    uid: int = 0
    details: dict[str, Any] = field(default_factory=dict)


def _ignore(_news: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """`on_commit` gets one entry for each mailbox and tree a commit changed; `on_trace` its delivery events;
    `on_queued` the jobs of what it put into the outbound queue.
    """

    on_commit: Callable[[list[MailboxChanged]], None] = _ignore
    on_trace: Callable[[list[TraceEvent]], None] = _ignore
    on_queued: Callable[[list[Job]], None] = _ignore
