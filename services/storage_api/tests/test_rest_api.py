"""The REST API on a real mongod: what operators do, who may, and what every error looks like."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from mailboat_common.ids import decode_id, encode_id, trace_id, uuid7
from mailboat_store_client.types import AppendMessage
from storage_api.assembly import Api, now_ms
from storage_api.rest import gate, problems
from storage_api.store.hooks import TraceEvent

from tests.support.rest import BCRYPT, BOOTSTRAP, PASSWORD, World, add


async def test_domains(world: World) -> None:
    path = f"/domains/{world.domain}"
    status, domain = await world.call("GET", path)
    assert (status, domain["name"], domain["admin"]) == (200, world.domain, None)
    assert (await world.call("POST", "/domains", {"name": world.domain}))[0] == 409
    assert (await world.call("POST", "/domains", {"name": "no domain"}))[0] == 400
    await add(world, "alice")
    await add(world, "bob")
    status, domain = await world.call("PATCH", path, {"admin": world.at("bob")})
    assert (status, domain["admin"]) == (200, world.at("bob"))
    assert (await world.call("DELETE", path))[0] == 409
    for local in ("alice", "bob"):
        assert (await world.call("DELETE", f"/accounts/{world.at(local)}"))[0] == 204
    assert (await world.call("DELETE", path))[0] == 204
    assert (await world.call("GET", path))[0] == 404


async def test_accounts(world: World) -> None:
    made = await add(world, "Alice", quota_bytes=5000)
    names = ("address", "quota_bytes", "quota_messages", "used_bytes", "messages", "disabled")
    shown = {name: made[name] for name in names}
    assert shown == {
        "address": world.at("alice"),
        "quota_bytes": 5000,
        "quota_messages": 0,
        "used_bytes": 0,
        "messages": 0,
        "disabled": False,
    }
    assert made["imap_masked_capabilities"] == []
    path = f"/accounts/{world.at('alice')}"
    assert await world.call("GET", path) == (200, made)
    status, changed = await world.call("PATCH", path, {"disabled": True, "quota_bytes": 0})
    assert (status, changed["disabled"], changed["quota_bytes"]) == (200, True, 0)
    status, changed = await world.call("PATCH", path, {"quota_messages": 100})
    assert (status, changed["quota_bytes"], changed["quota_messages"]) == (200, 0, 100)
    assert (await world.call("PATCH", path, {"quota_messages": -1}))[0] == 422
    assert (await world.call("PATCH", path, {"password": "short"}))[0] == 400
    assert (await world.call("PATCH", path, {"password": "long enough"}))[0] == 200
    assert (await world.call("POST", "/accounts", {"address": world.at("alice"), "password_hash": BCRYPT}))[0] == 409
    assert (await world.call("POST", "/accounts", {"address": "a@nowhere.test", "password": PASSWORD}))[0] == 404
    assert (await world.call("POST", "/accounts", {"address": world.at("x")}))[0] == 400
    assert (await world.call("DELETE", path))[0] == 204
    assert (await world.call("GET", path))[0] == 404
    actions = [entry for entry in await world.audited("account.change") if entry["target"] == world.at("alice")]
    assert [entry["details"] for entry in actions] == [
        {"disabled": True, "quota_bytes": 0},
        {"quota_messages": 100},
        {"secret_changed": True},
    ]
    assert actions[0]["actor"] == {"id": "bootstrap", "name": "bootstrap"}


async def test_suppressions(world: World) -> None:
    token = await world.scoped("platform", "submit")

    async def listed(**query: str) -> list[str]:
        status, page = await world.call("GET", "/suppressions", limit=1000, **query)
        assert status == 200
        return [item["address"] for item in page["items"] if item["address"].endswith(f".{world.domain}")]

    bob, eve = f"bob@far.{world.domain}", f"eve@far.{world.domain}"
    path = f"/suppressions/{bob.upper()}"
    assert (await world.call("GET", path))[0] == 404
    status, made = await world.call("PUT", path, {"kind": "suppressed", "note": "asked for it"})
    assert (status, made["address"], made["kind"], made["reason"]) == (200, bob, "suppressed", "asked for it")
    assert made["expires_at"] is None
    assert await world.call("GET", path) == (200, made)
    until = {"kind": "allowed", "expires": "2100-01-01T00:00:00Z"}
    assert (await world.call("PUT", f"/suppressions/{eve}", until))[1]["expires_at"] == 4_102_444_800_000
    assert await listed() == [bob, eve]
    assert await listed(kind="allowed") == [eve]
    directory = world.api.store.directory
    assert [one.suppressed for one in await directory.resolve([bob, eve])] == [True, False]
    await add(world, "alice")
    mail = {"from": world.at("alice"), "to": [bob, eve], "text": "Hello"}
    status, sent = await world.call("POST", f"/accounts/{world.at('alice')}/submit", mail, token=token)
    assert (status, [r["status"] for r in sent["recipients"]]) == (202, ["refused", "queued"])
    assert sent["recipients"][0]["reason"].startswith("5.1.1 Suppressed: ")
    assert (await world.call("PUT", f"/suppressions/{world.at('alice')}", {}))[0] == 400, "mail for ours never leaves"
    assert (await world.call("PUT", "/suppressions/nobody", {}))[0] == 400
    assert (await world.call("PUT", path, {"kind": "hated"}))[0] == 422
    assert (await world.call("DELETE", path))[0] == 204
    assert (await world.call("DELETE", path))[0] == 404
    assert [entry["target"] for entry in await world.audited("suppression.put")][-2:] == [bob, eve]


async def test_hidden_imap_capabilities(world: World) -> None:
    await add(world, "alice")
    path = f"/accounts/{world.at('alice')}"
    status, changed = await world.call("PATCH", path, {"imap_masked_capabilities": ["idle", "CONDSTORE", "Idle"]})
    assert (status, changed["imap_masked_capabilities"]) == (200, ["CONDSTORE", "IDLE"])
    found = await world.api.store.directory.authenticate(
        world.at("alice"), PASSWORD, protocol="imap", client="192.0.2.1"
    )
    assert found.imap_masked_capabilities == ("CONDSTORE", "IDLE")
    for names, reason in ((["NONSENSE"], "NONSENSE"), (["IDLE", "imap4REV1"], "IMAP4rev1 can't be masked")):
        status, problem = await world.call("PATCH", path, {"imap_masked_capabilities": names, "disabled": True})
        assert (status, reason in str(problem), "UIDPLUS" in str(problem)) == (400, True, True)
    assert (await world.call("PATCH", path, {"imap_masked_capabilities": ["x" * 65]}))[0] == 422
    assert (await world.call("GET", path))[1]["imap_masked_capabilities"] == ["CONDSTORE", "IDLE"]
    assert (await world.call("GET", path))[1]["disabled"] is False
    status, changed = await world.call("PATCH", path, {"imap_masked_capabilities": []})
    assert (status, changed["imap_masked_capabilities"]) == (200, [])


async def test_the_days_of_pop3_are_the_domains_or_the_accounts_own(world: World) -> None:
    made = await add(world, "alice")
    domain, account = f"/domains/{world.domain}", f"/accounts/{world.at('alice')}"
    assert made["pop3_retention_days"] is None
    assert (await world.call("GET", domain))[1]["pop3_retention_days"] is None

    async def holds(path: str, days: Any) -> int | None:
        status, changed = await world.call("PATCH", path, {"pop3_retention_days": days})
        assert (status, changed["pop3_retention_days"]) == (200, days)
        assert (await world.call("GET", path))[1] == changed
        return await world.core.mongo.read.maildrop_retention(decode_id(made["id"]))

    assert await holds(domain, 30) == 30
    assert await holds(account, 7) == 7
    assert await holds(account, 0) == 0
    assert await holds(account, "never") is None
    assert await holds(account, None) == 30
    assert (await world.call("PATCH", account, {"disabled": False}))[1]["pop3_retention_days"] is None
    assert await holds(domain, None) is None
    for path, days in itertools.product((domain, account), (-1, 3651, 1.5, "30", "domain", True)):
        assert (await world.call("PATCH", path, {"pop3_retention_days": days}))[0] == 422
    assert (await world.call("PATCH", domain, {"pop3_retention_days": "never"}))[0] == 422
    assert (await world.call("PATCH", domain, {}))[0] == 422
    for path in ("/domains/nowhere.test", f"/accounts/{world.at('nobody')}"):
        assert (await world.call("PATCH", path, {"pop3_retention_days": 1}))[0] == 404
    details = [e["details"] for e in await world.audited("domain.change") if e["target"] == world.domain]
    assert details == [{"pop3_retention_days": 30}, {"pop3_retention_days": None}]
    own = await world.scoped(f"domain:{world.domain}")
    assert (await world.call("PATCH", account, {"pop3_retention_days": 9}, token=own))[0] == 200
    assert (await world.call("PATCH", domain, {"pop3_retention_days": 9}, token=own))[0] == 403


async def test_lists_go_page_by_page(world: World) -> None:
    for number in range(5):
        await add(world, f"a{number}")
    seen, query = [], {"domain": world.domain, "limit": 2}
    while True:
        status, page = await world.call("GET", "/accounts", **query)
        assert status == 200
        seen += [item["address"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == [world.at(f"a{number}") for number in range(5)]
    for bad in ({"limit": 0}, {"limit": 1001}, {"limit": "x"}):
        assert (await world.call("GET", "/accounts", **bad))[0] == 422
    assert (await world.call("GET", "/accounts", cursor="\u00e9"))[0] == 400
    assert (await world.call("GET", "/domains", limit=1))[1]["next"] is not None or world.domain
    assert [item["id"] for item in (await world.call("GET", "/tokens", limit=1000))[1]["items"]].count("bootstrap") == 1


async def test_a_batch_is_idempotent_and_judges_rows_one_by_one(world: World) -> None:
    rows = [
        {"address": world.at("a"), "password_hash": BCRYPT, "quota_bytes": 100},
        {"address": world.at("b"), "password": PASSWORD},
        {"address": world.at("c"), "password": "short"},
        {"address": "not an address", "password": PASSWORD},
        {"address": world.at("d")},
        {"address": "e@nowhere.test", "password": PASSWORD},
    ]

    async def put() -> list[str]:
        status, answer = await world.call("POST", "/accounts:batch", {"accounts": rows})
        assert status == 200
        assert [result["address"] for result in answer["results"]] == [row["address"] for row in rows]
        assert all((result["error"] is not None) == (result["result"] == "error") for result in answer["results"])
        return [result["result"] for result in answer["results"]]

    assert await put() == ["created", "created", "error", "error", "error", "error"]
    assert await put() == ["unchanged", "unchanged", "error", "error", "error", "error"]
    rows[0]["quota_bytes"] = 200
    rows[1]["password"] = "another horse"
    assert (await put())[:2] == ["updated", "updated"]
    too_many = {"accounts": [rows[0]] * 501}
    assert (await world.call("POST", "/accounts:batch", too_many))[0] == 422


async def test_tokens_and_scopes(world: World) -> None:
    await add(world, "alice")
    assert (await world.call("POST", "/tokens", {"name": "x", "scopes": ["everything"]}))[0] == 400
    assert (await world.call("POST", "/tokens", {"name": "x", "scopes": []}))[0] == 422
    mine = await world.scoped(f"domain:{world.domain.upper()}")
    for method, path, body, status in (
        ("GET", f"/accounts/{world.at('alice')}", None, 200),
        ("POST", "/accounts", {"address": world.at("new"), "password_hash": BCRYPT}, 201),
        ("GET", "/accounts", None, 403),
        ("GET", "/accounts/x@elsewhere.test", None, 403),
        ("GET", "/accounts/nonsense", None, 403),
        ("POST", "/accounts", {"address": "x@elsewhere.test", "password_hash": BCRYPT}, 403),
        ("POST", "/domains", {"name": "x.test"}, 403),
        ("GET", "/tokens", None, 403),
        ("POST", "/tokens", {"name": "x", "scopes": ["platform"]}, 403),
        ("GET", f"/trace/{trace_id()}", None, 403),
        ("POST", "/audit", None, 403),
    ):
        assert (await world.call(method, path, body, token=mine))[0] == status, (method, path)
    assert (await world.call("GET", "/accounts", token=mine, domain=world.domain))[0] == 200
    assert (await world.call("GET", "/accounts", token=mine, domain="elsewhere.test"))[0] == 403
    row = {"address": "x@elsewhere.test", "password_hash": BCRYPT}
    status, answer = await world.call("POST", "/accounts:batch", {"accounts": [row]}, token=mine)
    assert (status, answer["results"][0]["result"]) == (200, "error")

    _, tokens = await world.call("GET", "/tokens", limit=1000)
    (token_id,) = [item["id"] for item in tokens["items"] if item["scopes"] == [f"domain:{world.domain}"]]
    assert mine not in json.dumps(tokens)
    stored = await world.core.db["tokens"].find_one({"_id": token_id})
    assert mine.encode() not in stored["hash"]
    assert (await world.call("DELETE", f"/tokens/{token_id}"))[0] == 204
    assert (await world.call("DELETE", f"/tokens/{token_id}"))[0] == 404
    assert (await world.call("GET", f"/accounts/{world.at('alice')}", token=mine))[0] == 401


async def test_the_bootstrap_token_is_applied_again_and_changes_with_its_file(world: World) -> None:
    await world.api.tokens.bootstrap(BOOTSTRAP)
    assert (await world.call("GET", "/domains"))[0] == 200
    await world.api.tokens.bootstrap("the-second-token-0123456789")
    fresh = Api(world.core)
    assert await fresh.tokens.identify(BOOTSTRAP) is None
    assert (await fresh.tokens.identify("the-second-token-0123456789")).platform
    await fresh.close()
    await world.api.tokens.bootstrap(BOOTSTRAP)
    with pytest.raises(ValueError, match="shorter"):
        await world.api.tokens.bootstrap("short")


async def test_a_raw_message_needs_its_own_scope_and_is_audited(world: World) -> None:
    account = await add(world, "alice")
    account_id = (await world.core.db["accounts"].find_one({"address": world.at("alice")}))["_id"]
    assert account["id"] == encode_id(account_id)
    content = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 20_000
    result = await world.core.mongo.write.append(account_id, "INBOX", [AppendMessage(content)], key=uuid7())
    message = f"{encode_id(result.delta.mailbox_id)}.{result.uids[0]}"
    path = f"/v1/messages/{message}/raw"
    reader = await world.scoped(f"domain:{world.domain}", "read-mail")
    headers = {"authorization": f"Bearer {reader}"}
    answer = await world.http.get(path, params={"account": world.at("alice")}, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "message/rfc822")
    assert answer.content == content
    (entry,) = [e for e in await world.audited("message.read") if e["target"] == world.at("alice")]
    assert entry["details"] == {"message": message}
    without = await world.scoped(f"domain:{world.domain}")
    alien = await world.scoped("domain:elsewhere.test", "read-mail")
    for token, account_text, which, status in (
        (without, world.at("alice"), message, 403),
        (alien, world.at("alice"), message, 403),
        (reader, world.at("alice"), message + "1", 404),
        (reader, world.at("alice"), "nonsense", 404),
        (reader, world.at("alice"), f"{trace_id()}.1", 404),
        (reader, world.at("bob"), message, 404),
    ):
        query = {"account": account_text}
        assert (await world.call("GET", f"/messages/{which}/raw", token=token, **query))[0] == status
    assert (await world.call("GET", f"/messages/{message}/raw"))[0] == 422


async def test_a_trace_tells_the_journey(world: World) -> None:
    await add(world, "alice")
    account = await world.core.db["accounts"].find_one({"address": world.at("alice")})
    trace, at = trace_id(), now_ms()
    world.core.trace.record(
        [
            TraceEvent(trace, at + 1, "filed", account["_id"], account["inbox"], 7),
            TraceEvent(trace, at, "accepted", details={"client": "192.0.2.1", "recipients": 1}),
        ]
    )
    await world.core.trace.flush()
    status = 0
    async with asyncio.timeout(5):  # written with w=1, read with majority
        while status != 200:
            status, found = await world.call("GET", f"/trace/{trace.upper()}")
    accepted, filed = found["events"]
    assert (accepted["kind"], accepted["details"]) == ("accepted", {"client": "192.0.2.1", "recipients": 1})
    assert (filed["kind"], filed["account"], filed["mailbox"]) == ("filed", world.at("alice"), "INBOX")
    assert filed["message"] == f"{encode_id(account['inbox'])}.7"
    assert (await world.call("GET", f"/trace/{trace_id()}"))[0] == 404


async def test_the_audit_streams_lines_and_ends_with_a_summary(world: World) -> None:
    await add(world, "alice")
    headers = {"authorization": f"Bearer {BOOTSTRAP}"}
    answer = await world.http.post("/v1/audit", headers=headers, params={"deep": "true"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[-1]["summary"]["accounts"] >= 1


async def test_every_error_is_a_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await world.call("GET", "/nothing"))[0] == 404
    assert (await world.call("PUT", "/domains"))[0] == 405
    for token in ("", "nonsense", BOOTSTRAP + "x"):
        assert (await world.call("GET", "/domains", token=token))[0] == 401
    answer = await world.http.get("/v1/domains")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    for body in (None, [], {}, {"name": 5}, {"name": ""}, {"name": "x.test", "more": 1}):
        status, problem = await world.call("POST", "/domains", body)
        assert status == 422
        assert problem["errors"]
    secret = {"address": world.at("x"), "password": PASSWORD, "password_hash": BCRYPT}
    status, problem = await world.call("POST", "/accounts", secret)
    assert status == 422
    assert PASSWORD not in json.dumps(problem)

    cause = KeyError("the secret cause")
    logged: list[Any] = []

    class Log:
        def error(self, _event: str, *, path: str, exc_info: Exception) -> None:
            logged.append((path, exc_info))

    async def fail(*_: Any) -> None:
        raise cause

    monkeypatch.setattr(problems, "log", Log())

    monkeypatch.setattr(world.api.tokens, "page", fail)
    status, problem = await world.call("GET", "/tokens")
    assert (status, problem) == (500, {"type": "about:blank", "title": "Internal Server Error", "status": 500})
    assert logged == [("/v1/tokens", cause)]


async def test_a_request_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_REQUEST", 1000)
    status, _ = await world.call("POST", "/domains", {"name": "x" * 1000})
    assert status == 413
    headers = {"authorization": f"Bearer {BOOTSTRAP}", "content-type": "application/json"}

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    answer = await world.http.post("/v1/domains", content=endless(), headers=headers)
    assert answer.status_code >= 400


MAIL_PATHS = {
    root + path
    for root in ("/v1/accounts/{address}", "/v1/me")
    for path in (
        "/mailboxes",
        "/mailboxes/{name}",
        "/mailboxes/{name}/messages",
        "/mailboxes/{name}/messages:batch",
        "/mailboxes/{name}/removed",
        "/forwarding",
        "/messages",
        "/messages/{message}",
        "/messages/{message}/raw",
        "/messages/{message}/parts/{path}",
        "/messages/{message}/move",
        "/messages/{message}/copy",
        "/submit",
        "/submit/raw",
    )
}


async def test_messages_may_be_larger_and_large_bodies_wait_for_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(world, "alice")
    path = f"/accounts/{world.at('alice')}/mailboxes/INBOX/messages"
    monkeypatch.setattr(gate, "MAX_REQUEST", 100)
    monkeypatch.setattr(gate, "MAX_MESSAGE", 1000)
    monkeypatch.setattr(gate, "LARGE", 500)
    monkeypatch.setattr(gate, "BUDGET_SECONDS", 0.0)

    async def append(size: int) -> httpx.Response:
        return await world.raw("POST", path, b"x" * size, headers={"content-type": "message/rfc822"})

    assert [(await append(size)).status_code for size in (101, 1000, 1001)] == [201, 201, 413]
    budget = world.api.rest._budget
    assert budget.used == 0
    budget.try_acquire(budget.limit)
    answer = await append(501)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await append(500)).status_code == 201


async def test_the_description_is_served(world: World) -> None:
    answer = await world.http.get("/v1/openapi.json")
    paths = answer.json()["paths"]
    assert set(paths) == {
        "/v1/domains",
        "/v1/domains/{name}",
        "/v1/domains/{name}/catch-all",
        "/v1/aliases",
        "/v1/aliases/{address}",
        "/v1/groups",
        "/v1/groups/{address}",
        "/v1/groups/{address}/members",
        "/v1/groups/{address}/members/{member}",
        "/v1/domains/{name}/dns",
        "/v1/domains/{name}/dns/check",
        "/v1/domains/{name}/dkim",
        "/v1/domains/{name}/dkim/rotate",
        "/v1/domains/{name}/dkim/activate",
        "/v1/accounts",
        "/v1/accounts:batch",
        "/v1/accounts/{address}",
        "/v1/queue",
        "/v1/queue/domains",
        "/v1/queue/{queue_id}",
        *(f"/v1/queue:{action}" for action in ("retry", "hold", "release", "reroute", "remove", "bounce")),
        "/v1/transports",
        "/v1/transports/{key}",
        "/v1/suppressions",
        "/v1/suppressions/{recipient}",
        "/v1/events",
        "/v1/me/events",
        "/v1/webhooks",
        "/v1/webhooks/{webhook_id}",
        *(f"/v1/webhooks/{{webhook_id}}/{verb}" for verb in ("pause", "resume", "replay", "rotate-secret", "test")),
        "/v1/tokens",
        "/v1/tokens/{token_id}",
        *MAIL_PATHS,
        "/v1/me",
        "/v1/me/password",
        "/v1/messages/{message}/raw",
        "/v1/trace/{trace_id}",
        "/v1/audit",
        "/v1/restored",
        "/v1/restored/{label}",
    }
