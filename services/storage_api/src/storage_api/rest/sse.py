"""Server-Sent Events (WHATWG HTML, 9.2): one response that goes on until the client or the process ends.

Rules: a stream holds one page of events and no queue; it reads on only when the client has taken what was sent, and a
client that takes nothing for 30 s is cut off. Streams are bounded, all together and for each token. A heartbeat every
15 s carries the position as `id:` without data, which makes no event but is remembered by the client: a filter that
lets little through doesn't lead to a long search after a reconnect. A drain ends streams within a second; the client
comes back elsewhere with Last-Event-ID. A stream whose token was revoked, or whose account was disabled or removed,
ends within some ten seconds: nobody hears for longer than he would be let in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping

from fastapi.responses import Response
from mailboat_common import metrics
from mailboat_common.asgi import Receive, Scope, Send
from mailboat_common.errors import Failure, Unavailable
from mailboat_common.log import get_logger

from ..db.driver import PyMongoError
from ..feed.event import Event, Filter
from ..feed.stream import Stream

log = get_logger(__name__)

MEDIA_TYPE = "text/event-stream"
STREAMS = 200
PER_TOKEN = 20
PAGE = 100
HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0
STUCK_SECONDS = 30.0
ADMITTED_SECONDS = 5.0
RETRY_MS = 2000

_open = metrics.gauge("event_streams", "Streams of /v1/events that are open")


class Streams:
    """The open streams of this process. `draining`: they are to end."""

    def __init__(self, stream: Stream, draining: Callable[[], bool]) -> None:
        self.stream = stream
        self.draining = draining
        self._by_token: Counter[str] = Counter()

    def check(self, token_id: str) -> None:
        """Raises Unavailable when there is no room for another stream (of this token)."""
        if self._by_token.total() >= STREAMS or self._by_token[token_id] >= PER_TOKEN:
            raise Unavailable("too many event streams", retry_after=5.0)

    @contextlib.contextmanager
    def counted(self, token_id: str) -> Iterator[None]:
        """Counts a stream while it is open."""
        self._by_token[token_id] += 1
        _open.set(self._by_token.total())
        try:
            yield
        finally:
            self._by_token[token_id] -= 1
            self._by_token += Counter()  # forgets what is zero
            _open.set(self._by_token.total())


class EventSource(Response):
    """The answer: events behind `position` that `wanted` admits, for as long as `admitted` says so."""

    media_type = MEDIA_TYPE

    def __init__(
        self, streams: Streams, token_id: str, position: int, wanted: Filter, admitted: Callable[[], Awaitable[bool]]
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._token_id = token_id
        self._position = position
        self._wanted = wanted
        self._admitted = admitted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.counted(self._token_id):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            talking = asyncio.create_task(self._talk(send))
            gone = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait((talking, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (talking, gone):
                    task.cancel()
                await asyncio.wait((talking, gone))
        if not talking.cancelled() and (error := talking.exception()) is not None:
            log.info("event stream broke off", cause=repr(error))  # without an end: the client knows and comes again

    async def _talk(self, send: Send) -> None:
        async for piece in self.pieces():
            async with asyncio.timeout(STUCK_SECONDS):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def pieces(self) -> AsyncIterator[bytes]:
        """What is sent, piece by piece, until the drain or until the caller may hear no more."""
        loop = asyncio.get_running_loop()
        yield b"retry: %d\n\n" % RETRY_MS
        spoken = asked = loop.time()
        while not self._streams.draining():
            if loop.time() - asked >= ADMITTED_SECONDS:
                if not await self._may_go_on():
                    return
                asked = loop.time()
            piece, more = await self._next()
            if piece:
                spoken = loop.time()
                yield piece
            elif loop.time() - spoken >= HEARTBEAT_SECONDS:
                spoken = loop.time()
                yield b": \nid: %d\n\n" % self._position
            if not more:
                await self._streams.stream.moved(self._position, LOOK_SECONDS)

    async def _may_go_on(self) -> bool:
        """A database that is away has nothing to tell either."""
        try:
            return await self._admitted()
        except Failure as error:
            log.warning("an event stream can't ask whether it may go on", cause=error.private)
            return True

    async def _next(self) -> tuple[bytes, bool]:
        """The next page's text, and whether to ask for another at once."""
        try:
            page = await self._streams.stream.after(self._position, PAGE)
            following = (await self._streams.stream.head()).following(self._position) if page.lost else 0
        except PyMongoError as error:
            log.warning("an event stream waits for the database", cause=repr(error))
            await asyncio.sleep(LOOK_SECONDS)
            return b"", False
        out = []
        if page.lost:
            first = page.events[0].position if page.events else following
            out.append(_lost(self._position, first))
            self._position = first - 1
        out += [rendered(event) for event in page.events if self._wanted.admits(event)]
        if page.events:
            self._position = page.events[-1].position
        return b"".join(out), bool(page.events)


def rendered(event: Event) -> bytes:
    """One event; its JSON has no line end."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.position, event.kind.encode(), event.body())


def _lost(position: int, first: int) -> bytes:
    data = json.dumps({"type": "stream.gap", "after": position, "before": first}, separators=(",", ":"))
    return b"id: %d\nevent: stream.gap\ndata: %s\n\n" % (first - 1, data.encode())


async def _gone(receive: Receive) -> None:
    message: MutableMapping[str, object] = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
