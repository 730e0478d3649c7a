"""Idempotency keys: one effect, one answer, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from mailboat_common.errors import Unavailable
from mailboat_common.ids import uuid7
from storage_api.assembly import now_ms
from storage_api.rest import keys
from storage_api.rest.keys import Keys

from tests.support.rest import World, add

RFC822 = {"content-type": "message/rfc822"}


async def post(world: World, path: str, body: Any, key: str, **more: Any) -> httpx.Response:
    headers = {"idempotency-key": key.replace("k", world.domain), "content-type": "application/json"}
    return await world.raw("POST", path, json.dumps(body).encode(), headers=headers, **more)


async def test_a_repeat_is_given_the_first_answer(world: World) -> None:
    body = {"address": world.at("alice"), "password": "correct horse"}
    first = await post(world, "/accounts", body, "k1")
    again = await post(world, "/accounts", body, '"k1"')
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (await post(world, "/accounts", body, "k2")).status_code == 409  # really asked again
    for path, other in (("/accounts", {**body, "quota_bytes": 1}), ("/domains", body)):
        assert (await post(world, path, other, "k1")).status_code == 422
    assert (await post(world, "/accounts", body, "k1", x="1")).status_code == 422
    for bad in ("", '""', "x" * 201, "a b"):
        assert (await post(world, "/accounts", body, bad)).status_code == 400
    other_token = await world.scoped("platform")
    assert (await post(world, "/accounts", body, "k1", token=other_token)).status_code == 409


async def test_a_refused_request_frees_its_key(world: World) -> None:
    body = {"address": world.at("alice"), "password": "short"}
    assert (await post(world, "/accounts", body, "k")).status_code == 400
    body["password"] = "long enough"
    assert (await post(world, "/accounts", body, "k")).status_code == 201


async def test_a_message_is_appended_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await add(world, "alice")
    path = f"/accounts/{world.at('alice')}/mailboxes/INBOX/messages"

    async def append() -> httpx.Response:
        return await world.raw(
            "POST", path, b"Subject: x\r\n\r\nx", headers={**RFC822, "idempotency-key": world.domain}
        )

    async def count() -> int:
        return int((await world.call("GET", f"/accounts/{world.at('alice')}"))[1]["messages"])

    # It is committed, then we fail: the same request with the same key finds what was done.
    with monkeypatch.context() as patch:

        async def fail(*_: Any, **__: Any) -> None:
            raise Unavailable("the database is away")

        patch.setattr(type(world.audit_log), "record", fail)
        assert (await append()).status_code == 503
    assert await count() == 1
    answers = [await append(), await append()]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert await count() == 1


async def test_only_one_of_two_at_once_is_done(world: World) -> None:
    body = {"address": world.at("alice"), "password": "correct horse"}
    answers = await asyncio.gather(*[post(world, "/accounts", body, "k") for _ in range(5)])
    done = [answer for answer in answers if answer.status_code == 201]
    busy = [answer for answer in answers if answer.status_code == 409]
    assert (len(done) >= 1, len(done) + len(busy)) == (True, 5)
    assert all(answer.headers["retry-after"] == "1" for answer in busy)
    assert len({answer.text for answer in done}) == 1


async def test_a_dead_process_is_succeeded_by_the_next_request(world: World) -> None:
    now = now_ms()
    clock = [now]
    records = Keys(world.core.db, lambda: clock[0])
    fingerprint, key = uuid7(), uuid7()
    first = await records.begin("t", key, fingerprint)
    assert isinstance(first, keys.Begun)
    with pytest.raises(Exception, match="worked on"):
        await records.begin("t", key, fingerprint)
    clock[0] += keys.LEASE_MS
    await records.renew(first)
    clock[0] += keys.LEASE_MS
    with pytest.raises(Exception, match="worked on"):
        await records.begin("t", key, fingerprint)
    clock[0] += keys.LEASE_MS + 1
    second = await records.begin("t", key, fingerprint)
    assert isinstance(second, keys.Begun)
    assert second.mutation == first.mutation
    await records.finish(first, keys.Kept(200, (), b"late"), keep_body=True)  # it wasn't dead, only slow
    await records.finish(second, keys.Kept(201, ((b"a", b"b"),), b"done"), keep_body=True)
    assert await records.begin("t", key, fingerprint) == keys.Kept(201, ((b"a", b"b"),), b"done")


async def test_a_secret_is_not_kept_for_a_repeat(world: World) -> None:
    body = {"name": "x", "scopes": ["platform"]}
    made = await post(world, "/tokens", body, "k")
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert (await post(world, "/tokens", body, "k")).status_code == 409
    for record in await world.core.db["idempotency"].find({}):
        assert made.json()["token"].encode() not in record.get("body", b"")
