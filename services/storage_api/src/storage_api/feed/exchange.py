"""Publishes the stream on RabbitMQ: topic exchange `mailboat.public`, routing key the event's type, JSON.

It isn't `mailboat.events`: that one is the platform's own, and a broker's permissions are given by exchange.

Rules: at least once. A position is passed only when the broker confirmed everything up to it, so a worker killed
between publishing and noting it publishes again; the message id is the event's id. Of one account nothing is
published before what is ahead of it is confirmed, so a consumer that sees a lower `seq` than before sees a repeat. An
event for which no queue is bound is confirmed and gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from mailboat_common import crash, metrics
from mailboat_common.bus import Bus, Exchange, Topology
from mailboat_common.log import get_logger

from ..db import schema
from ..db.driver import Database, Document
from .event import Event
from .lease import Lease
from .stream import Stream

log = get_logger(__name__)

FEED = "exchange"
PAGE = 500
WAVE = 100
RENEW_MS = 5_000

_published = metrics.counter("events_published_total", "Events by whether RabbitMQ confirmed them", ("result",))
_ok, _failed = _published.labels("confirmed"), _published.labels("unconfirmed")


class ExchangeFeed:
    """The worker's job that publishes. Create it before `bus.run` is spawned. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, bus: Bus, stream: Stream, exchange: str, *, clock: Callable[[], int]) -> None:
        self._clock = clock
        bus.declare_topology(Topology(exchanges=(Exchange(exchange),)))
        self._bus = bus
        self._stream = stream
        self._exchange = exchange
        self._lease = Lease(db[schema.FEEDS])

    async def run(self, now: int) -> bool:
        """One round: publishes up to 500 events; whether more wait."""
        if not self._bus.connected:
            return False
        behind = {"position": {"$lt": (await self._stream.head()).last}}
        feed = await self._lease.take(FEED, now, behind)
        if feed is None:
            return False
        try:
            return await self._page(feed)
        finally:
            await self._lease.release(FEED)

    async def _page(self, feed: Document) -> bool:
        position = feed["position"]
        page = await self._stream.after(position, PAGE)
        if page.lost:
            before = (await self._stream.head()).following(position)
            log.warning("events were lost before they could be published", after=position, before=before)
            position = before - 1 if not page.events else position
        done = await self._publish(page.events, position)
        crash.point("exchange.published")
        if done > feed["position"]:
            await self._lease.write(FEED, {"$set": {"position": done}})
        return len(page.events) == PAGE and done == page.events[-1].position

    async def _publish(self, events: Sequence[Event], position: int) -> int:
        """The position up to which everything is confirmed."""
        renewed = self._clock()
        for wave in waves(events, WAVE):
            if self._clock() - renewed >= RENEW_MS:
                renewed = self._clock()
                if not await self._lease.renew(FEED, renewed):
                    return position
            confirmed = await asyncio.gather(*map(self._one, wave))
            _ok.inc(sum(confirmed))
            for event, ok in zip(wave, confirmed, strict=True):
                if not ok:
                    _failed.inc()
                    return position
                position = event.position
        return position

    async def _one(self, event: Event) -> bool:
        return await self._bus.publish_confirmed(
            self._exchange,
            event.kind,
            event.body(),
            mandatory=False,
            message_id=event.event_id,
            content_type="application/json",
        )


def waves(events: Sequence[Event], size: int) -> Iterator[list[Event]]:
    """The events in order, in runs of up to `size` with no account twice in a run."""
    wave: list[Event] = []
    accounts: set[str] = set()
    for event in events:
        if len(wave) == size or (event.account_id and event.account_id in accounts):
            yield wave
            wave, accounts = [], set()
        wave.append(event)
        accounts.add(event.account_id)
    if wave:
        yield wave
