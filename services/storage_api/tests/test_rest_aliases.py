"""Aliases, groups, catch-all and forwarding over REST: what is answered, who may, what the audit log holds."""

from __future__ import annotations

from tests.support.rest import World, add


async def test_aliases(world: World) -> None:
    await add(world, "alice")
    await add(world, "bob")
    body = {"address": world.at("Sales"), "account": world.at("alice")}
    status, alias = await world.call("POST", "/aliases", body)
    assert (status, alias["address"], alias["account"]) == (201, world.at("sales"), world.at("alice"))
    assert (await world.call("POST", "/aliases", body))[0] == 409
    assert (await world.call("POST", "/accounts", {"address": world.at("sales"), "password": "long enough"}))[0] == 409
    for wrong in ({**body, "account": world.at("nobody")}, {**body, "address": "x@nowhere.test"}):
        assert (await world.call("POST", "/aliases", wrong))[0] in (404, 409)
    assert (await world.call("POST", "/aliases", {**body, "address": "nonsense"}))[0] == 400
    assert (await world.call("GET", f"/aliases/{world.at('sales')}")) == (200, alias)
    await world.call("POST", "/aliases", {**body, "address": world.at("help")})
    status, page = await world.call("GET", "/aliases", domain=world.domain, limit=1)
    assert [one["address"] for one in page["items"]] == [world.at("help")]
    status, page = await world.call("GET", "/aliases", domain=world.domain, cursor=page["next"])
    assert ([one["address"] for one in page["items"]], page["next"]) == ([world.at("sales")], None)
    status, page = await world.call("GET", "/aliases", account=world.at("bob"))
    assert page["items"] == []
    assert (await world.call("GET", f"/accounts/{world.at('sales')}"))[0] == 404  # an account has one name
    assert (await world.call("DELETE", f"/aliases/{world.at('alice')}"))[0] == 404
    assert (await world.call("DELETE", f"/aliases/{world.at('sales')}"))[0] == 204
    assert (await world.call("DELETE", f"/aliases/{world.at('sales')}"))[0] == 404
    logged = [one for one in await world.audited("alias.add") if one["target"] == world.at("sales")]
    assert [one["details"] for one in logged] == [{"account": world.at("alice")}]


async def test_groups(world: World) -> None:
    await add(world, "alice")
    body = {"address": world.at("team"), "members": [world.at("Alice"), "bob@far.test"]}
    status, group = await world.call("POST", "/groups", body)
    assert (status, group["members"], group["who"]) == (201, [world.at("alice"), "bob@far.test"], "anyone")
    path = f"/groups/{world.at('team')}"
    assert (await world.call("POST", "/groups", body))[0] == 409
    assert (await world.call("PATCH", path, {"who": "nobody"}))[0] == 422
    assert (await world.call("PATCH", path, {}))[0] == 422
    status, group = await world.call("PATCH", path, {"who": "members", "owner": world.at("alice")})
    assert (group["who"], group["owner"]) == ("members", world.at("alice"))
    status, group = await world.call("PATCH", path, {"owner": None})
    assert (group["who"], group["owner"]) == ("members", None)
    status, group = await world.call("POST", path + "/members", {"members": ["c@far.test", "bob@far.test"]})
    assert group["members"] == [world.at("alice"), "bob@far.test", "c@far.test"]
    status, group = await world.call("DELETE", path + "/members/BOB@far.test")
    assert (status, group["members"]) == (200, [world.at("alice"), "c@far.test"])
    status, group = await world.call("PATCH", path, {"members": []})
    assert await world.call("GET", path) == (200, group)
    assert (await world.call("GET", "/groups", domain=world.domain))[1]["items"] == [group]
    assert (await world.call("DELETE", f"/domains/{world.domain}"))[0] == 409
    assert (await world.call("DELETE", path))[0] == 204
    assert (await world.call("GET", path))[0] == 404
    assert (await world.call("POST", path + "/members", {"members": ["c@far.test"]}))[0] == 404


async def test_forwarding_and_catch_all(world: World) -> None:
    await add(world, "alice")
    path = f"/accounts/{world.at('alice')}/forwarding"
    assert await world.call("GET", path) == (200, {"to": [], "keep": True})
    away = {"to": ["alice@far.test"], "keep": False}
    assert await world.call("PUT", path, away) == await world.call("GET", path) == (200, away)
    mine = await world.scoped("self", account=world.at("alice"))
    assert await world.call("GET", "/me/forwarding", token=mine) == (200, away)
    assert (await world.call("PUT", "/me/forwarding", {"to": []}, token=mine))[1] == {"to": [], "keep": True}
    assert (await world.call("PUT", path, {"to": ["nonsense"]}))[0] == 400
    assert (await world.call("PUT", path, {"to": [f"{n}@far.test" for n in range(21)]}))[0] == 422
    assert (await world.call("PUT", f"/accounts/{world.at('bob')}/forwarding", away))[0] == 404
    catch = f"/domains/{world.domain}/catch-all"
    assert await world.call("GET", catch) == (200, {"address": None})
    assert (await world.call("PUT", catch, {"address": world.at("Alice")}))[1] == {"address": world.at("alice")}
    assert await world.call("GET", catch) == (200, {"address": world.at("alice")})
    assert (await world.call("PUT", catch, {"address": None}))[1] == {"address": None}
    assert (await world.call("PUT", "/domains/nowhere.test/catch-all", {"address": None}))[0] == 404


async def test_a_domain_s_token_manages_its_addresses_only(world: World) -> None:
    await add(world, "alice")
    other = World(world.core, world.api, world.dns)
    assert (await other.call("POST", "/domains", {"name": other.domain}))[0] == 201
    await add(other, "bob")
    token = await world.scoped(f"domain:{world.domain}")

    async def status(method: str, path: str, body: object = None, **query: str) -> int:
        return (await world.call(method, path, body, token=token, **query))[0]

    mine, theirs = world.at("sales"), other.at("sales")
    assert await status("POST", "/aliases", {"address": mine, "account": world.at("alice")}) == 201
    assert await status("POST", "/aliases", {"address": theirs, "account": world.at("alice")}) == 403
    assert await status("POST", "/aliases", {"address": world.at("x"), "account": other.at("bob")}) == 403
    assert await status("GET", "/aliases") == 403
    assert await status("GET", "/aliases", domain=world.domain) == 200
    assert await status("GET", "/groups", domain=other.domain) == 403
    assert await status("POST", "/groups", {"address": other.at("team")}) == 403
    assert await status("DELETE", f"/aliases/{theirs}") == 403
    assert await status("PUT", f"/domains/{other.domain}/catch-all", {"address": mine}) == 403
    assert await status("PUT", f"/domains/{world.domain}/catch-all", {"address": mine}) == 200
    await other.http.aclose()
