"""Restores: announced by an operator, worked off by the worker role, followed by whoever asked.

restores    _id label (the operator's name for it), reason (what held messages show), backup_at (ms, when the backup was
            made), asked_at (ms), by, state running | done, phase queue | notices | accounts (what is being worked off),
            after (the last account that was dealt with), total (accounts there were), accounts, mailboxes, queue,
            notices (how many were dealt with), done_at (ms), runs

A database that was put back has forgotten numbers that others know: UIDs and modseqs, events' positions and seq. Until
every one of them is raised (`restore_job`) nothing may be committed that takes a new one, so from the announcement on
`running` is true in every process of storage_api and the store refuses mutations and claims as it does without a
database: callers wait and try again. The announcement itself skips positions of the stream (`feed/stream_head.py`).

Rules: one restore at a time. A label is done once; doing it once more must be asked for. Whatever is killed, the
document says how far it came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from mailboat_common.errors import Refused, RefusedCode

from ..db import schema
from ..db.driver import Database, Document, DuplicateKeyError, Session
from ..feed.stream_head import HEAD
from ..outage import database_errors, transact

JUMP = 1 << 32
"""By how much modseqs, positions and counts are raised: more than can have been given out since the backup."""
MAX_LABEL = 100

RUNNING, DONE = "running", "done"
QUEUE, NOTICES, ACCOUNTS = "queue", "notices", "accounts"


@dataclass(frozen=True, slots=True)
class Restore:
    """How far a restore is. Times in ms since the epoch, 0: not yet; `phase` "" once it is done."""

    label: str
    reason: str
    backup_at: int
    asked_at: int
    by: str
    state: str
    phase: str
    total: int
    accounts: int
    mailboxes: int
    queue: int
    notices: int
    done_at: int
    runs: int

    @classmethod
    def read(cls, document: Document) -> Restore:
        """From its document."""
        values = {name: document[name] for name in cls.__slots__ if name != "label"}
        return cls(label=document["_id"], **values)


class Restores:
    """The restores of one database. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._db = db
        self._restores = db[schema.RESTORES]
        self._clock = clock
        self.running = False
        """Whether a restore is unfinished, as this process knows."""

    def is_running(self) -> bool:
        """The same, as a question that can be handed on."""
        return self.running

    async def look(self) -> None:
        """Learn whether a restore is unfinished. Driver errors pass through; what was known stays."""
        self.running = await self._restores.find_one({"state": RUNNING}, {"_id": 1}) is not None

    async def begin(self, label: str, backup_at: int, by: str, *, again: bool) -> Restore:
        """Announce a restore, or find the one of this label that is under way.

        Refused CONFLICT when it is done already and not to be done `again`, or while another is under way; INVALID for
        a backup of the future.
        """
        now = self._clock()
        if backup_at > now:
            raise Refused(RefusedCode.INVALID, "The backup's time is in the future")

        async def work(session: Session) -> Document:
            return await self._begin(session, label, backup_at, by, again=again, now=now)

        try:
            document = await transact(self._db, work)
        except DuplicateKeyError:  # two announced it at the same moment: the other's stands
            return await self.get(label)
        self.running = self.running or document["state"] == RUNNING
        return Restore.read(document)

    async def _begin(self, session: Session, label: str, backup_at: int, by: str, *, again: bool, now: int) -> Document:
        found = await self._restores.find_one({"_id": label}, session=session)
        if found is not None and found["state"] == RUNNING:
            return found
        other = await self._restores.find_one({"state": RUNNING}, {"_id": 1}, session=session)
        if other is not None:
            raise Refused(RefusedCode.CONFLICT, f"The restore {other['_id']!r} is under way; wait for its end")
        if found is not None and not again:
            raise Refused(
                RefusedCode.CONFLICT, f"The restore {label!r} was done already; ask for it again to repeat it"
            )
        await self._skip_positions(session)
        document: Document = {
            "reason": reason_of(backup_at),
            "backup_at": backup_at,
            "asked_at": now,
            "by": by,
            "state": RUNNING,
            "phase": QUEUE,
            "after": b"",
            "total": await self._db[schema.ACCOUNTS].count({}, session=session),
            **dict.fromkeys(("accounts", "mailboxes", "queue", "notices", "done_at"), 0),
            "runs": (found["runs"] if found else 0) + 1,
        }
        if found is None:
            await self._restores.insert_one({"_id": label, **document}, session=session)
        else:
            await self._restores.replace_one({"_id": label}, document, session=session)
        return {"_id": label, **document}

    async def _skip_positions(self, session: Session) -> None:
        """Every announcement writes here, so that of two at a time one meets the other."""
        head = await self._db[schema.FEEDS].find_one({"_id": HEAD}, session=session)
        assert head is not None, "made by the migration"
        following = head["next"] + JUMP
        update = {"$set": {"next": following}, "$push": {"gaps": [head["next"], following]}}
        await self._db[schema.FEEDS].update_one({"_id": HEAD}, update, session=session)

    async def get(self, label: str) -> Restore:
        """One restore. Refused NOT_FOUND."""
        async with database_errors():
            document = await self._restores.find_one({"_id": label})
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such restore")
        return Restore.read(document)

    async def page(self, after: str, limit: int) -> list[Restore]:
        """Restores by label, behind `after`."""
        async with database_errors():
            found = await self._restores.find({"_id": {"$gt": after}}, sort=[("_id", 1)], limit=limit)
        return [Restore.read(document) for document in found]


def reason_of(backup_at: int) -> str:
    """What a message shows that is held because of it."""
    at = datetime.fromtimestamp(backup_at / 1000, UTC).isoformat(" ", "seconds").replace("+00:00", "Z")
    return f"restored from a backup of {at}"
