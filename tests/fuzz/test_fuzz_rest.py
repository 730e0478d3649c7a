"""The REST API against its own description: schemathesis makes requests of every operation, right and wrong ones.

Of each operation: nothing is answered 500; every answer has a status, a content type and a form that the description
names; a body that breaks the description is refused; without a token nothing is done. Names in paths are mostly those of
things that are there, so that requests get behind the 404s. The short form tries a few requests of each kind, the same
in each run; a longer `--fuzz-seconds` and `--fuzz-full` try more, other ones each time.
"""

from __future__ import annotations

import asyncio
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from requests import Request
from requests.structures import CaseInsensitiveDict
from schemathesis.checks import load_all_checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks as conformance
from storage_api.rest.app import build
from storage_api.rest.bulk import MESSAGES

from tests.support.internal import serving
from tests.support.mongod import Mongod, mongod
from tests.support.rest import World, opened

__all__ = ["mongod"]

load_all_checks()
schemathesis.serializer.alias(["message/rfc822", MESSAGES], "application/octet-stream")
SCHEMA = schemathesis.openapi.from_dict(build().openapi())
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)}
CHECKS = [
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
]
REQUESTS_A_SECOND = 1.5
REQUESTS = 60
LONGEST_URL = 32 * 1024  # what is longer can be refused before anything of it is read as a request of ours
FIELD_NAME = re.compile(r"[A-Za-z0-9-]+")
FIELD_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
MESSAGE = b"From: a@elsewhere.example\r\nSubject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nbody\r\n"


@dataclass(frozen=True)
class Api:
    """A served API: where it is, an operator's token, an account's own, and what a path can name."""

    url: str
    operator: str
    own: str
    there: dict[str, str]

    def headers(self, path: str) -> dict[str, str]:
        token = self.own if f"{path}/".startswith("/v1/me/") else self.operator
        return {"Authorization": f"Bearer {token}"}

    def named(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Three of four names are those of what is there; which, follows from what was generated.

        So are all that a client makes another path of before it sends it (RFC 3986 5.2.4).
        """
        kind = path.split("/")[2]
        return {
            name: known
            if (known := self.there.get(f"{kind}.{name}", self.there.get(name)))
            and (zlib.crc32(repr(value).encode()) % 4 or value in ("", ".", "..") or "/.." in f"/{value}")
            else value
            for name, value in parameters.items()
        }


async def furnished(world: World, url: str) -> Api:
    """The API with something of each kind that a path can name."""

    async def make(method: str, path: str, body: Any, expected: int = 201) -> Any:
        status, answer = await world.call(method, path, body)
        assert status == expected, answer
        return answer

    owner, domain = world.at("owner"), world.domain
    await make("POST", "/domains", {"name": domain})
    for local in ("owner", "spare"):
        await make("POST", "/accounts", {"address": world.at(local), "password": "correct horse"})
    await make("POST", "/aliases", {"address": world.at("alias"), "account": owner})
    await make("POST", "/groups", {"address": world.at("group"), "members": [owner]})
    hook = await make("POST", "/webhooks", {"url": "https://hook.example/", "domains": [domain]})
    await make("PUT", "/transports/example.com", {"host": "relay.example", "port": 25}, 200)
    await make("PUT", "/suppressions/gone@example.com", {}, 200)
    filed = await world.raw(
        "POST", f"/accounts/{owner}/mailboxes/INBOX/messages", MESSAGE, headers={"content-type": "message/rfc822"}
    )
    assert filed.status_code == 201, filed.text
    there = {"name": "INBOX", "message": filed.json()["id"], "path": "1", "member": owner, "webhook_id": hook["id"]}
    there |= {"domains.name": domain, "key": "example.com", "recipient": "gone@example.com"}
    there |= {"aliases.address": world.at("alias"), "groups.address": world.at("group"), "address": owner}
    return Api(url, world.token, await world.scoped("self", "submit", account=owner), there)


@pytest.fixture(scope="module")
def api(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API in a thread of its own: schemathesis is a client that blocks."""
    ready: Future[tuple[Api, Callable[[], object]]] = Future()

    async def serve(directory: Path) -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        async with opened(mongod, "fuzz_rest", directory) as world, serving(world.api.rest) as url:
            ready.set_result((await furnished(world, url), lambda: loop.call_soon_threadsafe(end.set)))
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve(tmp_path_factory.mktemp("fuzz_rest")))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    made, end = ready.result(120)
    yield made
    end()
    thread.join(60)


@pytest.fixture(scope="module")
def examples(request: pytest.FixtureRequest) -> int:
    """Requests of each operation, of each kind."""
    if request.config.getoption("--fuzz-full", default=False):
        return REQUESTS
    return max(1, int(request.config.getoption("--fuzz-seconds", default=2.0) * REQUESTS_A_SECOND))


def sendable(headers: Any) -> dict[str, Any]:
    """Fields that are HTTP: what isn't never reaches the API."""
    return {
        name: value
        for name, value in headers.items()
        if FIELD_NAME.fullmatch(name) and FIELD_VALUE.fullmatch(str(value)) and name.lower() != "authorization"
    }


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_as_described(api: Api, label: str, examples: int, fuzz_full: bool) -> None:
    def holds(case: schemathesis.Case[Any]) -> None:
        case.path_parameters = api.named(case.path, case.path_parameters or {})
        case.headers = CaseInsensitiveDict(sendable(case.headers or {}))
        assume(len(Request(**case.as_transport_kwargs(base_url=api.url)).prepare().url or "") < LONGEST_URL)
        refused = case.call(api.url, timeout=60)
        assert refused.status_code == 401, refused.text
        response = case.call(api.url, headers=api.headers(case.path), timeout=60)
        assert response.status_code != 500, response.text
        refusable = case.meta is not None and case.meta.is_negative_at(ParameterLocation.BODY)
        case.validate_response(response, checks=[*CHECKS, conformance.negative_data_rejection] if refusable else CHECKS)

    bounds = settings(
        max_examples=examples, deadline=None, database=None, phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck), derandomize=not fuzz_full,
    )  # fmt: skip
    for mode in schemathesis.GenerationMode:
        bounds(given(case=OPERATIONS[label].as_strategy(mode))(holds))()
