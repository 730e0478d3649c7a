"""POP3's exclusive maildrop (RFC 1939 4) as a lease: one document per account, judged by the server's clock.

The clock of a pod doesn't matter: begin and end are both MongoDB's `$$NOW`. A lease taken is durable on a majority, so
a fail-over can't give it to two.
"""

from __future__ import annotations

import secrets

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.types import AccountId, MaildropLease

from ..db import schema
from ..db.driver import Database, Document


def _lasting(seconds: int) -> Document:
    return {"$add": ["$$NOW", seconds * 1000]}


def _lease(document: Document) -> MaildropLease:
    return MaildropLease(document["token"], int(document["expires"].timestamp() * 1000))


async def take(db: Database, account_id: AccountId, holder: str, seconds: int) -> MaildropLease:
    """Take the lease if nobody holds it, or the same holder does. Refused IN_USE otherwise."""
    token = secrets.token_bytes(16)
    ended = {"$lte": [{"$ifNull": ["$expires", "$$NOW"]}, "$$NOW"]}
    free = {"$or": [ended, {"$eq": ["$holder", {"$literal": holder}]}]}  # a repeat of a call whose answer was lost
    ours = {"token": token, "holder": {"$literal": holder}, "expires": _lasting(seconds)}
    # All fields of one $set stage see the document as it was before.
    stage = {"$set": {field: {"$cond": [free, value, f"${field}"]} for field, value in ours.items()}}
    document = await db[schema.LEASES].find_one_and_update({"_id": account_id}, [stage], upsert=True)
    if document is None or document["token"] != token:
        raise Refused(RefusedCode.IN_USE, "Maildrop is in use")
    return _lease(document)


async def renew(db: Database, account_id: AccountId, token: bytes, seconds: int) -> MaildropLease:
    """Prolong a lease that is still ours, also if it ran out in the meantime. Refused IN_USE if another has it."""
    document = await db[schema.LEASES].find_one_and_update(
        {"_id": account_id, "token": token}, [{"$set": {"expires": _lasting(seconds)}}]
    )
    if document is None:
        raise Refused(RefusedCode.IN_USE, "Maildrop lease was lost")
    return _lease(document)


async def release(db: Database, account_id: AccountId, token: bytes) -> None:
    """Give the lease back if it is ours."""
    await db[schema.LEASES].delete_one({"_id": account_id, "token": token})
