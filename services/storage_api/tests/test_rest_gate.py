"""Before the routes: a body that doesn't come gives back what it holds of the budget that all requests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from mailboat_common.asgi import Receive, Scope, Send, respond
from storage_api.rest import gate
from storage_api.tokens import Token, Tokens

PATH = "/v1/me/submit/raw"


class AnyToken:
    """Everybody is somebody."""

    async def identify(self, _text: str) -> Token:
        return cast(Token, object())


async def _count(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the body, or 400 if the client is gone before its end."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            await respond(send, 400, b"gone", b"text/plain")
            return
        length += len(message["body"])
        more = message.get("more_body", False)
    await respond(send, 200, str(length).encode(), b"text/plain")


class Guarded:
    """Requests through a gate with room for one large body."""

    def __init__(self) -> None:
        self.gate = gate.Gate(_count, cast(Tokens, AnyToken()), 1)

    async def post(self, length: int, pieces: Callable[[], Any]) -> tuple[int, bytes]:
        answers: list[Any] = []

        async def send(message: Scope) -> None:
            answers.append(message)

        headers = [(b"authorization", b"Bearer t"), (b"content-length", b"%d" % length)]
        scope = {"type": "http", "path": PATH, "raw_path": PATH.encode(), "method": "POST", "headers": headers}
        await self.gate(scope, pieces, send)
        return answers[0]["status"], answers[1]["body"]


def piece(size: int, *, more: bool) -> Scope:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


async def test_a_body_that_does_not_come_gives_its_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PACE_SECONDS", 0.1)
    guarded = Guarded()

    async def nothing() -> Scope:
        return cast(Scope, await asyncio.get_running_loop().create_future())

    assert await guarded.post(50 << 20, nothing) == (400, b"gone")
    assert guarded.gate._budget.used == 0


async def test_a_body_in_drips_gives_its_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PACE_SECONDS", 0.2)
    guarded = Guarded()
    loop = asyncio.get_running_loop()

    async def drip() -> Scope:
        await asyncio.wait((loop.create_future(),), timeout=0.02)
        return piece(1, more=True)

    assert await guarded.post(50 << 20, drip) == (400, b"gone")
    assert guarded.gate._budget.used == 0


async def test_a_body_at_its_pace_is_read_and_the_end_may_be_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than PACE_SECONDS in all, but PACE_BYTES within each."""
    monkeypatch.setattr(gate, "PACE_SECONDS", 0.3)
    guarded = Guarded()
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), 0

    async def steady() -> Scope:
        nonlocal sent
        await asyncio.wait((loop.create_future(),), timeout=0.02)
        sent += 1
        return piece(gate.PACE_BYTES, more=loop.time() - start < 0.7)

    status, length = await guarded.post(50 << 20, steady)
    assert (status, int(length)) == (200, sent * gate.PACE_BYTES)
