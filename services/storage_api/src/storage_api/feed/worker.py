"""The worker role's part in events: relays, publishes, delivers, prunes. Create it before `bus.run` is spawned."""

from __future__ import annotations

from collections.abc import Callable

from mailboat_common.bus import Bus

from ..db.driver import Database
from ..settings import Settings
from ..worker.supervisor import Job
from .dispatcher import Dispatcher
from .egress import Egress
from .exchange import ExchangeFeed
from .relay import Relay
from .stream import Stream

RELAY_SECONDS = 0.25
PUBLISH_SECONDS = 0.25
PRUNE_SECONDS = 60.0
COUNT_SECONDS = 15.0
DAY_MS = 24 * 3600 * 1000


class Feeds:
    """`clock` gives ms since the epoch."""

    def __init__(self, db: Database, bus: Bus, stream: Stream, settings: Settings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._relay = Relay(db)
        self._egress = Egress(settings.webhook_networks)
        self.webhooks = Dispatcher(db, stream, self._egress, clock)
        name = settings.events_exchange
        self._exchange = ExchangeFeed(db, bus, stream, name, clock=clock) if name else None

    def jobs(self) -> list[Job]:
        """What is done again and again; webhooks have a loop of their own."""
        found = [
            Job("relay", RELAY_SECONDS, self._relay.run),
            Job("prune_events", PRUNE_SECONDS, self._prune),
            Job("count_events", COUNT_SECONDS, self._count),
        ]
        if self._exchange is not None:
            found.append(Job("publish_events", PUBLISH_SECONDS, self._exchange.run))
        return found

    async def close(self) -> None:
        """Ends the connections to receivers."""
        await self._egress.close()

    async def _prune(self, now: int) -> bool:
        keep_ms = self._settings.events_days * DAY_MS
        return await self._relay.prune(now, keep_ms=keep_ms, keep_events=self._settings.events_max)

    async def _count(self, now: int) -> bool:
        await self._relay.count(now)
        return await self.webhooks.count(now)
