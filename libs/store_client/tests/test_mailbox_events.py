"""A gateway's share of the news: shards bound as long as somebody needs them, nonsense passed over."""

from __future__ import annotations

import asyncio

from mailboat_common.ids import shard
from mailboat_store_client.events import EXCHANGE, MailboxEvents, encode, routing_key
from mailboat_store_client.types import AccountId, MailboxChanged, MailboxId


class Subscription:
    """What the bus gives, with the broker's binding done when the test says so."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.asked: list[str] = []
        self.leaving = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def bind(self, key: str) -> bool:
        self.bound.add(key)
        self.asked.append(key)
        return True

    async def unbind(self, key: str) -> None:
        self.leaving.set()
        if self.gate is not None:
            await self.gate.wait()
        self.bound.discard(key)


class FakeBus:
    connected = True

    def __init__(self) -> None:
        self.subscription = Subscription()

    def subscribe_shards(self, exchange, on_message, max_length, on_reconnect=None) -> Subscription:
        assert exchange is EXCHANGE
        self.on_message, self.on_reconnect = on_message, on_reconnect
        return self.subscription


async def given_up(events: MailboxEvents) -> None:
    """Until every shard without sessions is unbound."""
    await asyncio.gather(*events._leaving.values())


def same_shard(number: int) -> list[AccountId]:
    """Accounts of one shard."""
    ids = (AccountId(n.to_bytes(16, "big")) for n in range(100_000))
    return [account for account in ids if shard(account) == 7][:number]


def test_the_key_names_the_shard_with_three_digits() -> None:
    (account,) = same_shard(1)
    assert routing_key(account) == "mailbox.007"


async def test_a_shard_is_bound_as_long_as_a_session_needs_it() -> None:
    bus = FakeBus()
    events = MailboxEvents(bus, lambda news: None, linger_seconds=0)
    one, other = same_shard(2)
    assert await events.subscribe(one)
    await events.subscribe(one)
    await events.subscribe(other)
    for account in (one, other):
        await events.unsubscribe(account)
        assert bus.subscription.bound == {"mailbox.007"}
    await events.unsubscribe(one)
    await given_up(events)
    assert bus.subscription.bound == set()
    await events.subscribe(one)
    assert bus.subscription.bound == {"mailbox.007"}


async def test_a_session_that_comes_back_soon_finds_the_shard_bound() -> None:
    bus = FakeBus()
    events = MailboxEvents(bus, lambda news: None)
    (account,) = same_shard(1)
    await events.subscribe(account)
    await events.unsubscribe(account)
    assert bus.subscription.bound == {"mailbox.007"}
    assert await events.subscribe(account)
    assert bus.subscription.asked == ["mailbox.007"], "the broker isn't asked again"
    bus.connected = False
    assert not await events.subscribe(account)


async def test_a_session_that_comes_while_the_shard_is_given_up_is_not_deaf() -> None:
    bus = FakeBus()
    events = MailboxEvents(bus, lambda news: None, linger_seconds=0)
    (account,) = same_shard(1)
    await events.subscribe(account)
    bus.subscription.gate = asyncio.Event()
    await events.unsubscribe(account)
    await bus.subscription.leaving.wait()
    await events.subscribe(account)
    bus.subscription.gate.set()
    await given_up(events)
    assert bus.subscription.bound == {"mailbox.007"}


def test_news_is_decoded_and_nonsense_passed_over() -> None:
    bus, seen, reconnects = FakeBus(), [], []
    MailboxEvents(bus, seen.append, lambda: reconnects.append(1))
    news = MailboxChanged(AccountId(b"a" * 16), MailboxId(b"m" * 16), 5, 6)
    for body in (b"\xff", encode(news), b""):
        bus.on_message("mailbox.007", body)
    bus.on_reconnect()
    assert seen == [news]
    assert reconnects == [1]
