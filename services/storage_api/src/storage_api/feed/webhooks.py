"""Webhooks: who wants which events at which URL, and how far each has come.

webhooks    _id (16 octets), url, secret, old_secrets [{secret, until}] (they sign as well until then, ms),
            description, kinds, accounts, domains ([]: all), state active | paused | disabled, reason (why disabled),
            position (the last one done with), done [positions behind it that were taken already], next_at (ms),
            failures (in a row), failing_since (ms), last_error {at, status, error}, last_success_at, lost (events were
            removed before they were taken), created_at, holder and until (`lease`), test {number, at, status, error,
            seconds}

A change by an operator also takes the lease away, so that a worker in the middle of it writes nothing over it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import decode_id, encode_id, uuid7
from yarl import URL

from ..db import schema
from ..db.driver import Database, Document
from ..outage import database_errors
from .event import KINDS, Filter, some
from .stream import Stream

MAX_WEBHOOKS = 200
MAX_OLD_SECRETS = 4
SECRET_PREFIX = "whsec_"  # noqa: S105 - of every secret, none itself

ACTIVE = "active"
PAUSED = "paused"
DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One endpoint. Times in ms since the epoch, 0: never. `pending` events lie between it and the stream's end,
    wanted ones or not; `lag_seconds` is the age of the oldest of them."""

    webhook_id: str
    url: str
    description: str
    kinds: tuple[str, ...]
    accounts: tuple[str, ...]
    domains: tuple[str, ...]
    state: str
    reason: str
    position: int
    pending: int
    lag_seconds: float
    failures: int
    failing_since: int
    next_attempt_at: int
    last_success_at: int
    last_error: dict[str, Any] | None
    lost_events: bool
    created_at: int
    old_secrets_until: int
    """Until when an earlier secret signs beside the present one."""
    secret: str = field(default="", repr=False)


def new_secret() -> str:
    """32 random octets as Standard Webhooks write them."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secrets_of(document: Document, now: int) -> list[str]:
    """Those that sign now, the present one first."""
    return [document["secret"], *(old["secret"] for old in document.get("old_secrets", ()) if old["until"] > now)]


def sign(with_secrets: Sequence[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery, after Standard Webhooks: for each secret an HMAC-SHA256 over id.timestamp.body.

    `timestamp` in s.
    """
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    signatures = []
    for secret in with_secrets:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
        signatures.append("v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode())
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def filter_of(document: Document) -> Filter:
    """What an endpoint wants."""
    return Filter(some(document["kinds"]), some(document["domains"]), some(document["accounts"]))


class Webhooks:
    """What operators do with webhooks. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, stream: Stream, clock: Callable[[], int]) -> None:
        self._webhooks = db[schema.WEBHOOKS]
        self._stream = stream
        self._clock = clock

    async def create(
        self,
        url: str,
        *,
        kinds: Sequence[str] = (),
        accounts: Sequence[str] = (),
        domains: Sequence[str] = (),
        description: str = "",
    ) -> Webhook:
        """A new endpoint for events from now on, with its secret. Refused INVALID (URL, kind), LIMIT."""
        _check_url(url)
        unknown = sorted(set(kinds) - KINDS)
        if unknown:
            raise Refused(RefusedCode.INVALID, f"No such kind of event; there are {', '.join(sorted(KINDS))}")
        document: Document = {
            "_id": uuid7(),
            "url": url,
            "secret": new_secret(),
            "description": description,
            "kinds": sorted(set(kinds)),
            "accounts": sorted(set(accounts)),
            "domains": sorted(set(domains)),
            "state": ACTIVE,
            "done": [],
            "next_at": 0,
            "failures": 0,
            "created_at": self._clock(),
            "holder": "",
            "until": 0,
        }
        async with database_errors():
            if await self._webhooks.count({}) >= MAX_WEBHOOKS:
                raise Refused(RefusedCode.LIMIT, f"There are {MAX_WEBHOOKS} webhooks, which is the limit")
            document["position"] = (await self._stream.head()).last
            await self._webhooks.insert_one(document)
        return await self._shown(document, with_secret=True)

    async def page(self, after: str, limit: int) -> list[Webhook]:
        """Up to `limit` endpoints behind the id `after`, oldest first."""
        try:
            query = {"_id": {"$gt": decode_id(after)}} if after else {}
        except ValueError:
            raise Refused(RefusedCode.INVALID, "Not a cursor of ours") from None
        async with database_errors():
            found = await self._webhooks.find(query, sort=[("_id", 1)], limit=limit)
            return [await self._shown(document) for document in found]

    async def get(self, webhook_id: str) -> Webhook:
        """One endpoint. Refused NOT_FOUND."""
        async with database_errors():
            document = await self._webhooks.find_one({"_id": _id(webhook_id)})
            if document is None:
                raise _unknown()
            return await self._shown(document)

    async def pause(self, webhook_id: str) -> Webhook:
        """Sends nothing until `resume`; events wait in the stream for as long as it keeps them. Refused NOT_FOUND."""
        return await self._change(webhook_id, {"$set": {"state": PAUSED}})

    async def resume(self, webhook_id: str) -> Webhook:
        """Goes on where it stopped, also when it was disabled. Refused NOT_FOUND."""
        return await self._change(webhook_id, {"$set": {"state": ACTIVE, **_FRESH}, "$unset": _FORGOTTEN})

    async def replay(self, webhook_id: str, position: int) -> Webhook:
        """Sends again what is behind `position`, as far as it is kept. Refused NOT_FOUND, INVALID."""
        async with database_errors():
            head = await self._stream.head()
        if not 0 <= position <= head.last:
            raise Refused(RefusedCode.INVALID, f"The stream ends at position {head.last}")
        fresh = {"position": position, "done": [], **_FRESH}
        return await self._change(webhook_id, {"$set": fresh, "$unset": _FORGOTTEN})

    async def rotate_secret(self, webhook_id: str, overlap_ms: int) -> Webhook:
        """A new secret, which is in this answer alone. Those before it sign as well for `overlap_ms`, or at 0 no more.

        Several rotations in a row don't end each other's overlap: a receiver that missed an answer isn't locked out.
        Refused NOT_FOUND.
        """
        now = self._clock()
        alive = {"$filter": {"input": {"$ifNull": ["$old_secrets", []]}, "cond": {"$gt": ["$$this.until", now]}}}
        old = [{"secret": "$secret", "until": now + overlap_ms}]
        kept: Document | list[Document] = {"$slice": [{"$concatArrays": [old, alive]}, MAX_OLD_SECRETS]}
        fields = {"secret": new_secret(), "old_secrets": kept if overlap_ms else [], "holder": "", "until": 0}
        async with database_errors():
            document = await self._webhooks.find_one_and_update({"_id": _id(webhook_id)}, [{"$set": fields}])
            if document is None:
                raise _unknown()
            return await self._shown(document, with_secret=True)

    async def position_at(self, at: int) -> int:
        """The position before the first event relayed at or after `at` (ms)."""
        async with database_errors():
            return await self._stream.before(at)

    async def remove(self, webhook_id: str) -> None:
        """Ends an endpoint. Refused NOT_FOUND."""
        async with database_errors():
            if not await self._webhooks.delete_one({"_id": _id(webhook_id)}):
                raise _unknown()

    async def ask_test(self, webhook_id: str) -> int:
        """Asks the worker for one delivery of a `webhook.test`; the number its result will have."""
        number = self._clock()
        async with database_errors():
            if not await self._webhooks.update_one({"_id": _id(webhook_id)}, {"$set": {"test": {"number": number}}}):
                raise _unknown()
        return number

    async def test_result(self, webhook_id: str, number: int) -> dict[str, Any] | None:
        """status, error and seconds of the test with this number; None while there is none."""
        async with database_errors():
            document = await self._webhooks.find_one({"_id": _id(webhook_id)}, {"test": 1})
        test = (document or {}).get("test") or {}
        return test if test.get("number") == number and "at" in test else None

    async def _change(self, webhook_id: str, update: Document) -> Webhook:
        fields = {**update.get("$set", {}), "holder": "", "until": 0}
        async with database_errors():
            document = await self._webhooks.find_one_and_update({"_id": _id(webhook_id)}, {**update, "$set": fields})
            if document is None:
                raise _unknown()
            return await self._shown(document)

    async def _shown(self, document: Document, *, with_secret: bool = False) -> Webhook:
        head = await self._stream.head()
        pending = head.given_from(document["position"] + 1)
        oldest = (await self._stream.after(document["position"], 1)).events if pending else ()
        lag = max(0, self._clock() - oldest[0].at) / 1000 if oldest else 0.0
        return Webhook(
            encode_id(document["_id"]),
            document["url"],
            document["description"],
            tuple(document["kinds"]),
            tuple(document["accounts"]),
            tuple(document["domains"]),
            document["state"],
            document.get("reason", ""),
            document["position"],
            pending,
            lag,
            document["failures"],
            document.get("failing_since", 0),
            document["next_at"] if document["failures"] else 0,
            document.get("last_success_at", 0),
            document.get("last_error"),
            document.get("lost", False) or document["position"] + 1 < head.following(document["position"]),
            document["created_at"],
            max((old["until"] for old in document.get("old_secrets", ()) if old["until"] > self._clock()), default=0),
            document["secret"] if with_secret else "",
        )


_FRESH: Document = {"next_at": 0, "failures": 0}
_FORGOTTEN: Document = {"failing_since": "", "reason": "", "lost": ""}


def _check_url(text: str) -> None:
    try:
        url = URL(text)
        usable = url.scheme in ("https", "http") and bool(url.host) and url.port is not None
    except ValueError:
        usable = False
    if not usable or url.user is not None or url.password is not None or url.fragment:
        raise Refused(RefusedCode.INVALID, "The URL must be an absolute https one, without user, password or fragment")


def _id(text: str) -> bytes:
    try:
        return decode_id(text)
    except ValueError:
        raise _unknown() from None


def _unknown() -> Refused:
    return Refused(RefusedCode.NOT_FOUND, "No such webhook")
