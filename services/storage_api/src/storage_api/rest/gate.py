"""What happens to a request before the routes see it: who calls, how much may come, and which path it is.

Rules: a stranger is sent away before the body is read; a body is bounded, and large ones have a budget for all
requests together, which nobody keeps: a body comes at a pace; a path is decoded but for %2F and %25, so that a
mailbox's name can hold "/" and stay one segment (the convertor `encoded` decodes the rest).
"""

from __future__ import annotations

import asyncio
import re
import time
from urllib.parse import unquote_to_bytes

from mailboat_common import metrics
from mailboat_common.asgi import AsgiApp, Receive, Scope, Send
from mailboat_common.errors import Failure
from mailboat_common.limits import ByteBudget

from ..tokens import Tokens
from .context import CALLER, bearer
from .problems import failed, problem

_seconds = metrics.histogram("rest_request_duration_seconds", "Time to answer a REST request", ("operation", "code"))

MAX_REQUEST = 4 << 20
MAX_MESSAGE = 50 << 20
MAX_JSON_MESSAGE = 70 << 20  # base64 makes four octets of three
JSON_COPIES = 3  # of a large body: as it came, parsed, and as the message that is made of it
MAX_BATCH = MAX_MESSAGE + (1 << 20)  # the lines before the messages
LARGE = 256 << 10
BUDGET_SECONDS = 10.0
PACE_BYTES = 64 << 10
PACE_SECONDS = 60.0  # for each PACE_BYTES of a body
OPEN = "/v1/openapi.json"

_KEPT = re.compile(rb"(%2[Ff]|%25)")
_ACCOUNT = r"/v1/(?:me|accounts/[^/]+)"
_WITH_MESSAGE = re.compile(_ACCOUNT + r"/(?:mailboxes/[^/]+/messages|submit/raw)")
_WITH_ATTACHMENTS = re.compile(_ACCOUNT + r"/submit")
_BATCH = re.compile(_ACCOUNT + r"/mailboxes/[^/]+/messages:batch")


class Gate:
    """The ASGI application around `app`."""

    def __init__(self, app: AsgiApp, tokens: Tokens, bytes_in_flight: int) -> None:
        self._app = app
        self._tokens = tokens
        self._budget = ByteBudget(max(bytes_in_flight, JSON_COPIES * MAX_JSON_MESSAGE))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 500

        async def observed(message: Scope) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._serve(scope, receive, observed)
        finally:
            endpoint = scope.get("endpoint")
            operation = endpoint.__name__ if endpoint is not None and CALLER in scope else "none"
            _seconds.labels(operation, f"{status // 100}xx").observe(time.perf_counter() - started)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = decoded_path(scope.get("raw_path") or scope["path"].encode())
        if scope["path"] != OPEN:
            try:
                text = bearer(scope)
                token = await self._tokens.identify(text) if text else None
            except Failure as error:
                await failed(scope["path"], error)(scope, receive, send)
                return
            if token is None:
                headers = {"www-authenticate": "Bearer"}
                await problem(401, "A valid bearer token is needed", headers=headers)(scope, receive, send)
                return
            scope[CALLER] = token
        limit = _limit(scope["path"])
        length = _length(scope)
        if length is None or length > limit:
            await problem(413, f"A request here has at most {limit} octets")(scope, receive, send)
            return
        copies = 1 if limit == MAX_MESSAGE else JSON_COPIES
        large = length * copies if length > LARGE else 0
        if large and not await self._budget.acquire(large, BUDGET_SECONDS):
            headers = {"retry-after": "5"}
            await problem(503, "Too much is being uploaded, try again later", headers=headers)(scope, receive, send)
            return
        try:
            await self._app(scope, _bounded(receive, max(length, MAX_REQUEST)), send)
        finally:
            self._budget.release(large)


def _limit(path: str) -> int:
    """Octets of a body under this path."""
    if _WITH_MESSAGE.fullmatch(path):
        return MAX_MESSAGE
    if _BATCH.fullmatch(path):
        return MAX_BATCH
    return MAX_JSON_MESSAGE if _WITH_ATTACHMENTS.fullmatch(path) else MAX_REQUEST


def decoded_path(raw: bytes) -> str:
    """A path as the routes match it: decoded, but for the encoded forms of "/" and "%"."""
    pieces = _KEPT.split(raw.partition(b"?")[0])
    return b"".join(piece if number % 2 else unquote_to_bytes(piece) for number, piece in enumerate(pieces)).decode(
        "utf-8", "replace"
    )


def _length(scope: Scope) -> int | None:
    """The announced length, 0 if none is; None for one that is no number."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(value) if value.isdigit() and len(value) < 16 else None


def _bounded(receive: Receive, limit: int) -> Receive:
    """A body of that many octets that keeps its pace; for any other the client is gone: it gets no further hearing."""
    received = paced = 0
    whole = False
    loop = asyncio.get_running_loop()
    due = loop.time() + PACE_SECONDS

    async def bounded() -> Scope:
        nonlocal received, paced, whole, due
        if whole:
            return await receive()  # the end of the connection, whenever it comes
        try:
            async with asyncio.timeout_at(due):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        size = len(message.get("body", b""))
        received, paced = received + size, paced + size
        if received > limit:
            return {"type": "http.disconnect"}
        if paced >= PACE_BYTES:
            paced, due = 0, loop.time() + PACE_SECONDS
        whole = not message.get("more_body", False)
        return message

    return bounded
