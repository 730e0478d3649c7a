"""The internal calls as a raw ASGI application over any `Store`.

    POST /internal/v1/<Service>/<Method>     authorization: Bearer <caller's token>, x-deadline-ms, content-length
    GET  /internal/v1/ready                  200 or 503, for whoever can connect

Rules: the caller and its right to the method are known before the body is read; a body's length is announced and
bounded, and all bodies together have a budget; a call ends at its deadline; an answer that isn't 200 is an ErrorDetail
with a typed code; what isn't Refused or Failure is logged and becomes INTERNAL without a word about it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import cast

from mailboat.common.v1 import common_pb2 as common
from mailboat_common import metrics
from mailboat_common.asgi import Receive, Scope, Send, respond
from mailboat_common.errors import Failure, Refused, RefusedCode, Unavailable
from mailboat_common.limits import ByteBudget
from mailboat_common.log import get_logger
from mailboat_store_client.codec import to_error
from mailboat_store_client.ports import Store
from prometheus_client import Histogram

from ..db.driver import PyMongoError
from ..outage import as_failure
from .callers import ALLOWED, Callers
from .methods import GROWING, METHODS, READ, BadRequest, read_chunks

log = get_logger(__name__)

PREFIX = "/internal/v1/"
MAX_REQUEST = 160 << 20
BYTES_IN_FLIGHT = 256 << 20
BUDGET_SECONDS = 10.0
MAX_DEADLINE = 60.0
MAX_DIGITS = 16
PROTOBUF = b"application/x-protobuf"

_seconds = metrics.histogram("storage_call_duration_seconds", "Time to answer an internal call", ("method", "code"))
_observers: dict[tuple[str, int], Histogram] = {}


class _Denied(Exception):
    """Answered before the store is asked."""

    def __init__(self, status: int, code: common.ErrorCode, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.detail = common.ErrorDetail(code=code, private_text=text)


class InternalApp:
    """The ASGI application. `ready`: can this process answer now; `full`: is what grows to be refused."""

    def __init__(
        self,
        store: Store,
        callers: Callers,
        *,
        ready: Callable[[], bool],
        full: Callable[[], bool] = lambda: False,
        max_request: int = MAX_REQUEST,
        bytes_in_flight: int = BYTES_IN_FLIGHT,
    ) -> None:
        self._store = store
        self._callers = callers
        self._ready = ready
        self._full = full
        self._max_request = max_request
        self._budget = ByteBudget(bytes_in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == PREFIX + "ready" and scope["method"] == "GET":
            await respond(send, 200 if self._ready() else 503, b"", b"text/plain")
            return
        started = time.perf_counter()
        method = path[len(PREFIX) :] if path.startswith(PREFIX) else ""
        known = method in METHODS or method == READ
        try:
            code = await self._serve(method, scope, receive, send)
        except _Denied as denied:
            code = denied.detail.code
            log.warning("internal call denied", method=method if known else "unknown", cause=str(denied))
            await respond(send, denied.status, denied.detail.SerializeToString(), PROTOBUF)
        _observe(method if known else "unknown", code, time.perf_counter() - started)

    async def _serve(self, method: str, scope: Scope, receive: Receive, send: Send) -> int:
        """Admits, reads, calls, answers; returns the ErrorCode for the metric, 0 for success."""
        token, deadline, length = _headers(scope)
        caller = self._callers.identify(token)
        if caller is None:
            raise _Denied(401, common.ERROR_CODE_UNAUTHENTICATED, "unknown token")
        if method not in ALLOWED[caller]:
            raise _Denied(403, common.ERROR_CODE_FORBIDDEN, f"{caller} may not call this")
        if scope["method"] != "POST" or length < 0:
            raise _Denied(400, common.ERROR_CODE_BAD_REQUEST, "a call is a POST with a content-length")
        if length > self._max_request:
            raise _Denied(413, common.ERROR_CODE_TOO_BIG, f"{length} bytes; a call takes {self._max_request}")
        if not await self._budget.acquire(length, min(BUDGET_SECONDS, deadline)):
            raise _Denied(503, common.ERROR_CODE_UNAVAILABLE, "too many bytes in flight")
        try:
            if method in GROWING and self._full():
                raise Refused(RefusedCode.STORAGE_FULL, "The mail system is short of disk space")
            body = await _body(receive, length)
            async with asyncio.timeout(deadline):
                if method == READ:
                    await self._stream(body, send)
                else:
                    await _answer(send, await METHODS[method](self._store, body))
        except _Denied:
            raise
        except _Gone:
            return common.ERROR_CODE_UNAVAILABLE
        except BadRequest as error:
            raise _Denied(400, common.ERROR_CODE_BAD_REQUEST, str(error)) from error
        except Exception as error:
            status, detail = _explain(error, method, caller)
            await respond(send, status, detail.SerializeToString(), PROTOBUF)
            return detail.code
        finally:
            self._budget.release(length)
        return 0

    async def _stream(self, body: bytes, send: Send) -> None:
        """Sends chunks as they come. The head of the answer waits for the first chunk, so that a refusal can be told;
        after it a failure can only break the connection, which the client takes up elsewhere.
        """
        chunks = read_chunks(self._store, body)
        first = await anext(chunks, None)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"message/rfc822")]})
        if first is not None:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            try:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except Exception as error:
                log.warning("stream broke", cause=repr(error))
                raise _Gone from error
        await send({"type": "http.response.body", "body": b""})


class _Gone(Exception):
    """The connection can't take an answer any more; leaving the application ends it."""


def _headers(scope: Scope) -> tuple[bytes, float, int]:
    """(token, seconds left, content length or -1)."""
    token, deadline, length = b"", MAX_DEADLINE, -1
    for name, value in scope["headers"]:
        if name == b"authorization":
            token = value.removeprefix(b"Bearer ")
        elif name == b"content-length":
            length = int(value) if value.isdigit() and len(value) < MAX_DIGITS else -1
        elif name == b"x-deadline-ms" and value.isdigit() and len(value) < MAX_DIGITS:
            deadline = min(int(value) / 1000, MAX_DEADLINE)
    return token, deadline, length


async def _body(receive: Receive, length: int) -> bytes:
    message = await receive()
    if message["type"] != "http.request":
        raise _Gone
    if not message.get("more_body", False):
        return cast(bytes, message["body"])
    pieces = [message["body"]]
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        pieces.append(message["body"])
    body = b"".join(pieces)
    if len(body) != length:
        raise BadRequest("the body isn't as long as announced")
    return body


async def _answer(send: Send, pieces: Sequence[bytes]) -> None:
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    await respond(send, 200, body, PROTOBUF)


def _explain(error: Exception, method: str, caller: str) -> tuple[int, common.ErrorDetail]:
    """Status and body for what a call raised; logs what is our fault."""
    if isinstance(error, Refused):
        return 409, to_error(error)
    if isinstance(error, TimeoutError):
        return 504, common.ErrorDetail(code=common.ERROR_CODE_DEADLINE, private_text="deadline exceeded")
    if isinstance(error, PyMongoError):
        error = as_failure(error)
    if isinstance(error, Unavailable):
        log.warning("call unavailable", method=method, caller=caller, cause=error.private)
        return 503, to_error(error)
    if isinstance(error, Failure):
        log.error("call failed", method=method, caller=caller, cause=error.private)
        return 500, to_error(error)
    log.error("call failed", method=method, caller=caller, exc_info=error)
    return 500, common.ErrorDetail(code=common.ERROR_CODE_INTERNAL)


def _observe(method: str, code: int, seconds: float) -> None:
    observer = _observers.get((method, code))
    if observer is None:
        name = common.ErrorCode.Name(code).removeprefix("ERROR_CODE_").lower()
        observer = _observers[method, code] = _seconds.labels(method, name if code else "ok")
    observer.observe(seconds)
