"""The REST API on a real mongod, for tests: `world` and its helpers."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
from mailboat_common.config import parse
from mailboat_common.ids import uuid7
from storage_api.assembly import Api, Core, now_ms
from storage_api.audit_log import AuditLog
from storage_api.db.driver import Database
from storage_api.db.migrations import migrate
from storage_api.directory.schema import STEPS
from storage_api.rest import problems
from storage_api.rest.messages import NDJSON
from storage_api.settings import Settings

from tests.support.dns_server import DnsServer, dns_server
from tests.support.mongod import Mongod

PASSWORD = "correct horse"
BCRYPT = "{BCRYPT}" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
BOOTSTRAP = "the-first-token-0123456789"
_numbers = itertools.count(1)


class World:
    """The REST application with a platform token, and a domain of its own."""

    def __init__(self, core: Core, api: Api, dns: DnsServer) -> None:
        self.dns = dns
        self.core, self.api, self.audit_log = core, api, AuditLog(core.db, now_ms)
        self.domain = f"r{next(_numbers)}.{uuid7().hex()}.test"
        transport = httpx.ASGITransport(api.rest, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://api")
        self.token = BOOTSTRAP

    def at(self, local: str) -> str:
        """An address of the domain."""
        return f"{local}@{self.domain}"

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **query: Any
    ) -> tuple[int, Any]:
        """(status, JSON, of lines of JSON the list); every error is held to be a problem."""
        headers = {"authorization": f"Bearer {self.token if token is None else token}"}
        answer = await self.http.request(method, "/v1" + path, json=body, headers=headers, params=query)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == problems.MEDIA_TYPE
            problem = answer.json()
            assert problem["status"] == answer.status_code
            assert {"type", "title"} <= problem.keys()
        if answer.headers.get("content-type") == NDJSON:
            return answer.status_code, [json.loads(line) for line in answer.content.splitlines()]
        return answer.status_code, answer.json() if answer.content else None

    async def scoped(self, *scopes: str, account: str | None = None) -> str:
        """The text of a new token (of an account)."""
        body: dict[str, Any] = {"name": "t", "scopes": list(scopes)}
        if account is not None:
            body["account"] = account
        status, made = await self.call("POST", "/tokens", body)
        assert status == 201, made
        return str(made["token"])

    async def raw(
        self, method: str, path: str, content: bytes = b"", *, token: str | None = None, **more: Any
    ) -> httpx.Response:
        """The whole answer to a request with any body and headers."""
        headers = {"authorization": f"Bearer {self.token if token is None else token}", **more.pop("headers", {})}
        return await self.http.request(method, "/v1" + path, content=content, headers=headers, params=more)

    async def audited(self, action: str) -> list[dict[str, Any]]:
        """What the audit log holds of an action, oldest first."""
        return await self.core.db["audit_log"].find({"action": action}, sort=[("_id", 1)])


@asynccontextmanager
async def opened(mongod: Mongod, database: str, directory: Path) -> AsyncIterator[World]:
    """The application over a database that it migrates, with a bootstrap token; its files are in `directory`."""
    tokens = directory / "tokens.json"
    tokens.write_text('{"imap_gateway": ["0123456789abcdef"]}')
    async with dns_server("") as dns:
        uri = mongod.uri.replace("/?", f"/{database}?")
        environ = {"MB_MONGODB_URI": uri, "MB_INTERNAL_TOKEN_FILE": str(tokens), "MB_DNS_SERVERS": dns.address}
        core = Core(parse(Settings, environ))
        await migrate(core.db, STEPS)
        api = Api(core)
        await api.tokens.bootstrap(BOOTSTRAP)
        made = World(core, api, dns)
        yield made
        await made.http.aclose()
        await api.close()
        await core.mongo.close()


@pytest.fixture
async def world(mongod: Mongod, db: Database, tmp_path: Path) -> AsyncIterator[World]:
    """The application over the session's database, and a domain."""
    async with opened(mongod, db.name, tmp_path) as made:
        assert (await made.call("POST", "/domains", {"name": made.domain}))[0] == 201
        yield made


async def add(world: World, local: str, **more: Any) -> dict[str, Any]:
    """A new account, as the API shows it."""
    body = {"address": world.at(local), "password_hash": BCRYPT, **more}
    status, account = await world.call("POST", "/accounts", body)
    assert status == 201
    return dict(account)
