"""Which notices a queued message's sender is due (RFC 3461, RFC 3464, RFC 3834).

Pure: `notices_due` looks at a message's envelope and at what became of each recipient, and gives the finished messages.
Rules:

- Nobody is told anything about a message with the null reverse-path, and nothing about a delivery report or an
  automatic reply that failed: a notice must never lead to another one. What could not be told is in `untold`, to be
  counted and traced.
- NOTIFY decides for each recipient; without it a failure is told, and a delay. RFC 3461 4.1, 6.
- SUCCESS gives "relayed" where the remote server did not take the duty over (5.2.2), else nothing: it will tell.
- What an attempt brought is told at its end, in one message for each kind; a delay once for each document.
- A recipient that was settled earlier (`told`) is left out: whoever stores the result stores that with it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from mailboat_mime import first_value
from mailboat_store_client.queue import Outcome

LIFETIME_STATUS = "4.4.7"  # RFC 3463: delivery time expired; said only where no attempt left a better code


class Action(enum.Enum):
    """RFC 3464 2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class NoticeKind(enum.Enum):
    """What a notice is about; also the label of a metric."""

    FAILURE = "failure"
    DELAY = "delay"
    SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class RecipientState:
    """One recipient and its last result. `outcome` None: not tried yet. `at` in ms since the epoch.

    `notify` and `orcpt` are RFC 3461's as the client gave them. `expired`: given up after days of deferrals. `settled`:
    its end was dealt with before. `local`: it was filed here, or is a list here, so nothing was relayed. `expanded_to`
    counts the addresses that it stood for, 0: none.
    """

    address: str
    outcome: Outcome | None = None
    notify: str = ""
    orcpt: str = ""
    status: str = ""
    reply: str = ""
    reason: str = ""
    host: str = ""
    at: int = 0
    expired: bool = False
    dsn_passed_on: bool = False
    settled: bool = False
    local: bool = False
    expanded_to: int = 0


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message as its queue document describes it; times in ms since the epoch.

    `header` is its header block, or the first part of it; `content` the whole message if it is small, else None.
    """

    trace_id: str
    reverse_path: str
    recipients: tuple[RecipientState, ...]
    created_at: int
    expires_at: int
    header: bytes
    content: bytes | None = None
    envid: str = ""
    ret: str = ""
    delay_told: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """A recipient in a notice."""

    recipient: RecipientState
    action: Action

    @property
    def status(self) -> str:
        """RFC 3463's code, always complete."""
        return self.recipient.status or _PLAIN_STATUS[self.action]


@dataclass(frozen=True, slots=True)
class Plan:
    """A notice to be written: to whom (`message.reverse_path`), about what."""

    kind: NoticeKind
    message: SentMessage
    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Due:
    """`plans`: notices to write, one of a kind. `untold`: failed recipients whose sender can't be told.

    `settled`: every recipient that has come to its end; from now on each is `settled`.
    """

    plans: tuple[Plan, ...] = ()
    untold: tuple[RecipientState, ...] = ()
    settled: frozenset[str] = frozenset()

    @property
    def delay(self) -> bool:
        """Whether the sender is told of a delay now: from now on `delay_told`."""
        return any(plan.kind is NoticeKind.DELAY for plan in self.plans)


_PLAIN_STATUS = {
    Action.FAILED: "5.0.0",
    Action.DELAYED: "4.0.0",
    Action.DELIVERED: "2.0.0",
    Action.RELAYED: "2.0.0",
    Action.EXPANDED: "2.0.0",
}
_ENDS = (Outcome.DELIVERED, Outcome.FAILED)


def notices_due(message: SentMessage, now: int, delay_notice_at: int | None) -> Due:
    """What is due at the end of an attempt. `delay_notice_at`: from when on a deferral is told (None: never)."""
    ended = [r for r in message.recipients if r.outcome in _ENDS and not r.settled]
    settled = frozenset(r.address for r in ended)
    failed = [r for r in ended if r.outcome is Outcome.FAILED]
    if not message.reverse_path or is_report(message.header):
        return Due((), tuple(failed), settled)
    automatic = auto_submitted(message.header)
    silent = automatic == "auto-replied"
    told_failed = [r for r in failed if _wants(r, "FAILURE", default=not silent)]
    untold = tuple(r for r in failed if silent and not r.notify)
    plans = [
        _plan(NoticeKind.FAILURE, message, [Told(r, Action.FAILED) for r in told_failed]),
        _plan(NoticeKind.SUCCESS, message, _successes(ended)),
    ]
    if delay_notice_at is not None and now >= delay_notice_at and not message.delay_told:
        waiting = [r for r in message.recipients if r.outcome is Outcome.DEFERRED]
        wanted = [r for r in waiting if _wants(r, "DELAY", default=automatic == "no")]
        plans.append(_plan(NoticeKind.DELAY, message, [Told(r, Action.DELAYED) for r in wanted]))
    return Due(tuple(plan for plan in plans if plan.told), untold, settled)


def _plan(kind: NoticeKind, message: SentMessage, told: Iterable[Told]) -> Plan:
    return Plan(kind, message, tuple(told))


def _successes(ended: Iterable[RecipientState]) -> list[Told]:
    """RFC 3461 5.2.2, 5.2.7.2: told only if it was asked for, and nobody further on will."""
    told = []
    for recipient in ended:
        if recipient.outcome is Outcome.DELIVERED and not recipient.dsn_passed_on and _wants(recipient, "SUCCESS"):
            action = Action.EXPANDED if recipient.expanded_to else Action.RELAYED
            told.append(Told(recipient, Action.DELIVERED if recipient.local else action))
    return told


def _wants(recipient: RecipientState, word: str, *, default: bool = False) -> bool:
    words = recipient.notify.upper().split(",") if recipient.notify else []
    return word in words if words else default


def is_report(header: bytes) -> bool:
    """Whether a message is a delivery report itself, whatever its reverse-path (RFC 6522 3)."""
    value = (first_value(header, b"Content-Type") or b"").lower()
    kind, _, parameters = value.partition(b";")
    return kind.strip() == b"multipart/report" and b"delivery-status" in parameters


def auto_submitted(header: bytes) -> str:
    """RFC 3834 5: "no" for a message that says nothing."""
    value = first_value(header, b"Auto-Submitted") or b"no"
    return value.partition(b";")[0].strip().lower().decode("ascii", "replace") or "no"
