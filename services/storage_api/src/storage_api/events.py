"""Tells the gateways what was committed: `MailboxChanged`, straight after the commit, without confirms.

Rules: the commit path never waits for news and never fails because of it. Lost news costs latency: gateways poll. While
RabbitMQ is away the newest news of each mailbox is kept, for a bounded number of them, and said when it is back: a
gateway may be connected again seconds before we are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from mailboat_common import metrics
from mailboat_common.bus import Bus, Topology
from mailboat_store_client.events import EXCHANGE, encode, routing_key
from mailboat_store_client.types import AccountId, MailboxChanged, MailboxId

KEPT = 10_000

_published = metrics.counter("mailbox_news_total", "News of mailboxes by whether RabbitMQ took it", ("result",))
_sent, _lost = _published.labels("sent"), _published.labels("lost")


class EventPublisher:
    """The commit hook that publishes. Create it before `bus.run` is spawned."""

    def __init__(self, bus: Bus) -> None:
        bus.declare_topology(Topology(exchanges=(EXCHANGE,)))
        self._bus = bus
        self._kept: dict[tuple[AccountId, MailboxId], MailboxChanged] = {}
        self._saying: asyncio.Task[None] | None = None

    def committed(self, changes: Iterable[MailboxChanged]) -> None:
        """Publishes one piece of news for each mailbox touched by a commit."""
        for news in changes:
            if self._publish(news):
                continue
            key = news.account_id, news.mailbox_id
            if len(self._kept) < KEPT or key in self._kept:
                self._kept[key] = _newest(self._kept.get(key), news)
            else:
                _lost.inc()
        if self._kept and self._saying is None:
            self._saying = asyncio.get_running_loop().create_task(self._say_kept())

    def _publish(self, news: MailboxChanged) -> bool:
        sent = self._bus.publish(EXCHANGE.name, routing_key(news.account_id), encode(news))
        if sent:
            _sent.inc()
        return sent

    async def _say_kept(self) -> None:
        try:
            while self._kept:
                await self._bus.wait_connected()
                key, news = next(iter(self._kept.items()))
                if self._publish(news):
                    del self._kept[key]
                else:
                    await asyncio.sleep(0.1)  # its buffer is full: RabbitMQ is stuck
        finally:
            self._saying = None


def _newest(kept: MailboxChanged | None, news: MailboxChanged) -> MailboxChanged:
    """What is to be said of both: that an account was closed isn't forgotten over a later change of its tree."""
    return replace(news, account_closed=True) if kept is not None and kept.account_closed else news
