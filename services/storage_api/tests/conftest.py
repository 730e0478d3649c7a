"""Fixtures of storage_api's tests: a real mongod for the session and a migrated database on it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from storage_api.db.driver import Database, connect
from storage_api.db.migrations import migrate
from storage_api.store.mongo import MongoStore

from tests.support.mongod import Mongod, mongod
from tests.support.rest import world

__all__ = ["mongod", "world"]


@pytest.fixture(scope="session")
def database_name() -> str:
    """One database for the session: tests keep apart by accounts of their own."""
    return f"test_{uuid.uuid4().hex}"


@pytest.fixture
async def db(mongod: Mongod, database_name: str) -> AsyncIterator[Database]:
    """The session's database, on a client of this test's event loop."""
    database = connect(mongod.uri, app="test", database=database_name)
    await migrate(database)
    yield database
    await database.close()


@pytest.fixture
async def store(db: Database) -> AsyncIterator[MongoStore]:
    """The store of this process."""
    made = MongoStore(db)
    yield made
    await made.committer.close()


@pytest.fixture
async def second(mongod: Mongod, database_name: str) -> AsyncIterator[MongoStore]:
    """The same store as another process would see it: a client and a committer of its own."""
    made = MongoStore(connect(mongod.uri, app="second", database=database_name))
    yield made
    await made.close()
