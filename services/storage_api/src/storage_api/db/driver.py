"""The only module that knows pymongo's async client from motor.

Both drivers stand behind one small typed facade: `connect` gives a `Database`, that gives `Collection`s and `Session`s.
`MB_MONGO_DRIVER` (the caller passes its value) chooses between `pymongo`, the default, and `motor`.

Rules kept here (store.md, rules 5, 7 and 8): read concern majority, write concern majority with journal, primary only;
every process has an appName of its own that begins with `mailboat-`; every operation ends within
`OPERATION_SECONDS`, server selection within `SELECTION_SECONDS`, an attempt to connect within `CONNECT_SECONDS`.
Snapshot sessions are for reads over more than one document, transactions read one snapshot too. `find` returns lists:
whoever may meet many documents uses `iterate`.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, ReturnDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)
from pymongo.monitoring import (
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedEvent,
    ConnectionCheckOutStartedEvent,
    ConnectionClosedEvent,
    ConnectionCreatedEvent,
    ConnectionPoolListener,
    ConnectionReadyEvent,
    PoolClearedEvent,
    PoolClosedEvent,
    PoolCreatedEvent,
    PoolReadyEvent,
)
from pymongo.operations import DeleteMany, DeleteOne, IndexModel, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

__all__ = [
    "AutoReconnect",
    "BulkWriteError",
    "Collection",
    "ConfigurationError",
    "Database",
    "DeleteMany",
    "DeleteOne",
    "Document",
    "DuplicateKeyError",
    "IndexModel",
    "InsertOne",
    "OperationFailure",
    "PoolWait",
    "PyMongoError",
    "ReplaceOne",
    "Session",
    "UpdateMany",
    "UpdateOne",
    "WriteOperation",
    "connect",
    "connect_member",
    "is_commit_unknown",
    "is_conflict",
    "is_duplicate_key",
    "is_transient",
]

Document = dict[str, Any]
WriteOperation = InsertOne[Document] | UpdateOne | UpdateMany | ReplaceOne[Document] | DeleteOne | DeleteMany

DEFAULT_DATABASE = "mailboat"
APP_PREFIX = "mailboat-"
OPERATION_SECONDS = 35.0
SELECTION_SECONDS = 35.0
CONNECT_SECONDS = 5.0  # a pod that was replaced has another address, and packets to its old one are dropped
MEMBER_SECONDS = 4.0
MEMBER_GOODBYE_SECONDS = 0.5
WRITE_CONFLICT = 112
DUPLICATE_KEY = 11000
_WHOLE_ANSWER = 100_000  # documents a batch: the server's 16 MB bound comes first

_MAJORITY = WriteConcern(w="majority", j=True)
_TRANSACTION: dict[str, Any] = {
    "read_concern": ReadConcern("snapshot"),
    "write_concern": _MAJORITY,
    "read_preference": ReadPreference.PRIMARY,
}
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True)


def is_transient(error: BaseException) -> bool:
    """The whole transaction may be tried again: none of it happened."""
    return isinstance(error, PyMongoError) and error.has_error_label("TransientTransactionError")


def is_commit_unknown(error: BaseException) -> bool:
    """The commit may have happened: commit again, then look."""
    return isinstance(error, PyMongoError) and error.has_error_label("UnknownTransactionCommitResult")


def is_conflict(error: BaseException) -> bool:
    """Another transaction holds or changed a document that this one writes."""
    if isinstance(error, BulkWriteError):
        return any(e.get("code") == WRITE_CONFLICT for e in _write_errors(error)) or error.code == WRITE_CONFLICT
    return isinstance(error, OperationFailure) and error.code == WRITE_CONFLICT


def is_duplicate_key(error: BaseException) -> bool:
    """A unique key was taken in the same moment."""
    if isinstance(error, BulkWriteError):
        return any(e.get("code") == DUPLICATE_KEY for e in _write_errors(error))
    return isinstance(error, DuplicateKeyError)


def _write_errors(error: BulkWriteError) -> list[Mapping[str, Any]]:
    return list((error.details or {}).get("writeErrors", ()))


class Session:
    """A server session: of one snapshot for reads, or for one transaction at a time."""

    __slots__ = ("_motor", "inner")

    def __init__(self, inner: Any, motor: bool) -> None:
        self.inner = inner
        self._motor = motor

    async def begin(self) -> None:
        """Start a transaction; nothing is sent before its first statement."""
        if self._motor:
            self.inner.start_transaction(**_TRANSACTION)
        else:
            await self.inner.start_transaction(**_TRANSACTION)

    async def commit(self) -> None:
        """Commit on a majority; may be called again after an unknown result."""
        await self.inner.commit_transaction()

    async def abort(self) -> None:
        """Give the transaction up; a transaction that is already over is no error."""
        if self.inner.in_transaction:
            await self.inner.abort_transaction()


class Collection:
    """The operations the store uses, alike on both drivers. `session` None means a single majority operation."""

    __slots__ = ("_motor", "inner", "name")

    def __init__(self, inner: Any, motor: bool) -> None:
        self.inner = inner
        self.name: str = inner.name
        self._motor = motor

    def unacknowledged_by_majority(self) -> Collection:
        """The same collection for writes whose loss does no harm (w=1)."""
        return Collection(self.inner.with_options(write_concern=WriteConcern(w=1)), self._motor)

    async def find_one(
        self,
        query: Mapping[str, Any],
        projection: Mapping[str, Any] | Sequence[str] | None = None,
        *,
        session: Session | None = None,
        sort: Sequence[tuple[str, int]] | None = None,
    ) -> Document | None:
        """The first document that matches, or None."""
        found: Document | None = await self.inner.find_one(query, projection, session=_inner(session), sort=sort)
        return found

    async def find(
        self,
        query: Mapping[str, Any],
        projection: Mapping[str, Any] | Sequence[str] | None = None,
        *,
        session: Session | None = None,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int = 0,
        hint: str | Sequence[tuple[str, int]] | None = None,
    ) -> list[Document]:
        """All matching documents (up to `limit`); for answers whose size the caller knows to be bounded."""
        cursor = self.inner.find(
            query,
            projection,
            session=_inner(session),
            sort=sort,
            limit=limit,
            hint=hint,
            batch_size=0 if limit else _WHOLE_ANSWER,
        )
        found: list[Document] = await cursor.to_list(None)
        return found

    async def iterate(
        self,
        query: Mapping[str, Any],
        projection: Mapping[str, Any] | Sequence[str] | None = None,
        *,
        session: Session | None = None,
        sort: Sequence[tuple[str, int]] | None = None,
        batch_size: int = 100,
    ) -> AsyncGenerator[Document, None]:
        """Matching documents one by one, `batch_size` a round trip."""
        cursor = self.inner.find(query, projection, session=_inner(session), sort=sort, batch_size=batch_size)
        try:
            async for document in cursor:
                yield document
        finally:
            await cursor.close()

    async def aggregate(
        self, pipeline: Sequence[Mapping[str, Any]], *, session: Session | None = None, **options: Any
    ) -> list[Document]:
        """All documents of a pipeline's answer."""
        cursor = self.inner.aggregate(list(pipeline), session=_inner(session), **options)
        if not self._motor:
            cursor = await cursor
        found: list[Document] = await cursor.to_list(None)
        return found

    async def count(self, query: Mapping[str, Any], *, session: Session | None = None, limit: int = 0) -> int:
        """How many documents match, counted up to `limit` (0: all)."""
        options: dict[str, int] = {"limit": limit} if limit else {}
        number: int = await self.inner.count_documents(query, session=_inner(session), **options)
        return number

    async def insert_one(self, document: Document, *, session: Session | None = None) -> None:
        """Insert; DuplicateKeyError if its `_id` or a unique key is taken."""
        await self.inner.insert_one(document, session=_inner(session))

    async def insert_many(
        self, documents: Iterable[Document], *, session: Session | None = None, ordered: bool = True
    ) -> None:
        """Insert several."""
        await self.inner.insert_many(documents, session=_inner(session), ordered=ordered)

    async def update_one(
        self,
        query: Mapping[str, Any],
        update: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        session: Session | None = None,
        upsert: bool = False,
    ) -> int:
        """Update the first match. Returns how many matched (an upserted one counts 0)."""
        result = await self.inner.update_one(query, update, session=_inner(session), upsert=upsert)
        matched: int = result.matched_count
        return matched

    async def update_many(
        self,
        query: Mapping[str, Any],
        update: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        session: Session | None = None,
    ) -> int:
        """Update all matches. Returns how many matched."""
        result = await self.inner.update_many(query, update, session=_inner(session))
        matched: int = result.matched_count
        return matched

    async def replace_one(
        self,
        query: Mapping[str, Any],
        document: Document,
        *,
        session: Session | None = None,
        upsert: bool = False,
    ) -> int:
        """Replace the first match. Returns how many matched."""
        result = await self.inner.replace_one(query, document, session=_inner(session), upsert=upsert)
        matched: int = result.matched_count
        return matched

    async def delete_one(self, query: Mapping[str, Any], *, session: Session | None = None) -> int:
        """Delete the first match. Returns how many were deleted."""
        result = await self.inner.delete_one(query, session=_inner(session))
        deleted: int = result.deleted_count
        return deleted

    async def delete_many(self, query: Mapping[str, Any], *, session: Session | None = None) -> int:
        """Delete all matches. Returns how many were deleted."""
        result = await self.inner.delete_many(query, session=_inner(session))
        deleted: int = result.deleted_count
        return deleted

    async def find_one_and_update(
        self,
        query: Mapping[str, Any],
        update: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        projection: Mapping[str, Any] | None = None,
        *,
        session: Session | None = None,
        upsert: bool = False,
        after: bool = True,
        sort: Sequence[tuple[str, int]] | None = None,
    ) -> Document | None:
        """Update the first match and return it as it is then (`after`) or was before."""
        found: Document | None = await self.inner.find_one_and_update(
            query,
            update,
            projection=projection,
            session=_inner(session),
            upsert=upsert,
            sort=sort,
            return_document=ReturnDocument.AFTER if after else ReturnDocument.BEFORE,
        )
        return found

    async def find_one_and_delete(self, query: Mapping[str, Any], *, session: Session | None = None) -> Document | None:
        """Delete the first match and return it."""
        found: Document | None = await self.inner.find_one_and_delete(query, session=_inner(session))
        return found

    async def bulk_write(
        self, operations: Sequence[WriteOperation], *, session: Session | None = None, ordered: bool = True
    ) -> None:
        """Several writes in order; one command as long as they are of one kind."""
        await self.inner.bulk_write(list(operations), session=_inner(session), ordered=ordered)

    async def create_indexes(self, indexes: Sequence[IndexModel]) -> None:
        """Create what is missing; an index that is already so is no error."""
        await self.inner.create_indexes(list(indexes))

    async def drop(self) -> None:
        """Drop the collection."""
        await self.inner.drop()


class Database:
    """One database on one client; `db["mailboxes"]` is a collection."""

    def __init__(self, client: Any, name: str, motor: bool) -> None:
        self._client = client
        self._inner = client.get_database(name, codec_options=_CODEC)
        self._motor = motor
        self._collections: dict[str, Collection] = {}
        self.name = name
        self.driver = "motor" if motor else "pymongo"

    def __getitem__(self, name: str) -> Collection:
        collection = self._collections.get(name)
        if collection is None:
            collection = self._collections[name] = Collection(self._inner[name], self._motor)
        return collection

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A session for transactions (`begin`, `commit`, `abort`)."""
        async with self._session(causal_consistency=False) as session:
            yield session

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Session]:
        """A fresh snapshot session: all reads in it see one majority-committed moment."""
        async with self._session(causal_consistency=False, snapshot=True) as session:
            yield session

    @asynccontextmanager
    async def _session(self, **options: Any) -> AsyncIterator[Session]:
        inner = self._client.start_session(**options)
        if self._motor:
            inner = await inner
        try:
            yield Session(inner, self._motor)
        finally:
            await inner.end_session()

    async def command(self, command: Mapping[str, Any]) -> Document:
        """A command on this database."""
        answer: Document = await self._inner.command(command)
        return answer

    async def admin_command(self, command: Mapping[str, Any]) -> Document:
        """A command on the admin database."""
        answer: Document = await self._client.get_database("admin").command(command)
        return answer

    async def admin_aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """A pipeline on the admin database (`$currentOp`)."""
        admin = self._client.get_database("admin", read_concern=ReadConcern("local"))
        cursor = admin.aggregate(list(pipeline))
        if not self._motor:
            cursor = await cursor
        found: list[Document] = await cursor.to_list(None)
        return found

    async def ping(self) -> bool:
        """Whether the primary answers now."""
        try:
            answer = await self.admin_command({"hello": 1})
        except PyMongoError:
            return False
        return bool(answer.get("isWritablePrimary"))

    async def list_collections(self) -> list[str]:
        """Names of the collections that exist."""
        found: list[str] = await self._inner.list_collection_names()
        return found

    async def drop(self) -> None:
        """Drop the whole database (tests)."""
        await self._client.drop_database(self.name)

    async def close(self) -> None:
        """End all connections."""
        if self._motor:
            self._client.close()
        else:
            await self._client.close()


class PoolWait(ConnectionPoolListener):
    """Tells how long operations waited for a connection: `connect(…, event_listeners=[PoolWait(observe)])`."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:
        self._observe(event.duration or 0.0)

    def connection_check_out_failed(self, event: ConnectionCheckOutFailedEvent) -> None:
        self._observe(event.duration or 0.0)

    def connection_check_out_started(self, event: ConnectionCheckOutStartedEvent) -> None: ...
    def connection_checked_in(self, event: ConnectionCheckedInEvent) -> None: ...
    def connection_created(self, event: ConnectionCreatedEvent) -> None: ...
    def connection_ready(self, event: ConnectionReadyEvent) -> None: ...
    def connection_closed(self, event: ConnectionClosedEvent) -> None: ...
    def pool_created(self, event: PoolCreatedEvent) -> None: ...
    def pool_ready(self, event: PoolReadyEvent) -> None: ...
    def pool_cleared(self, event: PoolClearedEvent) -> None: ...
    def pool_closed(self, event: PoolClosedEvent) -> None: ...


def connect(uri: str, *, app: str, driver: str = "pymongo", database: str | None = None, **options: Any) -> Database:
    """A client on `uri`, unconnected until its first operation, and its database.

    `app` names the process's part (`api`, `worker`); host, pid and chance are added so that no two processes share an
    appName. `database` overrides the one in the URI (default `mailboat`). ValueError for an unknown driver.
    """
    settings: dict[str, Any] = {
        "appname": f"{APP_PREFIX}{app}-{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}",
        "serverSelectionTimeoutMS": int(SELECTION_SECONDS * 1000),
        "connectTimeoutMS": int(CONNECT_SECONDS * 1000),
        "timeoutMS": int(OPERATION_SECONDS * 1000),
        "w": "majority",
        "journal": True,
        "readConcernLevel": "majority",
        "readPreference": "primary",
        "retryWrites": True,
        "retryReads": True,
        **options,
    }
    if driver == "pymongo":
        client: Any = AsyncMongoClient(uri, **settings)
    elif driver == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - an extra that need not be installed

        client = AsyncIOMotorClient(uri, **settings)
    else:
        raise ValueError(f"unknown MongoDB driver {driver!r}: pymongo or motor")
    return Database(client, database or _database_of(client), driver == "motor")


def connect_member(address: str, *, app: str, user: str = "", password: str = "") -> Database:
    """The database admin of the one mongod at `name:port`, whatever its state; without `user`: not logged in.

    For setting a member up: everything ends within `MEMBER_SECONDS`, also when nobody listens.
    """
    credentials = {"username": user, "password": password, "authSource": "admin"} if user else {}
    return connect(
        f"mongodb://{address}/",
        app=app,
        database="admin",
        directConnection=True,
        connectTimeoutMS=int(MEMBER_SECONDS * 1000),
        serverSelectionTimeoutMS=int(MEMBER_GOODBYE_SECONDS * 1000),  # of close() only: it has no other time-out
        timeoutMS=int(MEMBER_SECONDS * 1000),
        **credentials,
    )


def _database_of(client: Any) -> str:
    try:
        name: str = client.get_default_database().name
    except ConfigurationError:
        return DEFAULT_DATABASE
    return name


def _inner(session: Session | None) -> Any:
    return None if session is None else session.inner
