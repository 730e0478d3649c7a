"""Bringing a database to this build's schema: once, safely, with several processes starting together.

A migration is a named idempotent step. `migrate` runs those not yet recorded in `migrations`, in order. Index and
collection creation are idempotent on the server, so two processes may run the same step at the same time; the record
only saves the work later. Steps keep old builds working (fields and indexes are added, never renamed), because old
and new replicas run side by side during an upgrade.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from mailboat_common.log import get_logger

from . import schema
from .driver import Database, IndexModel, OperationFailure

log = get_logger(__name__)

Step = Callable[[Database], Awaitable[None]]
NAMESPACE_EXISTS = 48
INDEX_NOT_FOUND = 27


async def create_collections(db: Database, indexes: dict[str, list[IndexModel]]) -> None:
    """Create collections and indexes. A transaction can't create a collection as cheaply, so all exist before use."""
    existing = set(await db.list_collections())
    for name, models in indexes.items():
        if name not in existing:
            try:
                await db.command({"create": name})
            except OperationFailure as error:
                if error.code != NAMESPACE_EXISTS:
                    raise
        if models:
            await db[name].create_indexes(models)


async def drop_indexes(db: Database, collection: str, names: list[str]) -> None:
    """Drop indexes; one that is gone already is no error."""
    for name in names:
        try:
            await db.command({"dropIndexes": collection, "index": name})
        except OperationFailure as error:
            if error.code != INDEX_NOT_FOUND:
                raise


async def _core(db: Database) -> None:
    await create_collections(db, schema.INDEXES)


async def _annotations(db: Database) -> None:
    await create_collections(db, {schema.ANNOTATIONS: schema.INDEXES[schema.ANNOTATIONS]})


async def _pop3_retention(db: Database) -> None:
    await create_collections(db, schema.RETENTION_INDEXES)


async def _queue(db: Database) -> None:
    await create_collections(db, schema.QUEUE_INDEXES)


async def _notices(db: Database) -> None:
    await create_collections(db, schema.NOTICE_INDEXES)


async def _events(db: Database) -> None:
    await create_collections(db, schema.EVENT_INDEXES)
    for name, fields in (("head", {"next": 1, "floor": 1}), ("exchange", {"position": 0, "holder": "", "until": 0})):
        await db[schema.FEEDS].update_one({"_id": name}, {"$setOnInsert": fields}, upsert=True)


async def _queue_waiting(db: Database) -> None:
    await db[schema.QUEUE].create_indexes(schema.QUEUE_INDEXES_WAITING[schema.QUEUE])
    await drop_indexes(db, schema.QUEUE, schema.QUEUE_INDEXES_GONE)


async def _restores(db: Database) -> None:
    await create_collections(db, schema.RESTORE_INDEXES)


MIGRATIONS: list[tuple[str, Step]] = [
    ("0001-core", _core),
    ("0002-annotations", _annotations),
    ("0003-pop3-retention", _pop3_retention),
    ("0004-queue", _queue),
    ("0005-notices", _notices),
    ("0006-events", _events),
    ("0007-queue-waiting", _queue_waiting),
    ("0008-restores", _restores),
]


async def migrate(db: Database, more: list[tuple[str, Step]] | None = None) -> None:
    """Run what isn't recorded yet; `more` are steps of other parts of the service, run after the store's own."""
    steps = [*MIGRATIONS, *(more or [])]
    done = {document["_id"] for document in await db[schema.MIGRATIONS].find({})}
    for name, step in steps:
        if name in done:
            continue
        await step(db)
        await db[schema.MIGRATIONS].update_one(
            {"_id": name}, {"$setOnInsert": {"at": time.time_ns() // 1_000_000}}, upsert=True
        )
        log.info("Migrated the database", migration=name)
