"""What an error of the database means for a caller, and transactions for the few writes that aren't the store's.

An operation that found no primary, timed out or was cut off may succeed later: Unavailable. Everything else the server
says is a bug of ours: Internal. Neither text reaches a client.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from mailboat_common.errors import Failure, Internal, Unavailable

from .db.driver import (
    Database,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    Session,
    is_commit_unknown,
    is_transient,
)

T = TypeVar("T")

TRANSACTION_SECONDS = 20.0


def as_failure(error: PyMongoError) -> Failure:
    """The family and class `error` belongs to."""
    if isinstance(error, OperationFailure) and not error.timeout and not is_transient(error):
        return Internal(f"MongoDB: {error!r}")
    return Unavailable(f"MongoDB: {error!r}", retry_after=1.0)


@asynccontextmanager
async def database_errors() -> AsyncIterator[None]:
    """Turns what the driver raises into a Failure."""
    try:
        yield
    except PyMongoError as error:
        raise as_failure(error) from error


async def transact(db: Database, work: Callable[[Session], Awaitable[T]], seconds: float = TRANSACTION_SECONDS) -> T:
    """Runs `work` in a transaction, again when it conflicts or the primary changes, for up to `seconds`.

    `work` may run several times, so it must start from nothing. An unknown commit is committed again until it is known.
    DuplicateKeyError is passed on: the caller knows what it means.
    """
    deadline = time.monotonic() + seconds
    attempt = 0
    while True:
        try:
            async with db.session() as session:
                await session.begin()
                try:
                    result = await work(session)
                except BaseException:
                    await session.abort()
                    raise
                await _commit(session, deadline)
                return result
        except DuplicateKeyError:
            raise
        except PyMongoError as error:
            if not is_transient(error) or time.monotonic() > deadline:
                raise as_failure(error) from error
        await asyncio.sleep(0.005 * 2 ** min(attempt, 6) * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load
        attempt += 1


async def _commit(session: Session, deadline: float) -> None:
    while True:
        try:
            await session.commit()
        except PyMongoError as error:
            if not is_commit_unknown(error) or time.monotonic() > deadline:
                raise
        else:
            return
