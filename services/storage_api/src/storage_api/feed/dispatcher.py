"""Delivers the stream to webhooks; in the worker role, any number of replicas.

Rules: an endpoint is one worker's at a time (`lease`), for a slice of some seconds. Up to 8 requests to it are under
way at once, no two of one account, and nothing of an account is sent before what is ahead of it was taken. When a
request fails, the slice ends with those under way: the position is the last one before the first failure, what was
taken behind it is remembered, and the endpoint rests: 5 s, growing to 4 h. Five days of that disable it, and so does
410 Gone. Nothing is copied for an endpoint, so its backlog costs no room: it is the stream. A slow endpoint holds one
of 64 places for at most a slice, a dead one for 15 s before it rests, so neither delays another for longer.

A worker killed anywhere leaves the position it wrote last; what was sent since is sent again, under the same id.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mailboat_common import crash, metrics
from mailboat_common.errors import Unavailable
from mailboat_common.ids import encode_id, uuid7
from mailboat_common.log import get_logger

from ..db import schema
from ..db.driver import Database, Document, PyMongoError
from .egress import Answer, Egress
from .event import Event
from .exchange import waves
from .lease import Lease
from .stream import Stream
from .webhooks import ACTIVE, DISABLED, PAUSED, filter_of, secrets_of, sign

log = get_logger(__name__)

AT_ONCE = 64
PER_ENDPOINT = 8
PAGE = 100
PASSED_OVER = 1_000
POLL_SECONDS = 0.5
SLICE_MS = 20_000
RENEW_MS = 5_000
GIVE_UP_MS = 5 * 24 * 3600 * 1000
RESTS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0)

GONE = 410

_sent = metrics.counter("webhook_deliveries_total", "Requests to webhooks by what came of them", ("result",))
_seconds = metrics.histogram("webhook_delivery_duration_seconds", "From connecting to the receiver's answer")
_endpoints = metrics.gauge("webhook_endpoints", "Webhooks by state", ("state",))
_lag = metrics.gauge("webhook_lag_seconds", "Age of the oldest event that an active webhook hasn't come to")


@dataclass(slots=True)
class _Sent:
    """What became of a page: the positions taken; the first event that wasn't, and why; whether the lease held."""

    taken: set[int]
    stopped: Event | None = None
    refusal: Answer | None = None
    held: bool = True


class Dispatcher:
    """`clock` gives ms since the epoch."""

    def __init__(self, db: Database, stream: Stream, egress: Egress, clock: Callable[[], int]) -> None:
        self._webhooks = db[schema.WEBHOOKS]
        self._lease = Lease(self._webhooks)
        self._stream = stream
        self._egress = egress
        self._clock = clock
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serves what is due until `stop`."""
        while not self._stop.is_set():
            try:
                await self.start_due()
            except (PyMongoError, Unavailable) as error:
                log.warning("webhooks wait for the database", cause=repr(error))
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def stop(self, deadline: float) -> None:
        """Starts nothing further and waits for the requests under way, until `deadline` (event loop time)."""
        self._stop.set()
        if self._running:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait(self._running.values(), timeout=left)

    async def start_due(self) -> list[asyncio.Task[None]]:
        """Begins a slice for each endpoint that is due, as far as there is room."""
        now, head = self._clock(), await self._stream.head()
        behind = {"state": ACTIVE, "next_at": {"$lte": now}, "position": {"$lt": head.last}}
        tested = {"test": {"$exists": True}, "test.at": {"$exists": False}}
        query = {"until": {"$lte": now}, "$or": [behind, tested]}
        started = []
        for due in await self._webhooks.find(query, {"_id": 1}, sort=[("next_at", 1)], limit=AT_ONCE * 2):
            if due["_id"] in self._running or len(self._running) >= AT_ONCE:
                continue
            task = asyncio.create_task(self._serve(due["_id"]), name="webhook")
            self._running[due["_id"]] = task
            started.append(task)
        return started

    async def count(self, now: int) -> bool:
        """Keeps the gauges true; the worker's job."""
        states = dict.fromkeys((ACTIVE, PAUSED, DISABLED), 0)
        behind: int | None = None
        for document in await self._webhooks.find({}, {"state": 1, "position": 1}):
            states[document["state"]] += 1
            if document["state"] == ACTIVE:
                behind = min(document["position"], document["position"] if behind is None else behind)
        for state, number in states.items():
            _endpoints.labels(state).set(number)
        oldest = (await self._stream.after(behind, 1)).events if behind is not None else ()
        _lag.set(max(0, now - oldest[0].at) / 1000 if oldest else 0)
        return False

    async def _serve(self, webhook_id: bytes) -> None:
        try:
            document = await self._lease.take(webhook_id, self._clock())
            if document is not None:
                await self._slice(document)
                await self._lease.release(webhook_id)
        except (PyMongoError, Unavailable) as error:
            log.warning("a webhook waits for the database", cause=repr(error))
        except Exception:
            log.exception("a webhook failed in an unforeseen way")
        finally:
            del self._running[webhook_id]

    async def _slice(self, document: Document) -> None:
        if "test" in document and "at" not in document["test"]:
            await self._test(document)
        if document["state"] != ACTIVE or document["next_at"] > self._clock():
            return
        until = self._clock() + SLICE_MS
        while await self._page(document, until):
            pass

    async def _page(self, document: Document, until: int) -> bool:
        """Sends the wanted events of the next part of the stream; whether to go on."""
        position = document["position"]
        page = await self._stream.after(position, PASSED_OVER)
        end = position
        if page.lost:
            document["lost"] = True
            end = (await self._stream.head()).following(position) - 1 if not page.events else position
        wanted_by, done = filter_of(document), set(document["done"])
        wanted: list[Event] = []
        for event in page.events:
            if wanted_by.admits(event) and event.position not in done:
                if len(wanted) == PAGE:
                    break
                wanted.append(event)
            end = event.position
        sent = await self._send_all(document, wanted, until)
        crash.point("webhook.sent")
        if not sent.held:
            return False
        if sent.stopped is not None:
            end = sent.stopped.position - 1
        if sent.refusal is not None:
            await self._failed(document, end, done, sent)
            return False
        if end > position or sent.taken:
            return await self._moved(document, end, done | sent.taken) and sent.stopped is None
        return False

    async def _send_all(self, document: Document, wanted: Sequence[Event], until: int) -> _Sent:
        sent = _Sent(set())
        renewed = self._clock()
        for wave in waves(wanted, PER_ENDPOINT):
            now = self._clock()
            if self._stop.is_set() or now >= until:
                sent.stopped = wave[0]
                return sent
            if now - renewed >= RENEW_MS:
                renewed = now
                if not await self._lease.renew(document["_id"], now):
                    sent.held = False
                    return sent
            answers = await asyncio.gather(*(self._send(document, each.event_id, each.body()) for each in wave))
            for event, answer in zip(wave, answers, strict=True):
                if not answer.error:
                    sent.taken.add(event.position)
                elif sent.refusal is None:
                    sent.stopped, sent.refusal = event, answer
            if sent.refusal is not None:
                return sent
        return sent

    async def _send(self, document: Document, event_id: str, body: bytes) -> Answer:
        now = self._clock()
        headers = sign(secrets_of(document, now), event_id, now // 1000, body)
        answer = await self._egress.post(document["url"], headers, body)
        _sent.labels(answer.result).inc()
        _seconds.observe(answer.seconds)
        return answer

    async def _moved(self, document: Document, position: int, done: set[int]) -> bool:
        """Notes what was taken; False if the endpoint isn't ours any more."""
        now = self._clock()
        fields: Document = {"position": position, "done": sorted(p for p in done if p > position)}
        fields |= {"failures": 0, "next_at": 0}
        if done:
            fields["last_success_at"] = now
        if document.get("lost"):
            fields["lost"] = True
        document |= fields
        return await self._lease.write(document["_id"], {"$set": fields, "$unset": {"failing_since": ""}})

    async def _failed(self, document: Document, position: int, done: set[int], sent: _Sent) -> None:
        """Notes what was taken, and lets the endpoint rest: not for long if it has taken something meanwhile."""
        assert sent.refusal is not None
        now, answer = self._clock(), sent.refusal
        failures = 1 if sent.taken else document["failures"] + 1
        since = now if sent.taken else document.get("failing_since") or now
        rest = RESTS[min(failures, len(RESTS)) - 1] * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        fields: Document = {
            "position": position,
            "done": sorted(p for p in done | sent.taken if p > position),
            "failures": failures,
            "failing_since": since,
            "next_at": now + int(rest * 1000),
            "last_error": {"at": now, "status": answer.status, "error": answer.error},
        }
        if answer.status == GONE or now - since >= GIVE_UP_MS:
            fields["state"] = DISABLED
            fields["reason"] = "the receiver answered 410 Gone" if answer.status == GONE else "it failed for five days"
            log.warning("webhook disabled", webhook=encode_id(document["_id"]), reason=fields["reason"])
        await self._lease.write(document["_id"], {"$set": fields})

    async def _test(self, document: Document) -> None:
        """One delivery outside the stream, whatever the endpoint's state."""
        now = self._clock()
        event_id = encode_id(uuid7())
        event: dict[str, Any] = {"id": event_id, "type": "webhook.test", "data": {}}
        event["time"] = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        answer = await self._send(document, event_id, json.dumps(event, separators=(",", ":")).encode())
        result = {"at": now, "status": answer.status, "error": answer.error, "seconds": round(answer.seconds, 3)}
        fields = {f"test.{name}": value for name, value in result.items()}
        query = {"_id": document["_id"], "test.number": document["test"]["number"]}
        await self._webhooks.update_one(query, {"$set": fields})
