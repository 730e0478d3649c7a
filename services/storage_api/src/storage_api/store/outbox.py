"""Events for other systems, written by the transaction they tell of.

outbox      _id order (ms, u64 big-endian) + 8 random octets, e [{k kind, t ms, d data, a account id, s seq,
            n address}]; events of mail that is no account's have o (domain) instead of a, s, n

A transaction writes one document, however many events it has: an insert a batch, not a message. The relay
(`feed/relay.py`) moves documents into the stream and gives each event its position.

Rules: an account's `seq` counts its events without a gap, in the account's document and in the same transaction. The
`order` of a document is greater than that of any document committed before it with an event of one of its accounts,
whatever the clocks of the pods say: each account remembers in `seq_at` the order of its last. So whoever reads the
outbox in one snapshot by `_id`, from its beginning, meets every account's events in order of `seq`. A transaction
that commits late is met late; nothing is ever passed by, because what was relayed is deleted and no reader keeps a
mark.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable

from mailboat_common.ids import encode_id
from mailboat_store_client.types import AccountId

from ..db import schema
from ..db.driver import Database, Document, Session


class Kind(enum.Enum):
    """What happened; the value is an event's `type` and its routing key."""

    RECEIVED = "message.received"
    SENT = "message.sent"
    DELIVERED = "message.delivered"
    BOUNCED = "message.bounced"
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_DISABLED = "account.disabled"
    ACCOUNT_ENABLED = "account.enabled"
    ACCOUNT_DELETED = "account.deleted"
    QUOTA_CHANGED = "account.quota_changed"
    PASSWORD_CHANGED = "account.password_changed"  # noqa: S105 - a name, no password


def event(
    kind: Kind,
    now: int,
    data: Document,
    *,
    account_id: AccountId | None = None,
    seq: int = 0,
    address: str = "",
    domain: str = "",
) -> Document:
    """One event as it is kept."""
    made: Document = {"k": kind.value, "t": now, "d": data}
    return made | ({"o": domain} if account_id is None else {"a": account_id, "s": seq, "n": address})


def order(now: int, before: Iterable[int]) -> int:
    """The order of a document whose accounts' last ones had the orders `before`."""
    return max([now, *(at + 1 for at in before)])


def batch(at: int, events: list[Document]) -> Document:
    """A document of the outbox."""
    return {"_id": at.to_bytes(8, "big") + os.urandom(8), "e": events}


def event_id(document_id: bytes, number: int) -> str:
    """An event's name for ever: what consumers know a repeat by."""
    return f"{encode_id(document_id)}-{number}"


async def emit(db: Database, session: Session, account_id: AccountId, kind: Kind, data: Document, *, now: int) -> None:
    """An event of a transaction that isn't a committer's; `now` in ms. The account must exist."""
    counted = [
        {
            "$set": {
                "seq": {"$add": [{"$ifNull": ["$seq", 0]}, 1]},
                "seq_at": {"$max": [now, {"$add": [{"$ifNull": ["$seq_at", 0]}, 1]}]},
            }
        }
    ]
    query = {"_id": account_id}
    fields = {"seq": 1, "seq_at": 1, "address": 1}
    account = await db[schema.ACCOUNTS].find_one_and_update(query, counted, fields, session=session)
    assert account is not None, "the caller has read it in this transaction"
    made = event(kind, now, data, account_id=account_id, seq=account["seq"], address=account.get("address", ""))
    await db[schema.OUTBOX].insert_one(batch(account["seq_at"], [made]), session=session)
