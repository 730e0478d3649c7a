"""The outbound queue in operators' hands: list, show, count; retry, hold, release, reroute, remove and return.

What is done to many documents is done some hundred at a time, each by an update on condition of its state, so that an
action never undoes what a worker or another operator did in between. An action on a claimed document is for what comes
after its attempt: hold waits for it, remove takes the claim away (the worker breaks off before the message's end), and
retry finds it tried already.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import decode_id, encode_id
from mailboat_store_client.queue import QueueId, Transport
from mailboat_store_client.types import AccountId

from ..db import schema
from ..db.driver import Database, Document
from ..directory.addresses import normalise_domain
from ..outage import database_errors
from ..store.committer import MAX_ITEMS, Committer
from ..store.hooks import Hooks, TraceEvent
from ..store.writes import date
from . import contents, metrics, transports
from .bounce import Bounce, Return
from .documents import CLAIMED, DONE, HELD, KEEP_DONE_MS, PENDING, READY, REMOVED, STATES
from .report import Reported, unused_of

MAX_IDS = 1000
MAX_DOMAINS = 1000
_BATCH = 500
_WITHOUT_MESSAGE = {"content": 0, "header": 0}
_WAITING = [READY, CLAIMED, HELD]


class Action(enum.Enum):
    """What an operator may do."""

    RETRY = "retry"  # due now instead of later
    HOLD = "hold"  # no attempts until it is released
    RELEASE = "release"
    REROUTE = "reroute"  # another transport than the table's, from the next attempt on
    REMOVE = "remove"  # given up without a word to the sender


Route = Transport | str | None
"""Where rerouted mail goes: a transport, as the table says for another key, or by the table again."""

_TOLD = {
    Action.RETRY: "retried",
    Action.HOLD: "held",
    Action.RELEASE: "released",
    Action.REROUTE: "rerouted",
    Action.REMOVE: "removed",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which documents: all conditions together. `sender` is the reverse-path, "<>" the null one; `everything` must be
    said for none.
    """

    ids: tuple[QueueId, ...] = ()
    domain: str = ""
    sender: str = ""
    everything: bool = False

    def query(self) -> Document:
        """The same for MongoDB. Refused INVALID for no condition, or for one that can't be."""
        if len(self.ids) > MAX_IDS:
            raise Refused(RefusedCode.LIMIT, f"At most {MAX_IDS} ids at a time")
        query = filter_of(self.domain, self.sender)
        if self.ids:
            query["_id"] = {"$in": sorted(self.ids)}
        if bool(query) == self.everything:
            raise Refused(RefusedCode.INVALID, "Say which messages: ids, a domain, a sender, or all of them")
        return query


@dataclass(frozen=True, slots=True)
class DomainCount:
    """What waits for a domain. Times in ms since the epoch; `next_attempt` None: nothing is ready."""

    domain: str
    ready: int
    claimed: int
    held: int
    oldest: int
    next_attempt: int | None


def filter_of(domain: str, sender: str) -> Document:
    """The conditions of a list. Refused INVALID."""
    query: Document = {}
    if domain:
        query["domain"] = normalise_domain(domain) or domain.lower()
    if sender:
        query["reverse_path"] = "" if sender == "<>" else sender
    return query


def id_of(text: str) -> QueueId:
    """A document's id from its text. Refused NOT_FOUND."""
    try:
        return QueueId(decode_id(text))
    except ValueError:
        raise Refused(RefusedCode.NOT_FOUND, "No such message in the queue") from None


class QueueOperators:
    """`clock` gives ms since the epoch."""

    def __init__(self, db: Database, committer: Committer, hooks: Hooks, clock: Callable[[], int]) -> None:
        self._db = db
        self._committer = committer
        self._queue = db[schema.QUEUE]
        self._hooks = hooks
        self._clock = clock

    async def page(self, domain: str, sender: str, state: str, after: str, limit: int) -> list[Document]:
        """Documents without their messages, oldest first, behind the id `after`. `state` "": all that aren't done."""
        if state and state not in STATES:
            raise Refused(RefusedCode.INVALID, f"No such state; there are {', '.join(STATES)}")
        query = filter_of(domain, sender) | {"state": {"$in": [state] if state else _WAITING}}
        if after:
            query["_id"] = {"$gt": id_of(after)}
        async with database_errors():
            return await self._queue.find(query, _WITHOUT_MESSAGE, sort=[("_id", 1)], limit=limit)

    async def get(self, text: str) -> Document:
        """One document, also a done one. Refused NOT_FOUND."""
        async with database_errors():
            document = await self._queue.find_one({"_id": id_of(text)}, _WITHOUT_MESSAGE)
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such message in the queue")
        return document

    async def counts(self) -> list[DomainCount]:
        """What waits, by domain, most first; up to 1,000 domains."""

        def state(name: str) -> Document:
            return {"$sum": {"$cond": [{"$eq": ["$state", name]}, 1, 0]}}

        ready = {"$cond": [{"$eq": ["$state", READY]}, "$next_attempt", None]}
        group: Document = {
            "_id": "$domain",
            "all": {"$sum": 1},
            **{name: state(name) for name in _WAITING},
            "oldest": {"$min": "$created_at"},
            "next_attempt": {"$min": ready},
        }
        pipeline: list[Document] = [
            {"$match": {"state": {"$in": _WAITING}}},
            {"$group": group},
            {"$sort": {"all": -1, "_id": 1}},
            {"$limit": MAX_DOMAINS},
        ]
        async with database_errors():
            found = await self._queue.aggregate(pipeline)
        return [DomainCount(d["_id"], d[READY], d[CLAIMED], d[HELD], d["oldest"], d["next_attempt"]) for d in found]

    async def act(self, action: Action, selection: Selection, actor: str, route: Route = None) -> int:
        """Do it to all that are selected; returns to how many. Refused INVALID, NOT_FOUND (a key without an entry)."""
        if isinstance(route, Transport):
            transports.check(route)
        elif route is not None:
            route = transports.key_of(route)
            await transports.Transports(self._db).get(route)
        done = 0
        async with database_errors():
            async for found in self._batches(selection, ["t", "a", "domain", "content_id"]):
                done += await self._act(action, found, actor, route)
        return done

    async def bounce(self, selection: Selection, wanted: Return) -> int:
        """Return all that are selected to their senders; returns how many. Refused INVALID."""
        wanted.check()
        done = 0
        async with database_errors():
            async for found in self._batches(selection, ["_id"]):
                ids = [QueueId(bytes(document["_id"])) for document in found]
                for start in range(0, len(ids), MAX_ITEMS):
                    done += await self._bounce([Bounce(one, wanted) for one in ids[start : start + MAX_ITEMS]])
        return done

    async def _bounce(self, mutations: Sequence[Bounce]) -> int:
        committed = [self._committer.submit(mutation) for mutation in mutations]
        found = await asyncio.gather(*committed, return_exceptions=True)
        outcomes = [outcome for outcome in found if isinstance(outcome, Reported)]
        for outcome in outcomes:
            metrics.count(outcome.told.bounced, outcome.told.notices)
        await contents.release(self._db, unused_of(outcomes))
        for failed in found:
            if isinstance(failed, BaseException):
                raise failed
        return sum(outcome.taken for outcome in outcomes)

    async def _batches(self, selection: Selection, fields: Sequence[str]) -> AsyncIterator[list[Document]]:
        """What is selected and not done, some hundred at a time, by id."""
        query = selection.query() | {"state": {"$in": _WAITING}}
        after = b""
        while True:
            some = query | {"$and": [{"_id": {"$gt": after}}]} if after else query
            found = await self._queue.find(some, fields, sort=[("_id", 1)], limit=_BATCH)
            if not found:
                return
            yield found
            after = bytes(found[-1]["_id"])

    async def _act(self, action: Action, found: Sequence[Document], actor: str, route: Route) -> int:
        now = self._clock()
        ids = [document["_id"] for document in found]
        number = 0
        for condition, update in _updates(action, now, route):
            number += await self._queue.update_many({"_id": {"$in": ids}, **condition}, update)
        if action is Action.REMOVE:
            unused = {bytes(document["content_id"]) for document in found if "content_id" in document}
            await contents.release(self._db, sorted(unused))
        if number:
            self._hooks.on_trace([_event(document, action, now, actor) for document in found])
        return number


def _updates(action: Action, now: int, route: Route) -> list[tuple[Document, Document | list[Document]]]:
    """(condition, update) for each state the action means something in."""
    due: Document = {"next_attempt": now, "due": now}
    match action:
        case Action.RETRY:
            return [({"state": READY}, {"$set": due})]
        case Action.HOLD:
            # Claimed ones first: one that came back in between is met by the other.
            return [
                ({"state": CLAIMED}, {"$set": {"hold": True}}),
                ({"state": READY}, {"$set": {"state": HELD}, "$unset": {"due": "", "published_at": ""}}),
            ]
        case Action.RELEASE:
            return [
                ({"state": CLAIMED, "hold": True}, {"$unset": {"hold": ""}}),
                ({"state": HELD}, {"$set": {"state": READY, **due}, "$unset": {"hold_reason": ""}}),
            ]
        case Action.REROUTE:
            return [({"state": {"$in": _WAITING}}, _rerouting(route))]
        case Action.REMOVE:
            return [({"state": {"$in": _WAITING}}, _removal(now))]


def _rerouting(route: Route) -> Document:
    match route:
        case None:
            return {"$unset": {"route": "", "route_of": ""}}
        case Transport():
            return {"$set": {"route": transports.to_document(route)}, "$unset": {"route_of": ""}}
        case key:
            return {"$set": {"route_of": key}, "$unset": {"route": ""}}


def _removal(now: int) -> list[Document]:
    pending: Document = {"$eq": ["$$one.state", PENDING]}
    removed: Document = {"$mergeObjects": ["$$one", {"state": REMOVED}]}
    # Also what failed in an attempt that is broken off now is dealt with: nobody is told.
    settled: Document = {"$mergeObjects": [{"$cond": [pending, removed, "$$one"]}, {"settled": True}]}
    recipients: Document = {"$map": {"input": "$recipients", "as": "one", "in": settled}}
    done: Document = {"state": DONE, "done_at": now, "expires": date(now + KEEP_DONE_MS), "recipients": recipients}
    gone = ["content", "content_id", "header", "due", "published_at", "token", "lease_until", "worker", "hold"]
    return [{"$set": done}, {"$unset": [*gone, "hold_reason", "route"]}]


def _event(document: Document, action: Action, now: int, actor: str) -> TraceEvent:
    details = {"queue": encode_id(bytes(document["_id"])), "domain": document["domain"], "by": actor}
    account = AccountId(bytes(document["a"])) if "a" in document else None
    return TraceEvent(document["t"], now, _TOLD[action], account, details=details)
