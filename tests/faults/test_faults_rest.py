"""A process that answers a REST request dies: the client repeats it at another, with its key, and it was done once."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import aiohttp
import pytest

from tests.faults.harness import Platform
from tests.faults.load import Account

pytestmark = pytest.mark.stack

API = "storage_api-1"
REPEAT_SECONDS = 30
POINTS = {
    "append": ("append.before_commit", "append.after_commit", "rest.before_answer_kept"),
    "submit": ("deliver.before_commit", "deliver.after_commit", "deliver.after_filed", "rest.before_answer_kept"),
}


@dataclass(slots=True)
class Client:
    """A client of both replicas, with the platform's token."""

    platform: Platform
    http: aiohttp.ClientSession

    async def post(self, pod: int, path: str, body: bytes, kind: str, key: str) -> tuple[int, dict[str, object]]:
        """Status and JSON; 0 if the connection broke."""
        url = f"http://127.0.0.1:{self.platform.stack.ports(f'storage_api-{pod}')['rest']}/v1{path}"
        headers = {"content-type": kind, "idempotency-key": key}
        try:
            async with self.http.post(url, data=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except aiohttp.ClientError:
            return 0, {}

    async def until_done(self, path: str, body: bytes, kind: str, key: str) -> dict[str, object]:
        """Repeats at the second replica while the first's record lives."""
        async with asyncio.timeout(REPEAT_SECONDS):
            while True:
                status, answer = await self.post(2, path, body, kind, key)
                if status != 409:
                    assert 200 <= status < 300, answer
                    return answer
                await asyncio.sleep(0.2)


def request(what: str, account: Account) -> tuple[str, bytes, str]:
    """(path, body, its kind)."""
    root = f"/accounts/{account.address}"
    if what == "append":
        return f"{root}/mailboxes/INBOX/messages", b"Subject: once\r\n\r\nonly\r\n", "message/rfc822"
    message = {"from": account.address, "to": [account.address], "subject": "once", "text": "only"}
    return f"{root}/submit", json.dumps(message).encode(), "application/json"


@pytest.mark.parametrize("what", POINTS)
async def test_a_request_is_done_once(platform: Platform, what: str) -> None:
    token = platform.stack.env["MB_API_TOKEN"]
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {token}"}) as http:
        client = Client(platform, http)
        accounts = await platform.accounts(len(POINTS[what]))
        for point, account in zip(POINTS[what], accounts, strict=True):
            path, body, kind = request(what, account)
            pid = await platform.start_armed(API, point)
            key = f"{account.address}-{point}"
            status = 0
            while status == 0 and platform.stack.pid(API) == pid:
                status, _ = await client.post(1, path, body, kind, key)
            assert status == 0, f"{point} was not passed"
            died = time.monotonic()
            answer = await client.until_done(path, body, kind, key)
            print(f"{point}: done {time.monotonic() - died:.1f} s after the death")
            again = await client.until_done(path, body, kind, key)
            assert again == answer
            stored = platform.database["accounts"].find_one({"_id": platform.account_id(account)})
            assert stored is not None
            assert stored["usage"]["messages"] == 1, point
        await platform.start(API)
    status, found, _ = await platform.audit()
    assert (status, found) == (0, [])
