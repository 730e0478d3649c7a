"""Tells the gateways what was committed: `MailboxChanged`, straight after the commit, without confirms.

Rule: the commit path never waits for news and never fails because of it. Lost news costs latency: gateways poll.
"""

from __future__ import annotations

from collections.abc import Iterable

from mailboat_common import metrics
from mailboat_common.bus import Bus, Topology
from mailboat_store_client.events import EXCHANGE, encode, routing_key
from mailboat_store_client.types import MailboxChanged

_published = metrics.counter("mailbox_news_total", "News of mailboxes by whether RabbitMQ took it", ("result",))
_sent, _lost = _published.labels("sent"), _published.labels("lost")


class EventPublisher:
    """The commit hook that publishes. Create it before `bus.run` is spawned."""

    def __init__(self, bus: Bus) -> None:
        bus.declare_topology(Topology(exchanges=(EXCHANGE,)))
        self._bus = bus

    def committed(self, changes: Iterable[MailboxChanged]) -> None:
        """Publishes one piece of news for each mailbox touched by a commit."""
        for news in changes:
            sent = self._bus.publish(EXCHANGE.name, routing_key(news.account_id), encode(news))
            (_sent if sent else _lost).inc()
