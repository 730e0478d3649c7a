"""Calls to storage_api: HTTP/1.1, protobuf bodies, deadlines, repeats.

Rules:
- A call has a deadline of up to 30 s (`CALL_SECONDS`). Within it what is safe to repeat is repeated: at once at another
  address, then with back-off. All reads are; all mutations carry a key; Deliver has its trace id.
- Only a broken connection, a time-out, 503 and 504 are repeated; any other answer is the answer.
- What is left of the deadline travels in `x-deadline-ms`; one try gets half of the deadline, so that a stopped process
  doesn't eat all of it.
- When the deadline is over the call fails with Unavailable. Nothing but Refused and Failure leaves this module.
- Connections are renewed about every minute, so that a new process behind an address gets its share.
- A process that was replaced has another address (a pod): when a try fails, and every second while nobody answers, the
  names are resolved again, by one task for all calls and never for two reasons at once. No call waits for a lookup.
  An address that vanished isn't tried any more, also by calls that wait already; a call it still works on may end.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress

import aiohttp
from google.protobuf.message import DecodeError
from mailboat.common.v1 import common_pb2 as common
from mailboat_common import metrics
from mailboat_common.errors import Failure, Internal, Refused, Unavailable
from mailboat_common.log import get_logger
from yarl import URL

from .balance import RESOLVE_SECONDS, Address, Balancer
from .codec import from_error

log = get_logger(__name__)

CALL_SECONDS = 30.0
CONNECT_SECONDS = 3.0
RENEW_SECONDS = 60.0
PROBE_SECONDS = 2.0
TELL_SECONDS = 1.0
LOOK_SECONDS = 1.0  # the names are resolved again at most this often
WAKE_SECONDS = 0.2  # calls that wait for an address use a new one within this time, not in one instant
JOIN_BELOW = 1 << 20  # larger bodies are sent in pieces instead of being joined
PIECE = 1 << 16
PATH = "/internal/v1/"

_up = metrics.dependency_up.labels("storage")
_BROKEN = (aiohttp.ClientError, OSError, TimeoutError, EOFError)


class _Repeat(Exception):
    """This try failed in a way another may not."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _Connections:
    """The connections to one address; they age together and are replaced together."""

    __slots__ = ("born", "retired", "session", "urls", "users")

    def __init__(self, address: Address) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0, use_dns_cache=False)
        self.session = aiohttp.ClientSession(
            base_url=None,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
        )
        self.born = time.monotonic() - random.uniform(0.0, RENEW_SECONDS / 4)  # noqa: S311 - spreads load
        self.urls: dict[str, URL] = {}
        self.users = 0
        self.retired = False

    def url(self, address: Address, method: str) -> URL:
        """The address of a method, parsed once."""
        url = self.urls.get(method)
        if url is None:
            url = self.urls[method] = URL(address.url + PATH + method)
        return url


class Channel:
    """Calls `<Service>/<Method>` at the best address. `start` before the first call, `close` after the last."""

    def __init__(
        self,
        balancer: Balancer,
        token: Callable[[], str],
        *,
        clock: Callable[[], float] = time.monotonic,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._balancer = balancer
        self._token = token
        self._clock = clock
        self._call_seconds = call_seconds
        self._connections: dict[Address, _Connections] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()
        self._moved = asyncio.Event()
        self._closed = False
        self._last_answer = float("-inf")
        self.up = False
        """Whether the last thing heard of storage_api was an answer."""

    async def start(self) -> None:
        """Resolves the names and begins to watch them."""
        await self._refresh()
        self._background = [
            asyncio.create_task(self._keep_resolving(), name="storage-resolve"),
            asyncio.create_task(self._keep_probing(), name="storage-probe"),
        ]

    async def close(self) -> None:
        """Ends the connections; calls that still run, and any later ones, fail as Unavailable."""
        self._closed = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._balancer.close()
        for connections in self._connections.values():
            await connections.session.close()
        self._connections.clear()
        await asyncio.gather(*self._retiring)

    async def call(self, method: str, body: Sequence[bytes], key: bytes | None = None, *, repeat: bool = True) -> bytes:
        """The answer's body. `body` is in pieces; `key` (account id, login) chooses the address, None: any.

        Raises Refused, or Failure; Unavailable at the end of the deadline, or at the first failure without `repeat`.
        """
        deadline = self._clock() + self._call_seconds
        if len(body) > 1 and sum(map(len, body)) < JOIN_BELOW:
            body = (b"".join(body),)
        tries = _Tries(self, key, deadline)
        while True:
            address = await tries.next_address(method)
            try:
                return await self._try(address, method, body, deadline)
            except _Repeat as failure:
                self._failed(address, method, failure)
                if not repeat:
                    raise Unavailable(f"{method}: {failure.cause}") from None
                tries.failed(address, failure)

    async def stream(self, method: str, body_from: Callable[[int], bytes]) -> AsyncIterator[bytes]:
        """The chunks of a streamed answer. A broken stream goes on elsewhere: `body_from(n)` asks for all but the
        first n bytes. The deadline is for the time without progress.
        """
        received = 0
        tries = _Tries(self, None, self._clock() + self._call_seconds)
        while True:
            address = await tries.next_address(method)
            try:
                async with aclosing(self._try_stream(address, method, body_from(received), tries.deadline)) as chunks:
                    async for chunk in chunks:
                        received += len(chunk)
                        tries = _Tries(self, None, self._clock() + self._call_seconds)
                        yield chunk
            except _Repeat as failure:
                self._failed(address, method, failure)
                tries.failed(address, failure)
            else:
                return

    async def ready(self) -> bool:
        """Whether any address says it is ready, now."""
        for address in self._balancer.addresses if not self._closed else ():
            connections = self._connect(address)
            connections.users += 1
            try:
                async with (
                    asyncio.timeout(CONNECT_SECONDS),
                    connections.session.get(connections.url(address, "ready")) as response,
                ):
                    if response.status == 200:
                        address.answered()
                        self._answered()
                        return True
            except _BROKEN as error:
                log.debug("storage doesn't answer", address=address.url, cause=repr(error))
            finally:
                self._release(connections)
        self._away()
        return False

    # One try

    async def _try(self, address: Address, method: str, body: Sequence[bytes], deadline: float) -> bytes:
        left = self._left(deadline)
        connections = self._connect(address)
        connections.users += 1
        address.in_flight += 1
        try:
            async with (
                asyncio.timeout(left),
                connections.session.post(
                    connections.url(address, method), data=_payload(body), headers=self._headers(left, body)
                ) as response,
            ):
                answer = await response.read()
        except _BROKEN as error:
            raise _Repeat(repr(error)) from None
        except RuntimeError as error:  # aiohttp: the session was closed
            raise Unavailable(f"{method}: {error}") from error
        finally:
            address.in_flight -= 1
            self._release(connections)
        if response.status != 200:
            raise _error(response.status, answer)
        address.answered()
        self._answered()
        return answer

    async def _try_stream(
        self, address: Address, method: str, body: bytes, deadline: float
    ) -> AsyncGenerator[bytes, None]:
        left = self._left(deadline)
        connections = self._connect(address)
        connections.users += 1
        address.in_flight += 1
        try:
            async with connections.session.post(
                connections.url(address, method),
                data=body,
                headers=self._headers(left, (body,)),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=left),
            ) as response:
                if response.status != 200:
                    raise _error(response.status, await response.read())
                address.answered()
                self._answered()
                async for chunk in response.content.iter_any():
                    yield chunk
        except _BROKEN as error:
            raise _Repeat(repr(error)) from None
        finally:
            address.in_flight -= 1
            self._release(connections)

    def _left(self, deadline: float) -> float:
        return min(max(deadline - self._clock(), 0.05), self._call_seconds / 2)

    def _headers(self, left: float, body: Sequence[bytes]) -> dict[str, str]:
        return {
            "authorization": "Bearer " + self._token(),
            "x-deadline-ms": str(int(left * 1000)),
            "content-length": str(sum(map(len, body))),
        }

    # Connections

    def _connect(self, address: Address) -> _Connections:
        connections = self._connections.get(address)
        if connections is not None and time.monotonic() - connections.born > RENEW_SECONDS:
            self._retire(self._connections.pop(address))
            connections = None
        if connections is None:
            connections = self._connections[address] = _Connections(address)
        return connections

    def _retire(self, connections: _Connections) -> None:
        connections.retired = True
        if not connections.users:
            self._close_later(connections)

    def _release(self, connections: _Connections) -> None:
        connections.users -= 1
        if connections.retired and not connections.users:
            self._close_later(connections)

    def _close_later(self, connections: _Connections) -> None:
        task = asyncio.create_task(connections.session.close(), name="storage-retire")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    # What we know of the service

    def _answered(self) -> None:
        self._last_answer = self._clock()
        if not self.up:
            self.up = True
            _up.set(1)
            log.info("storage answers")

    def _away(self) -> None:
        if self.up:
            log.warning("storage doesn't answer")
        self.up = False
        _up.set(0)
        self._look.set()

    def _failed(self, address: Address, method: str, failure: _Repeat) -> None:
        self._balancer.failed(address)
        self._look.set()
        now = self._clock()
        if now - address.told_at >= TELL_SECONDS:  # a thousand waiting sessions have one story
            address.told_at = now
            log.warning("storage call failed", method=method, address=address.url, cause=failure.cause)
        if all(other.down_until > now for other in self._balancer.addresses):
            self._away()

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.up and self._balancer.addresses:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RESOLVE_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311
                        await self._look.wait()
            self._look.clear()
            await self._refresh()

    async def _refresh(self) -> None:
        changed = await self._balancer.refresh()
        there = set(self._balancer.addresses)
        for address in [address for address in self._connections if address not in there]:
            self._retire(self._connections.pop(address))
        if changed:
            self._moved.set()
            self._moved = asyncio.Event()

    async def _keep_probing(self) -> None:
        while True:
            if self._clock() - self._last_answer >= PROBE_SECONDS:
                await self.ready()
            await asyncio.sleep(PROBE_SECONDS)

    async def pause(self, seconds: float) -> None:
        """Waits between two rounds of tries; no longer than until the addresses change."""
        self._look.set()
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            return
        await asyncio.sleep(random.uniform(0, min(seconds, WAKE_SECONDS)))  # noqa: S311 - spreads load


class _Tries:
    """The order in which one call tries addresses: each once, then a pause, then again, until its deadline."""

    __slots__ = ("_cause", "_channel", "_key", "_round", "_tried", "deadline")

    def __init__(self, channel: Channel, key: bytes | None, deadline: float) -> None:
        self._channel = channel
        self._key = key
        self._tried: list[Address] = []
        self._round = 0
        self._cause = "no address is known"
        self.deadline = deadline

    def failed(self, address: Address, failure: _Repeat) -> None:
        self._tried.append(address)
        self._cause = failure.cause

    async def next_address(self, method: str) -> Address:
        channel = self._channel
        balancer = channel._balancer
        while True:
            if channel._closed:  # a new connection would outlive the process's end, and nobody would close it
                raise Unavailable(f"{method}: the store client is closed")
            left = self.deadline - channel._clock()
            if left <= 0:
                raise Unavailable(f"{method}: {self._cause}", retry_after=1.0)
            key, tried = self._key, self._tried
            address = balancer.for_read(tried) if key is None else balancer.for_key(key, tried)
            if address is not None:
                return address
            self._tried.clear()
            spread = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load
            await channel.pause(min(left, 0.05 * 2.0 ** min(self._round, 5) * spread))
            self._round += 1


def _payload(body: Sequence[bytes]) -> bytes | AsyncIterator[bytes]:
    return body[0] if len(body) == 1 else _pieces(body)


async def _pieces(body: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in body:
        view = memoryview(part)
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]  # type: ignore[misc]  # aiohttp writes any bytes-like object


def _error(status: int, answer: bytes) -> Refused | Failure | _Repeat:
    try:
        detail = common.ErrorDetail.FromString(answer)
    except DecodeError:
        detail = common.ErrorDetail()
    if status in (503, 504):
        return _Repeat(f"status {status}: {detail.private_text}")
    if not detail.code:
        return Internal(f"storage answered status {status}")
    return from_error(detail)
