"""Who may call what over REST: each cell of the table in docs/access.md, tried with tokens of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from storage_api.rest import webhooks
from storage_api.rest.app import build

from tests.support.documents import quoted, table
from tests.support.rest import World

OPERATIONS = [
    (method.upper(), path.removeprefix("/v1"), operation)
    for path, methods in build().openapi()["paths"].items()
    for method, operation in methods.items()
]
YES, NO = "yes", "–"
OTHER = "domain:elsewhere.test"

# What a request must hold for the handler to learn which domain it is about.
QUERIES: dict[str, dict[str, str]] = {
    "list_accounts": {"domain": "{domain}"},
    "list_aliases": {"domain": "{domain}"},
    "list_groups": {"domain": "{domain}"},
    "stream_events": {"domain": "{domain}"},
    "raw_message": {"account": "nobody@{domain}"},
}
BODIES: dict[str, Any] = {
    "create_account": {"address": "owner@{domain}", "password": "correct horse"},
    "put_accounts": {"accounts": [{"address": "owner@{domain}", "password": "correct horse"}]},
    "add_alias": {"address": "alias@{domain}", "account": "nobody@{domain}"},
    "create_group": {"address": "group@{domain}", "members": ["owner@{domain}"]},
    "create_webhook": {"url": "https://hook.example/", "domains": ["{domain}"]},
    "replay_webhook": {"position": 0},
    "rotate_webhook_secret": {"overlap_hours": 1},
}


@dataclass(frozen=True)
class Row:
    """A row of the table: column → cell."""

    name: str
    request: str
    cells: dict[str, str]

    def opens(self, column: str, scopes: frozenset[str]) -> bool:
        """Whether the column's scope, which the token has, suffices with its others."""
        cell = self.cells[column]
        return cell == YES or (cell != NO and cell.removeprefix("with ") in scopes)


def rows() -> dict[str, Row]:
    found = [
        Row(quoted(cells[0])[0], quoted(cells[1])[0], dict(zip(COLUMNS, cells[2:], strict=True)))
        for cells in table("docs/access.md", "operation")
    ]
    return {row.name: row for row in found}


SCOPES = {"platform": "platform", "domain:": "domain:<name>", "queue": "queue"}
COLUMNS = ("platform", "domain:", "queue", "self", "submit")
ROWS = rows()


def name_of(operation: dict[str, Any]) -> str:
    return str(operation["operationId"]).removeprefix("own_")


def below_me(path: str) -> bool:
    return f"{path}/".startswith("/me/")


def test_every_operation_has_its_row() -> None:
    requests: dict[str, set[str]] = {}
    for method, path, operation in OPERATIONS:
        requests.setdefault(name_of(operation), set()).add(f"{method} {path}")
    assert {name: row.request for name, row in ROWS.items() if row.request not in requests.get(name, ())} == {}
    assert set(requests) - set(ROWS) == set()
    assert len(ROWS) == len(table("docs/access.md", "operation"))
    cells = {cell for row in ROWS.values() for cell in row.cells.values()}
    assert cells == {YES, NO, "with read-mail", "with submit"}
    for name, row in ROWS.items():
        below = {below_me(request.split()[1]) for request in requests[name]}
        assert (True in below) == (row.cells["self"] != NO), name
        assert (False in below) == (row.cells["platform"] != NO), name


def test_the_description_names_the_scopes_of_the_table() -> None:
    for _, path, operation in OPERATIONS:
        own = below_me(path)
        scopes = {"self": "self", "submit": "submit"} if own else SCOPES
        cells = {scope: ROWS[name_of(operation)].cells[column] for column, scope in scopes.items()}
        expected = [
            {"token": [scope] if cell == YES else [scope, cell.removeprefix("with ")]}
            for scope, cell in cells.items()
            if cell != NO
        ]
        assert operation["security"] == expected, path


@dataclass(frozen=True)
class Kind:
    """A kind of token. `of`: whose it is, an account's or nobody's."""

    scopes: frozenset[str]
    text: str
    of: bool = False

    def may(self, row: Row, *, own: bool) -> bool:
        """What the table says."""
        if own:
            return self.of and any(row.opens(each, self.scopes) for each in ("self", "submit") if each in self.scopes)
        named = {"domain:": f"domain:{self.domain}", "platform": "platform", "queue": "queue"}
        return any(row.opens(column, self.scopes) for column, scope in named.items() if scope in self.scopes)

    @property
    def domain(self) -> str:
        """The domain of the requests, if the token is for it."""
        return next((s[7:] for s in self.scopes if s.startswith("domain:") and s != OTHER), "")


async def kinds(world: World, account: str) -> list[Kind]:
    mine = f"domain:{world.domain}"
    nobodys = (
        *(("platform",), ("platform", "read-mail"), ("platform", "submit")),
        *((mine,), (mine, "read-mail"), (mine, "submit"), (mine, OTHER)),
        *((OTHER, "read-mail", "submit"), ("queue",), ("read-mail",), ("submit",), ("queue", "read-mail", "submit")),
    )
    found = [Kind(frozenset(scopes), await world.scoped(*scopes)) for scopes in nobodys]
    for scopes in (("self",), ("submit",), ("self", "submit")):
        found.append(Kind(frozenset(scopes), await world.scoped(*scopes, account=account), of=True))
    everything = frozenset({"platform", "read-mail", "queue", "submit", "self"})
    return [*found, Kind(everything, world.token)]


def filled(world: World, value: Any) -> Any:
    """With the world's domain where it is to be named."""
    if isinstance(value, str):
        return value.replace("{domain}", world.domain)
    if isinstance(value, dict):
        return {key: filled(world, each) for key, each in value.items()}
    return [filled(world, each) for each in value] if isinstance(value, list) else value


async def hook(world: World) -> str:
    """A new webhook of the domain."""
    status, made = await world.call("POST", "/webhooks", filled(world, BODIES["create_webhook"]))
    assert status == 201, made
    return str(made["id"])


async def request(world: World, method: str, path: str, name: str, token: str) -> tuple[int, Any]:
    """The request of an operation about the world's domain, and about a new webhook of it where it needs one."""
    made = [await hook(world)] if "{webhook_id}" in path else []
    named = world.domain if path.startswith("/domains/") else "nothing"
    path = path.replace("{address}", world.at("nobody")).replace("{name}", named).replace("{webhook_id}", *made or "-")
    body, query = filled(world, BODIES.get(name)), filled(world, QUERIES.get(name, {}))
    status, answer = await world.call(method, path, body, token=token, **query)
    if name == "create_webhook" and status == 201:
        made.append(answer["id"])
    for each in made:
        await world.call("DELETE", f"/webhooks/{each}")
    return status, answer


def admitted(name: str, status: int, answer: Any) -> bool:
    """Whether the caller got past every question of who he is."""
    if name == "put_accounts" and status == 200:
        return not any("lacks the scope" in row["error"] for row in answer["results"] if row["error"])
    if name == "list_webhooks" and status == 200:
        return bool(answer["items"])
    if "webhook" in name and status == 404:
        return False
    return status not in (401, 403)


async def test_every_cell_of_the_table_is_true(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TEST_SECONDS", 0.0)  # no worker runs that could send one
    assert (await world.call("POST", "/accounts", {"address": world.at("owner"), "password": "correct horse"}))[
        0
    ] == 201
    listed = await hook(world)
    tokens = await kinds(world, world.at("owner"))
    wrong = []
    for method, path, operation in OPERATIONS:
        name, own = name_of(operation), below_me(path)
        for kind in tokens:
            status, answer = await request(world, method, path, name, kind.text)
            if admitted(name, status, answer) != kind.may(ROWS[name], own=own):
                wrong.append((f"{method} {path}", sorted(kind.scopes), status, answer))
    assert wrong == []
    assert (await world.call("DELETE", f"/webhooks/{listed}"))[0] == 204


async def test_strangers_get_nowhere(world: World) -> None:
    """No token, a wrong one, another scheme, a revoked one, one whose account is gone: 401 for every operation."""
    account = world.at("gone")
    assert (await world.call("POST", "/accounts", {"address": account, "password": "correct horse"}))[0] == 201
    orphan = await world.scoped("self", account=account)
    status, revoked = await world.call("POST", "/tokens", {"name": "t", "scopes": ["platform"]})
    assert status == 201
    assert (await world.call("GET", "/domains", token=revoked["token"]))[0] == 200
    assert (await world.call("DELETE", f"/tokens/{revoked['id']}"))[0] == 204
    assert (await world.call("GET", "/me", token=orphan))[0] == 200
    assert (await world.call("DELETE", f"/accounts/{account}"))[0] == 204
    strangers = ["", "Bearer", "Bearer ", "Bearer nonsense", f"Basic {world.token}", world.token]
    strangers += [f"Bearer {revoked['token']}", f"Bearer {world.token}x", f"Bearer {orphan}"]
    for method, path, _ in OPERATIONS:
        for given in strangers:
            if given == f"Bearer {orphan}" and not below_me(path):
                continue  # refused 403 everywhere else, whoever's it is
            headers = {"authorization": given} if given else {}
            answer = await world.http.request(method, "/v1" + path, headers=headers)
            assert answer.status_code == 401, (method, path, given, answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_disabled_accounts_token_opens_nothing(world: World) -> None:
    account = world.at("disabled")
    assert (await world.call("POST", "/accounts", {"address": account, "password": "correct horse"}))[0] == 201
    token = await world.scoped("self", "submit", account=account)
    assert (await world.call("PATCH", f"/accounts/{account}", {"disabled": True}))[0] == 200
    for method, path, operation in OPERATIONS:
        if below_me(path):
            status, answer = await request(world, method, path, name_of(operation), token)
            assert status == 403, (method, path, answer)
