"""An event as other systems see it (docs/events.md): JSON, the same on RabbitMQ, in webhooks and on /v1/events."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mailboat_common.ids import encode_id

from ..db.driver import Document
from ..store.outbox import Kind

KINDS = frozenset(kind.value for kind in Kind)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the stream. `at` is ms since the epoch, `account_id` "" and `seq` 0 if it is of no account."""

    position: int
    event_id: str
    kind: str
    at: int
    account_id: str
    seq: int
    address: str
    domain: str
    data: dict[str, Any]

    @classmethod
    def read(cls, position: int, document: Document) -> Event:
        """An event of a segment."""
        address = document.get("n", "")
        return cls(
            position,
            document["i"],
            document["k"],
            document["t"],
            encode_id(document["a"]) if "a" in document else "",
            document.get("s", 0),
            address,
            document.get("o") or address.rpartition("@")[2],
            document["d"],
        )

    def members(self) -> dict[str, Any]:
        """The JSON object. What is of no account has no members about one."""
        of_account = {"account": self.address, "account_id": self.account_id, "seq": self.seq}
        return {
            "id": self.event_id,
            "type": self.kind,
            "time": datetime.fromtimestamp(self.at / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "position": self.position,
            "domain": self.domain,
            **(of_account if self.account_id else {}),
            "data": self.data,
        }

    def body(self) -> bytes:
        """The JSON text, UTF-8, without white space."""
        return json.dumps(self.members(), ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events somebody wants; None is all. `accounts` are addresses or account ids."""

    kinds: frozenset[str] | None = None
    domains: frozenset[str] | None = None
    accounts: frozenset[str] | None = None

    def admits(self, event: Event) -> bool:
        """Whether the event is wanted."""
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self.domains is None or event.domain in self.domains)
            and (self.accounts is None or event.address in self.accounts or event.account_id in self.accounts)
        )


def some(values: Collection[str]) -> frozenset[str] | None:
    """A filter's member: nothing named means all."""
    return frozenset(values) or None
