"""Who may make which internal call: each cell of the table in docs/access.md, tried with the token of every caller."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from mailboat.common.v1 import common_pb2 as common
from mailboat_common.config import SecretFile
from mailboat_store_client.memory import MemoryStore
from storage_api.internal.callers import ALLOWED
from storage_api.internal.methods import METHODS, READ

from tests.support.documents import quoted, table
from tests.support.internal import Served, served

CALLERS = ("smtp_ingress", "imap_gateway", "pop3_gateway", "delivery_worker")
ROWS = {quoted(cells[0])[0]: dict(zip(CALLERS, cells[1:], strict=True)) for cells in table("docs/access.md", "method")}


class Door:
    """A served store, and calls of it whose body is no message: who gets in is told that (400)."""

    def __init__(self, running: Served, http: aiohttp.ClientSession) -> None:
        self.running, self._http = running, http

    async def knock(self, method: str, headers: dict[str, str]) -> tuple[int, int]:
        """Status and error code."""
        url = f"{self.running.url}/internal/v1/{method}"
        async with self._http.post(url, data=b"\xff\xff", headers=headers) as answer:
            return answer.status, common.ErrorDetail.FromString(await answer.read()).code


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with served(MemoryStore()) as running, aiohttp.ClientSession() as http:
        yield Door(running, http)


def test_every_method_and_every_caller_has_its_cell() -> None:
    assert set(ROWS) == {*METHODS, READ}
    assert set(CALLERS) == set(ALLOWED)
    assert {cell for cells in ROWS.values() for cell in cells.values()} == {"yes", "–"}


async def test_every_cell_of_the_table_is_true(door: Door) -> None:
    expected = {"yes": (400, common.ERROR_CODE_BAD_REQUEST), "–": (403, common.ERROR_CODE_FORBIDDEN)}
    for method, cells in ROWS.items():
        for caller, cell in cells.items():
            token = {"authorization": f"Bearer {door.running.tokens[caller]}"}
            assert await door.knock(method, token) == expected[cell], (method, caller)


async def test_strangers_get_nowhere(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, an empty one, wrong ones, a REST token, one that was rotated away: 401 for every method."""
    monkeypatch.setattr(SecretFile, "CHECK_SECONDS", 0.0)
    old = door.running.tokens["imap_gateway"]
    assert (await door.knock(READ, {"authorization": f"Bearer {old}"}))[0] == 400
    new = {caller: [f"new-{token}"] for caller, token in door.running.tokens.items()}
    door.running.token_file.write_text(json.dumps(new))
    strangers = [{"authorization": given} for given in ("", "Bearer", "Bearer ", "Bearer x", f"Bearer {old}")]
    strangers += [{"authorization": f"Bearer new-{old}x"}, {"authorization": "Bearer mbt_0123456789"}, {}]
    for method in ROWS:
        for headers in strangers:
            assert await door.knock(method, headers) == (401, common.ERROR_CODE_UNAUTHENTICATED), (method, headers)
    assert (await door.knock(READ, {"authorization": f"Bearer new-{old}"}))[0] == 400
