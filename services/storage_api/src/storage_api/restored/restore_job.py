"""The worker's job that puts a restored database right: the queue held, then every account's numbers raised.

What is raised, and why nothing that was given out after the backup comes twice with another meaning:

- UIDVALIDITY of every mailbox: clients forget what they know of it (RFC 9051 2.3.1.1). Above the clock and above all
  the account has, with room for as many mailboxes as it may have had made since in one burst.
- The next UID: a message's id in the REST API and in events is its mailbox's id and its UID. POP3's UIDL is the UID and
  the first UIDVALIDITY, which is kept, so that clients don't fetch everything again.
- Modseqs: views of gateways that lived through it see that something happened, and find another UIDVALIDITY.
- `seq` of the account's events, and the version of its tree.

Rules: queue first, so that nothing can be sent once the store is open again. A page of accounts is one transaction
with the place it came to; a worker killed anywhere leaves whole pages, and of two at work one conflicts. Memory is
bounded by a page: 200 accounts, or one. It begins some seconds after the announcement, when every process knows of it
and what was under way has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mailboat_common import crash
from mailboat_common.errors import Unavailable
from mailboat_common.ids import encode_id
from mailboat_common.log import get_logger
from mailboat_store_client.types import AccountId, MailboxChanged, MailboxId

from ..db import schema
from ..db.driver import Database, Document, Session, UpdateOne
from ..outage import transact
from ..queue.documents import CLAIMED, HELD, READY
from ..store.edit import MAX_UID
from ..store.hooks import Hooks, TraceEvent
from ..store.leftovers import end_idle_transactions
from ..store.mailboxes import MAX_MAILBOXES
from .restores import ACCOUNTS, DONE, JUMP, NOTICES, QUEUE, RUNNING, Restores

log = get_logger(__name__)

SETTLE_MS = 6_000
ACCOUNTS_AT_ONCE = 200
MAILBOXES_AT_ONCE = 2_000
QUEUE_AT_ONCE = 500
UID_JUMP = 1 << 20
PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class _Raised:
    """What a page of accounts came to."""

    accounts: int = 0
    news: list[MailboxChanged] = field(default_factory=list)
    last: bool = False


class RestoreJob:
    """Any number of workers may run it. `settle_ms`: how long after the announcement it begins."""

    def __init__(self, db: Database, restores: Restores, hooks: Hooks, settle_ms: int = SETTLE_MS) -> None:
        self._db = db
        self._restores = restores
        self._hooks = hooks
        self._settle_ms = settle_ms
        self._documents = db[schema.RESTORES]

    async def run(self, now: int) -> bool:
        """One round of the restore that is under way; whether more is to be done."""
        restore = await self._documents.find_one({"state": RUNNING})
        self._restores.running = restore is not None
        if restore is None or now < restore["asked_at"] + self._settle_ms:
            return False
        if restore["phase"] == QUEUE:
            await self._hold_queue(restore, now)
        elif restore["phase"] == NOTICES:
            await self._hold_notices(restore)
        else:
            await self._raise_page(restore, now)
        return True

    # Mail out

    async def _hold_queue(self, restore: Document, now: int) -> None:
        """Hold some of what would be sent again, and go on with the notices when all of it is held."""
        queue = self._db[schema.QUEUE]
        wanted: Document = {"hold_reason": {"$ne": restore["reason"]}, "state": {"$in": [READY, CLAIMED, HELD]}}
        found = await queue.find(wanted, ["t", "a", "domain"], limit=QUEUE_AT_ONCE)
        some = {"_id": {"$in": [document["_id"] for document in found]}}
        held: Document = {"state": HELD, "hold_reason": restore["reason"]}
        gone = dict.fromkeys(("due", "published_at", "lease_until", "worker", "hold"), "")
        # A claim's token stays: should its worker live and report, that counts. The attempt is another one then.
        claimed = {"$set": held, "$unset": gone, "$inc": {"attempt": 1}}
        await queue.update_many(some | {"state": CLAIMED}, claimed)
        await queue.update_many(some | {"state": {"$in": [READY, HELD]}}, {"$set": held, "$unset": gone})
        self._hooks.on_trace([_held_event(document, restore, now) for document in found])
        crash.point("restore.held")
        number = await queue.count({"state": HELD, "hold_reason": restore["reason"]})
        await self._progress(restore, {"queue": number} | ({} if found else {"phase": NOTICES}))

    async def _hold_notices(self, restore: Document) -> None:
        """Notices to senders elsewhere are to be held in the queue; those for accounts are lost with the rest."""
        notices = self._db[schema.NOTICES]
        number = await notices.update_many({}, {"$set": {"hold_reason": restore["reason"]}})
        await self._progress(restore, {"notices": number, "phase": ACCOUNTS})

    async def _progress(self, restore: Document, fields: Document) -> None:
        query = {"_id": restore["_id"], "state": RUNNING, "phase": restore["phase"], "runs": restore["runs"]}
        await self._documents.update_one(query, {"$set": fields})

    # Accounts

    async def _raise_page(self, restore: Document, now: int) -> None:
        """Raise the next accounts and say so to the gateways; at the end, open the store again."""

        async def work(session: Session) -> _Raised:
            return await self._raise(session, restore, now)

        try:
            raised = await transact(self._db, work, PATIENCE_SECONDS)
        except Unavailable:
            if await end_idle_transactions(self._db):  # of a worker that was killed: it holds the restore's document
                return
            raise
        crash.point("restore.after_commit")
        if raised.news:
            self._hooks.on_commit(raised.news)
        if raised.last:
            await self._restores.look()
            log.info("restore done", restore=restore["_id"])

    async def _raise(self, session: Session, restore: Document, now: int) -> _Raised:
        place = {"_id": restore["_id"], "state": RUNNING, "phase": ACCOUNTS, "runs": restore["runs"]}
        current = await self._documents.find_one(place, session=session)
        if current is None:
            return _Raised()  # another worker has done the rest
        accounts, mailboxes = await self._page_of(session, current["after"])
        raised = _Raised(len(accounts), last=not accounts)
        fields: Document = {"after": accounts[-1]["_id"]} if accounts else {"state": DONE, "phase": "", "done_at": now}
        counted = {"accounts": len(accounts), "mailboxes": sum(map(len, mailboxes.values()))}
        await self._documents.update_one(place, {"$set": fields, "$inc": counted}, session=session)
        on_accounts, on_mailboxes = [], []
        for account in accounts:
            own = mailboxes.get(account["_id"], [])
            validity = first_validity(account, own, now)
            for number, mailbox in enumerate(own):
                on_mailboxes.append(_raised_mailbox(mailbox, validity + number))
                modseq = mailbox["highest_modseq"] + JUMP
                if mailbox.get("deleted_at") is None:
                    raised.news.append(
                        MailboxChanged(AccountId(account["_id"]), MailboxId(mailbox["_id"]), modseq, now)
                    )
            last = {"last_uid_validity": validity + len(own)}
            jump = {"seq": JUMP, "tree_version": JUMP}
            on_accounts.append(UpdateOne({"_id": account["_id"]}, {"$set": last, "$inc": jump}))
        if on_accounts:
            await self._db[schema.ACCOUNTS].bulk_write(on_accounts, session=session)
        if on_mailboxes:
            await self._db[schema.MAILBOXES].bulk_write(on_mailboxes, session=session)
        crash.point("restore.before_commit")
        return raised

    async def _page_of(self, session: Session, after: bytes) -> tuple[list[Document], dict[bytes, list[Document]]]:
        """The next accounts and their mailboxes: as many as stay under the bounds, but at least one."""
        query = {"_id": {"$gt": after}}
        fields = {"last_uid_validity": 1, "mailbox_count": 1}
        found = await self._db[schema.ACCOUNTS].find(
            query, fields, session=session, sort=[("_id", 1)], limit=ACCOUNTS_AT_ONCE
        )
        accounts = _within(found)
        wanted = {"a": {"$in": [account["_id"] for account in accounts]}}
        shown = {"a": 1, "uid_validity": 1, "uid_next": 1, "highest_modseq": 1, "deleted_at": 1}
        shown["first_uid_validity"] = 1
        mailboxes: dict[bytes, list[Document]] = {}
        for mailbox in await self._db[schema.MAILBOXES].find(wanted, shown, session=session, sort=[("_id", 1)]):
            mailboxes.setdefault(mailbox["a"], []).append(mailbox)
        return accounts, mailboxes


def _held_event(document: Document, restore: Document, now: int) -> TraceEvent:
    details = {"queue": encode_id(bytes(document["_id"])), "domain": document["domain"], "reason": restore["reason"]}
    account = AccountId(bytes(document["a"])) if "a" in document else None
    return TraceEvent(document["t"], now, "held", account, details=details)


def first_validity(account: Document, mailboxes: Sequence[Document], now: int) -> int:
    """The UIDVALIDITY for the first of the account's mailboxes; the others' follow it (store rule 13).

    Above all that the account has, and above what it can have been given since the backup: the clock, and where
    mailboxes were made faster than one a second as many more as an account may have.
    """
    known = max([account["last_uid_validity"], *(mailbox["uid_validity"] for mailbox in mailboxes)])
    return int(max(now // 1000, known + 1)) + MAX_MAILBOXES


def _raised_mailbox(mailbox: Document, validity: int) -> UpdateOne:
    uids = UID_JUMP if mailbox["uid_next"] + UID_JUMP < MAX_UID // 2 else 0  # one that used up half keeps the rest
    first = mailbox.get("first_uid_validity", mailbox["uid_validity"])
    fields = {"uid_validity": validity, "first_uid_validity": first}
    update: Document = {"$set": fields, "$inc": {"uid_next": uids, "highest_modseq": JUMP}}
    return UpdateOne({"_id": mailbox["_id"]}, update)


def _within(accounts: Sequence[Document]) -> list[Document]:
    """The first accounts whose mailboxes stay under the bound, at least one."""
    mailboxes = 0
    for number, account in enumerate(accounts):
        mailboxes += account["mailbox_count"]
        if number and mailboxes > MAILBOXES_AT_ONCE:
            return list(accounts[:number])
    return list(accounts)
