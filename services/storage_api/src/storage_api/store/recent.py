"""\\Recent: which messages no session has been told about (store.md, rule 12).

One small document per mailbox, apart from the mailbox: SELECT advances it without a modseq and without a conflict with
deliveries. EXAMINE and STATUS only read it.
"""

from __future__ import annotations

from mailboat_store_client.types import AccountId, MailboxId

from ..db import schema
from ..db.driver import Database, Document, Session


async def claim(db: Database, account_id: AccountId, mailbox_id: MailboxId, uid_next: int) -> int:
    """Claim everything below `uid_next`: the first UID nobody claimed before."""
    before = await db[schema.RECENT].find_one_and_update(
        {"_id": mailbox_id, "a": account_id}, {"$max": {"first": uid_next}}, upsert=True, after=False
    )
    return before["first"] if before else 1


JOIN: Document = {"$lookup": {"from": schema.RECENT, "localField": "_id", "foreignField": "_id", "as": "recent"}}
"""For a pipeline over mailboxes: one round trip instead of two."""


def joined_first(document: Document) -> int:
    """First UID no session was told about, of a mailbox document read with `JOIN`."""
    found = document["recent"]
    return int(found[0]["first"]) if found else 1


async def first_recents(db: Database, session: Session, account_id: AccountId) -> dict[MailboxId, int]:
    """The same for all mailboxes of an account; those never selected are left out."""
    return {d["_id"]: d["first"] for d in await db[schema.RECENT].find({"a": account_id}, session=session)}
