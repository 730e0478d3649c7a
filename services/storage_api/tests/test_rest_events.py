"""/v1/events and /v1/webhooks: who gets what, where a stream begins, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mailboat_common.ids import encode_id
from mailboat_store_client.types import AccountId
from storage_api.feed.dispatcher import Dispatcher
from storage_api.feed.egress import Answer
from storage_api.feed.relay import Relay
from storage_api.rest import paging, sse

from tests.support.rest import World, add, world
from tests.support.store import MESSAGE, envelope

__all__ = ["world"]

URL = "https://crm.example.test/hook"


class Stream:
    """A client of /v1/events."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = asyncio.Event()
        self._started = asyncio.Event()
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._text = b""
        self.gone = asyncio.Event()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._started.set()
            return
        self._pieces.put_nowait(message.get("body", b""))
        if not message.get("more_body"):
            self.ended.set()

    async def receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def begun(self) -> None:
        async with asyncio.timeout(10):
            await self._started.wait()

    async def block(self) -> dict[str, str]:
        """The fields of the next block, whatever it is."""
        async with asyncio.timeout(30):
            while b"\n\n" not in self._text:
                self._text += await self._pieces.get()
        text, _, self._text = self._text.partition(b"\n\n")
        return {name: value for name, _, value in (line.partition(": ") for line in text.decode().split("\n"))}

    async def event(self) -> dict[str, Any]:
        """The next event's data; its fields agree with it."""
        while "data" not in (block := await self.block()):
            continue
        data: dict[str, Any] = json.loads(block["data"])
        assert block["event"] == data["type"]
        assert block["id"] == str(data.get("position", block["id"]))
        return data


@asynccontextmanager
async def listening(
    world: World, query: str = "", *, token: str | None = None, path: str = "/v1/events", last: str = ""
) -> AsyncIterator[Stream]:
    """An open stream; a refusal is one with a status."""
    stream = Stream()
    headers = [(b"authorization", f"Bearer {token or world.token}".encode()), (b"accept", b"text/event-stream")]
    if last:
        headers.append((b"last-event-id", last.encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
    }

    async def serve() -> None:
        await world.api.rest(scope, stream.receive, stream.send)

    serving = asyncio.create_task(serve())
    await stream.begun()
    try:
        yield stream
    finally:
        stream.gone.set()
        async with asyncio.timeout(10):
            await serving


async def relay(world: World) -> None:
    while await Relay(world.core.db).run(0):
        pass


async def test_a_stream_shows_what_happens_to_accounts_and_mail(world: World) -> None:
    async with listening(world, f"domain={world.domain}") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in stream.headers
        address = (await add(world, "alice", quota_bytes=5000))["address"]
        await world.call("PATCH", f"/accounts/{address}", {"disabled": True})
        await world.call("PATCH", f"/accounts/{address}", {"disabled": True})
        await world.call("PATCH", f"/accounts/{address}", {"disabled": False, "quota_bytes": 6000})
        await world.call("PATCH", f"/accounts/{address}", {"password": "another long password"})
        entry = await world.core.db["addresses"].find_one({"_id": address})
        assert entry is not None
        account_id = AccountId(entry["a"])
        await world.core.mongo.delivery.deliver(envelope(account_id), MESSAGE)
        assert (await world.call("DELETE", f"/accounts/{address}"))[0] == 204
        await relay(world)
        events = [await stream.event() for _ in range(7)]
    assert [(event["type"], event["seq"]) for event in events] == [
        ("account.created", 1),
        ("account.disabled", 2),
        ("account.enabled", 3),
        ("account.quota_changed", 4),
        ("account.password_changed", 5),
        ("message.received", 6),
        ("account.deleted", 7),
    ]
    assert events[0]["data"] == {"quota_bytes": 5000, "quota_messages": 0}
    assert events[3]["data"] == {"quota_bytes": 6000, "quota_messages": 0}
    for event in events:
        assert event["account"] == address
        assert event["account_id"] == encode_id(account_id)
        assert event["domain"] == world.domain
        assert list(event) == ["id", "type", "time", "position", "domain", "account", "account_id", "seq", "data"]


async def test_a_stream_goes_on_where_another_ended(world: World) -> None:
    begin = (await world.core.stream.head()).last
    for local in ("a", "b", "c"):
        await add(world, local)
    await relay(world)
    async with listening(world, f"domain={world.domain}&after={begin}&type=account.created") as stream:
        first = await stream.event()
    async with listening(world, f"domain={world.domain}&after=0", last=str(first["position"])) as stream:
        rest = [await stream.event() for _ in range(2)]
    assert [event["account"] for event in [first, *rest]] == [world.at(local) for local in "abc"]
    async with listening(world, f"domain={world.domain}&since=1") as stream:
        assert (await stream.event())["account"] == world.at("a")


async def test_whoever_does_not_stream_gets_pages(world: World) -> None:
    begin = (await world.core.stream.head()).last
    for local in ("a", "b", "c"):
        await add(world, local)
    await relay(world)
    status, page = await world.call("GET", "/events", after=begin, domain=world.domain, limit=2)
    assert status == 200
    assert [event["account"] for event in page["items"]] == [world.at("a"), world.at("b")]
    _, page = await world.call("GET", "/events", after=page["next"], domain=world.domain)
    assert [event["account"] for event in page["items"]] == [world.at("c")]
    end = (await world.core.stream.head()).last
    assert (await world.call("GET", "/events", after=page["next"]))[1] == {"items": [], "next": end, "lost": False}
    assert (await world.call("GET", "/events"))[1] == {"items": [], "next": end, "lost": False}


async def test_a_gap_is_told(world: World) -> None:
    begin = (await world.core.stream.head()).last
    await add(world, "a")
    await relay(world)
    await add(world, "b")
    await relay(world)
    await Relay(world.core.db).prune(0, keep_ms=0, keep_events=1)
    async with listening(world, f"after={begin}") as stream:
        assert await stream.event() == {"type": "stream.gap", "after": begin, "before": begin + 2}
        assert (await stream.event())["account"] == world.at("b")


async def test_heartbeats_carry_the_position(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.0)
    async with listening(world, "domain=nothing.test") as stream:
        await add(world, "a")
        await relay(world)
        last = (await world.core.stream.head()).last
        while (await stream.block()).get("id") != str(last):
            continue


async def test_scopes(world: World) -> None:
    for local in ("alice", "bob"):
        await add(world, local)
    other = f"other.{world.domain}"
    await world.call("POST", "/domains", {"name": other})
    begin = (await world.core.stream.head()).last
    domain, own = await world.scoped(f"domain:{other}"), await world.scoped("self", account=world.at("alice"))
    await world.call("PATCH", f"/accounts/{world.at('bob')}", {"disabled": True})
    await world.call("PATCH", f"/accounts/{world.at('alice')}", {"quota_bytes": 1})
    await world.call("POST", "/accounts", {"address": f"x@{other}", "password": "a long password"})
    await relay(world)
    async with listening(world, f"after={begin}", token=domain) as stream:
        assert (await stream.event())["account"] == f"x@{other}"
    async with listening(world, f"after={begin}&type=account.quota_changed", token=own, path="/v1/me/events") as stream:
        assert (await stream.event())["account"] == world.at("alice")
    for token, query, status in (
        (domain, f"domain={world.domain}", 403),
        (own, "", 403),
        (await world.scoped("queue"), "", 403),
        (None, "type=nothing", 400),
        (None, "domain=no domain".replace(" ", "%20"), 400),
        (None, "account=nobody", 400),
        (None, f"after={1 << 40}", 400),
        (None, "after=-1", 422),
    ):
        async with listening(world, query, token=token) as stream:
            assert stream.status == status, query
    async with listening(world, last="x") as stream:
        assert stream.status == 400


async def test_streams_are_bounded_and_end_at_the_drain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PER_TOKEN", 1)
    monkeypatch.setattr(sse, "LOOK_SECONDS", 0.01)
    async with listening(world) as first:
        async with listening(world) as second:
            assert second.status == 503
            assert "retry-after" in second.headers
        async with listening(world, token=await world.scoped("platform")) as third:
            assert third.status == 200
            draining = asyncio.Event()
            draining.set()
            world.api._draining = draining.is_set
            async with asyncio.timeout(10):
                await asyncio.gather(first.ended.wait(), third.ended.wait())
    async with listening(world) as again:
        assert again.status == 200


async def test_a_stream_ends_with_what_lets_its_caller_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token revoked, its account disabled, its account removed: the stream ends, and no other is begun."""
    monkeypatch.setattr(sse, "ADMITTED_SECONDS", 0.0)
    monkeypatch.setattr(sse, "LOOK_SECONDS", 0.01)
    for local in ("alice", "bob", "carol"):
        await add(world, local)
    _, made = await world.call("POST", "/tokens", {"name": "t", "scopes": [f"domain:{world.domain}"]})
    own = {local: await world.scoped("self", account=world.at(local)) for local in ("alice", "bob", "carol")}
    path = "/v1/me/events"
    async with (
        listening(world, f"domain={world.domain}", token=made["token"]) as managed,
        listening(world, token=own["alice"], path=path) as disabled,
        listening(world, token=own["bob"], path=path) as removed,
        listening(world, token=own["carol"], path=path) as stays,
    ):
        for stream in (managed, disabled, removed, stays):
            assert stream.status == 200
        await world.call("DELETE", f"/tokens/{made['id']}")
        await world.call("PATCH", f"/accounts/{world.at('alice')}", {"disabled": True})
        await world.call("DELETE", f"/accounts/{world.at('bob')}")
        async with asyncio.timeout(10):
            await asyncio.gather(managed.ended.wait(), disabled.ended.wait(), removed.ended.wait())
        await world.call("PATCH", f"/accounts/{world.at('carol')}", {"quota_bytes": 1})
        await relay(world)
        assert (await stays.event())["account"] == world.at("carol")
    for token, where, status in (
        (made["token"], "/v1/events", 401),
        (own["alice"], path, 403),
        (own["bob"], path, 401),
    ):
        async with listening(world, token=token, path=where) as stream:
            assert stream.status == status


async def test_webhooks(world: World) -> None:
    status, made = await world.call(
        "POST", "/webhooks", {"url": URL, "types": ["message.received"], "description": "x"}
    )
    assert status == 201
    assert made["secret"].startswith("whsec_")
    path = f"/webhooks/{made['id']}"
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert await world.call("GET", path) == (200, shown)
    assert (shown["state"], shown["types"], shown["failures"]) == ("active", ["message.received"], 0)
    assert shown in (await world.call("GET", "/webhooks"))[1]["items"]
    assert (await world.call("POST", path + "/pause"))[1]["state"] == "paused"
    assert (await world.call("POST", path + "/resume"))[1]["state"] == "active"
    assert (await world.call("POST", path + "/replay", {"position": 0}))[1]["position"] == 0
    assert (await world.call("POST", path + "/replay", {"since": "2020-01-01"}))[0] == 200
    assert (await world.call("POST", path + "/replay", {"position": 0, "since": "2020-01-01"}))[0] == 400
    assert (await world.call("POST", path + "/replay", {"position": 1 << 50}))[0] == 400
    status, rotated = await world.call("POST", path + "/rotate-secret", {"overlap_hours": 2})
    assert (status, rotated["secret"].startswith("whsec_"), rotated["secret"] != made["secret"]) == (200, True, True)
    assert rotated["old_secrets_until"] > rotated["created_at"]
    assert "secret" not in (await world.call("GET", path))[1]
    assert (await world.call("POST", path + "/rotate-secret", {"overlap_hours": 0}))[1]["old_secrets_until"] == 0
    assert (await world.call("POST", path + "/rotate-secret", {"overlap_hours": 721}))[0] == 422
    assert rotated["secret"] not in str(await world.audited("webhook.rotate_secret"))
    assert (await world.call("DELETE", path))[0] == 204
    assert (await world.call("POST", path + "/rotate-secret", {}))[0] == 404
    for method, verb in (("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/test")):
        assert (await world.call(method, path + verb))[0] == 404
    assert (await world.call("GET", "/webhooks/nonsense"))[0] == 404
    assert (await world.call("GET", "/webhooks", cursor=paging.encode("nonsense")))[0] == 400
    assert (await world.call("POST", "/webhooks", {"url": "ftp://x.test/"}))[0] == 400
    assert (await world.call("POST", "/webhooks", {"url": URL, "types": ["nothing"]}))[0] == 400
    assert [entry["target"] for entry in await world.audited("webhook.create")].count(made["id"]) == 1


async def test_a_domains_token_has_webhooks_of_its_own(world: World) -> None:
    token = await world.scoped(f"domain:{world.domain}")
    _, everything = await world.call("POST", "/webhooks", {"url": URL})
    status, own = await world.call("POST", "/webhooks", {"url": URL}, token=token)
    assert (status, own["domains"]) == (201, [world.domain])
    assert (await world.call("POST", "/webhooks", {"url": URL, "domains": ["other.test"]}, token=token))[0] == 403
    listed = (await world.call("GET", "/webhooks", token=token))[1]["items"]
    assert [each["id"] for each in listed] == [own["id"]]
    for verb in ("", "/pause"):
        method = "POST" if verb else "GET"
        assert (await world.call(method, f"/webhooks/{own['id']}{verb}", token=token))[0] == 200
        assert (await world.call(method, f"/webhooks/{everything['id']}{verb}", token=token))[0] == 404
    for each in (everything, own):
        await world.call("DELETE", f"/webhooks/{each['id']}")


async def test_a_test_delivery_says_what_came_of_it(world: World) -> None:
    _, made = await world.call("POST", "/webhooks", {"url": URL})

    class Receiver:
        async def post(self, _url: str, _headers: dict[str, str], _body: bytes) -> Answer:
            return Answer(503, "status 503: the receiver refused it", "refused", 0.25)

    dispatcher = Dispatcher(world.core.db, world.core.stream, Receiver(), lambda: 1)  # type: ignore[arg-type]
    working = asyncio.create_task(dispatcher.run())
    status, result = await world.call("POST", f"/webhooks/{made['id']}/test")
    await dispatcher.stop(0)
    await working
    assert status == 200
    assert result == {"status": 503, "error": "status 503: the receiver refused it", "seconds": 0.25}
    await world.call("DELETE", f"/webhooks/{made['id']}")
