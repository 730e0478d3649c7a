"""The outbound queue's port: what the delivery worker may ask of the storage authority (design of mail out).

One queue document holds one message for one destination domain. A job in RabbitMQ says only "try this document now, for
the n-th time"; the document decides. The worker claims it before it connects, renews the claim while it works, and
reports each recipient as soon as the remote server has answered for it. When to try again, when to give up and what the
sender is told is decided here, by the storage authority, from what is reported.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

QueueId = NewType("QueueId", bytes)
"""16 bytes (UUIDv7); shown with `mailboat_common.ids.encode_id`."""

ClaimToken = NewType("ClaimToken", bytes)
"""16 random bytes: who holds them works on the document until the lease ends."""


@dataclass(frozen=True, slots=True)
class Job:
    """What RabbitMQ carries. `attempt` counts from 1; a job whose attempt is not the document's next one is void."""

    queue_id: QueueId
    attempt: int
    domain: str


class TlsMode(enum.Enum):
    """How a connection is secured (RFC 3207, RFC 8314)."""

    NONE = "none"
    MAY = "may"  # STARTTLS if offered, any certificate; in the clear if it isn't offered or fails
    ENCRYPT = "encrypt"  # STARTTLS or nothing, any certificate
    VERIFY = "verify"  # STARTTLS with a certificate that is valid for the host, or nothing
    IMPLICIT = "implicit"  # TLS from the first octet, with a valid certificate


@dataclass(frozen=True, slots=True)
class Transport:
    """Where mail for a domain goes: `host` "" means the domain's MX, otherwise this smarthost.

    `username` "" means no AUTH; `password` never appears in a repr or a log.
    """

    host: str = ""
    port: int = 25
    tls: TlsMode = TlsMode.MAY
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One recipient that is still to be delivered. `notify` and `orcpt` are RFC 3461's, as given by the client."""

    address: str
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A document that the caller works on now. `lease_until` and `expires_at` in ms since the epoch.

    `content` is the message as it is to be sent (CRLF line ends, our trace fields and signatures included), or None if
    it is to be fetched with `content` because the answer would have become too large; `size` is its length in octets.
    `eight_bit` says whether it holds octets above 127 anywhere, `smtputf8` whether header or envelope need RFC 6531.
    """

    queue_id: QueueId
    attempt: int
    token: ClaimToken
    lease_until: int
    trace_id: str
    domain: str
    transport: Transport
    reverse_path: str
    recipients: tuple[QueuedRecipient, ...]
    size: int
    content: bytes | None
    eight_bit: bool = False
    smtputf8: bool = False
    envid: str = ""
    ret: str = ""
    expires_at: int = 0


class Outcome(enum.Enum):
    """What an attempt meant for one recipient."""

    DELIVERED = "delivered"  # the remote server's 250
    DEFERRED = "deferred"  # 4xx, or no server could be spoken to: again later
    FAILED = "failed"  # 5xx, null MX, no such domain: never again


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """What became of one recipient in an attempt.

    `status` is the enhanced status code (RFC 3463) such as "5.1.1"; `reply` the remote server's whole reply in one line
    ("550 5.1.1 No such user"), or "" if our own finding is told in `reason`. `host` is the server's name and address as
    connected to ("mx1.example.org [192.0.2.1]:25"), "" if none was reached. `tls` is the protocol version, "" in the
    clear. `dsn_passed_on` says that the remote server took over the duty to notify (RFC 3461 5.2.1 and 5.2.2).
    """

    address: str
    outcome: Outcome
    status: str
    reply: str = ""
    reason: str = ""
    host: str = ""
    tls: str = ""
    dsn_passed_on: bool = False


@dataclass(frozen=True, slots=True)
class Phases:
    """How long the parts of an attempt took, in ms; None: it didn't come to that part, or had no need of it.

    `lookup`: MTA-STS policy, MX, addresses; `wait`: until a connection to that server was free; `connect`: all
    connections tried, up to EHLO's answer; `tls`: STARTTLS, handshake and EHLO again. Of the transaction that is
    reported: `mail`: up to the answer to the last RCPT; `data`: sending the message; `reply`: until the server said
    what became of it.
    """

    lookup: int | None = None
    wait: int | None = None
    connect: int | None = None
    tls: int | None = None
    mail: int | None = None
    data: int | None = None
    reply: int | None = None


NO_PHASES = Phases()


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt's results; recipients that are left out are still to be reported under the same token.

    `final` ends the attempt: what was not reported by then is deferred as "the attempt was broken off". `phases` are
    for the trace.
    """

    queue_id: QueueId
    token: ClaimToken
    recipients: tuple[RecipientReport, ...]
    final: bool = True
    phases: Phases = NO_PHASES


class Queue(Protocol):
    """Mail out. Errors as by the other ports (`Refused`, `Failure`)."""

    async def claim(self, jobs: Sequence[Job], worker: str, *, max_bytes: int, key: bytes) -> list[Claimed | None]:
        """Claim up to 100 documents, in order; None: not ready, held, gone, or another attempt is due (drop the job).

        `max_bytes` bounds the contents in the answer. `key` is 16 random bytes: a repeat of the call gets the same
        claims, as long as they hold.
        """

    async def content(self, queue_id: QueueId, token: ClaimToken) -> bytes:
        """The message of a claimed document. Refused NO_MESSAGE under a stale token."""

    async def renew(self, claims: Sequence[tuple[QueueId, ClaimToken]]) -> list[bool]:
        """Lengthen leases; False: the claim was lost, and the work is to be broken off before DATA's end."""

    async def report(self, reports: Sequence[AttemptReport]) -> list[bool]:
        """Commit what became of recipients, on a majority; False: the token is stale and nothing was changed.

        A claim whose lease ended is still believed until another one is given: what the remote server took must not be
        sent again. A repeat of what is committed already is True and has no second effect. For each of them is
        decided, in the same transaction, when it is tried again or what notice is written.
        """
