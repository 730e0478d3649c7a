"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07) for every POST, the audit excepted: it streams.

A key belongs to the token that used it, and is kept for 24 hours with a fingerprint of the request. A repeat is given
the first answer again (`Idempotency-Replayed: true`); the same key for another request is 422; while the first still
runs, 409. Only success is kept: after a refusal the key is free, after a failure the same request may be tried again.

A process may die between what it did and this record. So the key of the store's mutation is chosen once, with the
record, and whoever takes up a request whose process went silent (it renews the record while it works) uses it again:
what was committed isn't done twice.
An answer that must not be stored (`Cache-Control: no-store`: it holds a secret) isn't: its repeat is told (409) that
it was done.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re

from mailboat_common import crash
from mailboat_common.asgi import AsgiApp, Receive, Scope, Send
from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.log import get_logger

from ..tokens import Token
from .context import CALLER, MUTATION_KEY
from .keys import Begun, Kept, Keys
from .problems import failed, problem

log = get_logger(__name__)

MAX_KEPT = 256 << 10
RENEW_SECONDS = 1.5
STREAMED = "/v1/audit"

_KEY = re.compile(rb'"?([\x21\x23-\x5b\x5d-\x7e]{1,200})"?')


class Idempotency:
    """The ASGI application around `app`; before it the gate has told who calls."""

    def __init__(self, app: AsgiApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"idempotency-key"), None)
        token: Token | None = scope.get(CALLER)
        if scope["method"] != "POST" or given is None or token is None or scope["path"] == STREAMED:
            await self._app(scope, receive, send)
            return
        key = _KEY.fullmatch(given.strip())
        if key is None:
            await problem(400, "An idempotency key has 1 to 200 visible characters")(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        try:
            begun = await self._keys.begin(token.token_id, key[1], fingerprint(scope, body))
        except Refused as refused:
            busy = refused.code is RefusedCode.CONFLICT
            headers = {"retry-after": "1"} if busy else None
            await problem(409 if busy else 422, refused.public, headers=headers)(scope, receive, send)
            return
        except Failure as error:
            await failed(scope["path"], error)(scope, receive, send)
            return
        if isinstance(begun, Kept):
            await _send(send, begun, replayed=True)
            return
        await self._run(begun, scope, body, send)

    async def _run(self, begun: Begun, scope: Scope, body: bytes, send: Send) -> None:
        """Lets the application answer, keeps a success, then answers."""
        answer = _Answer()
        scope[MUTATION_KEY] = begun.mutation
        renewing = asyncio.create_task(self._renew(begun))
        try:
            await self._app(scope, _given(body), answer)
            crash.point("rest.before_answer_kept")
        finally:  # an unexpected error is raised again when it has been answered with 500
            renewing.cancel()
            await self._keep(begun, answer)
            await _send(send, answer.kept(), replayed=False)

    async def _renew(self, begun: Begun) -> None:
        """Holds the record while the request runs, so that nobody takes it for dead."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._keys.renew(begun)
            except Failure as error:
                log.warning("a request's record isn't renewed", cause=error.private)

    async def _keep(self, begun: Begun, answer: _Answer) -> None:
        kept = answer.kept()
        try:
            if 200 <= kept.status < 300:
                keep_body = len(kept.body) <= MAX_KEPT and not answer.secret
                await self._keys.finish(begun, kept, keep_body=keep_body)
            elif kept.status < 500:
                await self._keys.forget(begun)
            else:
                await self._keys.release(begun)
        except Failure as error:  # what was done is done: the answer is true without its record
            log.warning("an answer's record is lost", cause=error.private)


class _Answer:
    """What the application sends, collected."""

    def __init__(self) -> None:
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    async def __call__(self, message: Scope) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(bytes(name).lower(), bytes(value)) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self._body.append(bytes(message.get("body", b"")))

    @property
    def secret(self) -> bool:
        return any(name == b"cache-control" and b"no-store" in value for name, value in self._headers)

    def kept(self) -> Kept:
        return Kept(self._status, tuple(self._headers), b"".join(self._body))


def fingerprint(scope: Scope, body: bytes) -> bytes:
    """What makes a request another one: its path, its query, its kind and its body."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    parts = (scope["path"].encode(), scope.get("query_string", b""), kind, hashlib.sha256(body).digest())
    return hashlib.sha256(json.dumps([part.hex() for part in parts]).encode()).digest()


async def _read(receive: Receive) -> bytes | None:
    """The whole body (bounded by the gate); None if the client has gone."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _given(body: bytes) -> Receive:
    async def receive() -> Scope:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _send(send: Send, answer: Kept, *, replayed: bool) -> None:
    headers = [(name, value) for name, value in answer.headers if name != b"idempotency-replayed"]
    if replayed:
        headers.append((b"idempotency-replayed", b"true"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
