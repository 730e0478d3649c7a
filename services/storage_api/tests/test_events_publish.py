"""News after a commit: said at once, kept while RabbitMQ is away, the newest of each mailbox only."""

from __future__ import annotations

import asyncio

from mailboat_common.bus import Topology
from mailboat_store_client.events import decode
from mailboat_store_client.types import NO_MAILBOX, AccountId, MailboxChanged, MailboxId
from storage_api.events import EventPublisher


class Broker:
    """The part of `Bus` that a publisher uses; `up` is RabbitMQ's state."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.said: list[MailboxChanged] = []
        self._heard = asyncio.Event()

    def declare_topology(self, topology: Topology) -> None:
        assert [exchange.name for exchange in topology.exchanges] == ["mailboat.events"]

    async def wait_connected(self) -> None:
        await self.up.wait()

    def publish(self, _exchange: str, _key: str, body: bytes) -> bool:
        if self.up.is_set():
            self.said.append(decode(body))
            self._heard.set()
        return self.up.is_set()

    async def until_said(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.said) < count:
                self._heard.clear()
                await self._heard.wait()


def news(mailbox: int, modseq: int) -> MailboxChanged:
    return MailboxChanged(AccountId(bytes(16)), MailboxId(bytes([mailbox]) * 16), modseq, 1)


async def test_news_is_said_at_once_while_rabbitmq_is_there() -> None:
    broker = Broker()
    broker.up.set()
    EventPublisher(broker).committed([news(1, 5), news(2, 9)])  # type: ignore[arg-type]
    assert [(n.mailbox_id[0], n.modseq) for n in broker.said] == [(1, 5), (2, 9)]


async def test_the_newest_news_of_each_mailbox_is_said_when_rabbitmq_is_back() -> None:
    broker = Broker()
    publisher = EventPublisher(broker)  # type: ignore[arg-type]
    for modseq in range(5):
        publisher.committed([news(1, modseq), news(2, modseq + 10)])
    assert broker.said == []
    broker.up.set()
    await broker.until_said(2)
    assert [(n.mailbox_id[0], n.modseq) for n in broker.said] == [(1, 4), (2, 14)]
    publisher.committed([news(3, 1)])
    assert broker.said[-1].mailbox_id[0] == 3


async def test_news_of_two_accounts_is_kept_apart_and_that_one_was_closed_is_not_forgotten() -> None:
    broker = Broker()
    publisher = EventPublisher(broker)  # type: ignore[arg-type]
    first, second = (AccountId(bytes([number]) * 16) for number in (1, 2))
    publisher.committed([MailboxChanged(first, NO_MAILBOX, 0, 1, account_closed=True)])
    publisher.committed([MailboxChanged(each, NO_MAILBOX, 0, 2, tree_version=7) for each in (first, second)])
    broker.up.set()
    await broker.until_said(2)
    assert [(n.account_id, n.tree_version, n.account_closed) for n in broker.said] == [
        (first, 7, True),
        (second, 7, False),
    ]
