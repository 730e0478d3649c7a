"""The bodies of /v1/queue and /v1/transports. A transport's password goes in and never comes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mailboat_common.ids import encode_id
from mailboat_store_client.queue import TlsMode, Transport
from pydantic import ConfigDict, Field, model_validator

from ..db.driver import Document
from ..queue.bounce import MAX_REASON, REASON, STATUS
from ..queue.documents import CLAIMED, DONE, HELD
from ..queue.operators import MAX_IDS, DomainCount, Route, Selection, id_of
from ..queue.transports import MAX_CREDENTIAL
from .models import Strict

State = Literal["ready", "claimed", "held", "done"]
Tls = Literal["none", "may", "encrypt", "verify", "implicit"]
_TLS = (
    "none; may: STARTTLS where it works; encrypt: STARTTLS, any certificate; verify: STARTTLS, a valid certificate; "
    "implicit: TLS from the first octet, a valid certificate"
)
_RELAY: dict[str, Any] = {"host": "smtp.relay.example", "port": 587, "tls": "verify", "username": "example"}
_RECIPIENT: dict[str, Any] = {
    "address": "carol@far.example",
    "state": "pending",
    "attempts": 2,
    "at": 1764115500000,
    "status": "4.2.0",
    "reply": "450 4.2.0 Greylisted, try again",
    "reason": "",
    "host": "mx.far.example [192.0.2.25]:25",
    "tls": "TLSv1.3",
}
_QUEUED: dict[str, Any] = {
    "id": "1vjrg9gsmwgr2yj6zc38mvxq58",
    "trace_id": "1vjrg9gsmwgr2yj6zc38mvxq59",
    "domain": "far.example",
    "sender": "alice@example.test",
    "state": "ready",
    "why": "deferred: 450 4.2.0 Greylisted, try again",
    "attempt": 3,
    "size": 4711,
    "created_at": 1764115200000,
    "expires_at": 1764547200000,
    "next_attempt": 1764116100000,
    "worker": None,
    "lease_until": None,
    "route": None,
    "route_of": None,
    "recipients": [_RECIPIENT],
}
_COUNTS: dict[str, Any] = {
    "domain": "far.example",
    "ready": 12,
    "claimed": 1,
    "held": 0,
    "oldest": 1764115200000,
    "next_attempt": 1764116100000,
}


def _example(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


_CREDENTIAL = Field("", max_length=MAX_CREDENTIAL)


class TransportIn(Strict):
    """Where mail goes: a smarthost, or with an empty host the domain's MX."""

    model_config = _example(_RELAY | {"password": "a secret"}, {"host": "", "port": 25, "tls": "verify"})

    host: str = Field("", max_length=255, examples=["smtp.relay.example"])
    port: int = Field(25, ge=1, le=65535)
    tls: Tls = Field("may", description=_TLS)
    username: str = _CREDENTIAL
    password: str = _CREDENTIAL

    def transport(self) -> Transport:
        """The same for the queue."""
        return Transport(self.host, self.port, TlsMode(self.tls), self.username, self.password)


class TransportOut(Strict):
    """A transport without its password."""

    model_config = _example(_RELAY)

    host: str
    port: int
    tls: Tls
    username: str

    @classmethod
    def of(cls, transport: Transport) -> TransportOut:
        """As shown."""
        return cls(host=transport.host, port=transport.port, tls=transport.tls.value, username=transport.username)


class TableEntry(TransportOut):
    """An entry of the transport table."""

    model_config = _example(_RELAY | {"domain": "*"})

    domain: str = Field(description="A domain, or * for all that have no entry of their own")

    @classmethod
    def entry(cls, key: str, transport: Transport) -> TableEntry:
        """As shown."""
        return cls(domain=key, **TransportOut.of(transport).model_dump())


class RecipientOut(Strict):
    """A recipient, and what was last said of it. `at` in ms since the epoch."""

    model_config = _example(_RECIPIENT)

    address: str
    state: Literal["pending", "delivered", "failed", "removed"]
    attempts: int
    at: int | None
    status: str
    reply: str = Field(description="The remote server's words")
    reason: str = Field(description="What we found, where no server said anything")
    host: str
    tls: str


class QueuedOut(Strict):
    """A message for one destination domain. Times in ms since the epoch."""

    model_config = _example(_QUEUED)

    id: str
    trace_id: str
    domain: str
    sender: str = Field(description="The reverse-path; empty: the null one")
    state: State
    why: str = Field(description="Why it waits, for people")
    attempt: int = Field(description="The number of the next attempt, or of the running one")
    size: int
    created_at: int
    expires_at: int
    next_attempt: int | None = Field(description="null: held or done")
    worker: str | None
    lease_until: int | None
    route: TransportOut | None = Field(description="An operator's, instead of the transport table's")
    route_of: str | None = Field(description="The domain (or *) whose entry in the table holds instead of its own")
    recipients: list[RecipientOut]

    @classmethod
    def of(cls, document: Document) -> QueuedOut:
        """As shown."""
        recipients = [_recipient(recipient) for recipient in document["recipients"]]
        route = document.get("route")
        return cls(
            id=encode_id(bytes(document["_id"])),
            trace_id=document["t"],
            domain=document["domain"],
            sender=document["reverse_path"],
            state=document["state"],
            why=_why(document, recipients),
            attempt=document["attempt"],
            size=document["size"],
            created_at=document["created_at"],
            expires_at=document["expires_at"],
            next_attempt=document["next_attempt"] if "due" in document else None,
            worker=document.get("worker"),
            lease_until=document.get("lease_until"),
            route=TransportOut(host=route["host"], port=route["port"], tls=route["tls"], username=route["username"])
            if route
            else None,
            route_of=document.get("route_of"),
            recipients=recipients,
        )


class CountsOut(Strict):
    """What waits for a domain."""

    model_config = _example(_COUNTS)

    domain: str
    ready: int
    claimed: int
    held: int
    oldest: int
    next_attempt: int | None

    @classmethod
    def of(cls, count: DomainCount) -> CountsOut:
        """As shown."""
        return cls(
            domain=count.domain,
            ready=count.ready,
            claimed=count.claimed,
            held=count.held,
            oldest=count.oldest,
            next_attempt=count.next_attempt,
        )


class CountsPage(Strict):
    """Counts by domain, most first."""

    model_config = _example({"items": [_COUNTS]})

    items: list[CountsOut]


class SelectionIn(Strict):
    """Which messages: all conditions together; `all` instead of any."""

    model_config = _example({"ids": ["1vjrg9gsmwgr2yj6zc38mvxq58"]}, {"domain": "far.example"}, {"all": True})

    ids: list[Annotated[str, Field(max_length=64)]] = Field(default_factory=list, max_length=MAX_IDS)
    domain: str = Field("", max_length=255)
    sender: str = Field("", max_length=512, description="The reverse-path; <> for the null one")
    all: bool = False

    def selection(self) -> Selection:
        """The same for the queue. Refused NOT_FOUND for an id that is none."""
        return Selection(tuple(map(id_of, self.ids)), self.domain, self.sender, self.all)

    def target(self) -> str:
        """What the audit log says."""
        named = [*self.ids[:10], *filter(None, (self.domain, self.sender))]
        return " ".join(named) if named else "all"


class RerouteIn(SelectionIn):
    """Which messages, and where they go from their next attempt on; by the table again if neither is named."""

    model_config = _example(
        {"domain": "far.example", "transport": {"host": "relay2.example", "port": 25, "tls": "may"}},
        {"domain": "far.example", "transport_of": "near.example"},
    )

    transport: TransportIn | None = None
    transport_of: str | None = Field(
        None, max_length=255, description="As the transport table says for this domain, or for *, with its credentials"
    )

    @model_validator(mode="after")
    def _one(self) -> RerouteIn:
        if self.transport is not None and self.transport_of is not None:
            raise ValueError("transport and transport_of exclude each other")
        return self

    def route(self) -> Route:
        """The same for the queue."""
        return self.transport_of if self.transport is None else self.transport.transport()


class BounceIn(SelectionIn):
    """Which messages, and what their senders are told."""

    model_config = _example({"domain": "far.example", "reason": "far.example has closed; write to near.example"})

    reason: str = Field(REASON, max_length=MAX_REASON, description="One line, for people")
    status: str = Field(STATUS, max_length=11, description="RFC 3463's code of a permanent failure")


class DoneOut(Strict):
    """To how many messages it was done."""

    model_config = _example({"changed": 12})

    changed: int


def _recipient(recipient: Document) -> RecipientOut:
    last = recipient.get("last") or {}
    return RecipientOut(
        address=recipient["address"],
        state=recipient["state"],
        attempts=recipient["attempts"],
        at=last.get("at"),
        **{name: last.get(name, "") for name in ("status", "reply", "reason", "host", "tls")},
    )


def _why(document: Document, recipients: list[RecipientOut]) -> str:
    """One line: who is to do what next, and what the last attempt met."""
    state = document["state"]
    if state == HELD:
        reason = document.get("hold_reason")
        return f"held: {reason}" if reason else "held until an operator releases it"
    if state == CLAIMED:
        after = ", then held" if document.get("hold") else ""
        return f"attempt {document['attempt']} is running{after}"
    waiting = [recipient for recipient in recipients if recipient.state == "pending"]
    if state == DONE:
        ends = sorted({recipient.state for recipient in recipients})
        return " and ".join(ends)
    said = next((r.reply or r.reason for r in waiting if r.reply or r.reason), "")
    if said:
        return f"deferred: {said}"
    return "waits for a delivery worker" if "published_at" in document else "waits for its first attempt"
