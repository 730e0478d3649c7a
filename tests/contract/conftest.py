"""The implementations that must pass the contract; each test runs on every one of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AccountId

from tests.support.contract import World
from tests.support.internal import over_http

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)


async def memory_world() -> AsyncIterator[World]:
    store = MemoryStore()
    events: asyncio.Queue = asyncio.Queue()
    store.subscribe(events.put_nowait)

    async def make_account(quota: int) -> tuple[AccountId, str]:
        address = f"user{next(_numbers)}@example.test"
        return store.add_account(address, PASSWORD, quota), address

    async def usage_of(account_id: AccountId) -> int:
        return store.account(account_id).usage

    yield World(store, events, make_account, usage_of, PASSWORD)


async def http_world() -> AsyncIterator[World]:
    async for made in memory_world():
        async with over_http(made.store) as client:
            made.store = client
            yield made


WORLDS = {"memory": memory_world, "http": http_world}


@pytest.fixture(params=sorted(WORLDS))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """One store under test with a fresh account."""
    async for made in WORLDS[request.param]():
        made.account, made.address = await made.make_account(0)
        yield made
        await made.store.close()
