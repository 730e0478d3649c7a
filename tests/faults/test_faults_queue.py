"""Dying while mail is put into the outbound queue: the client repeats, and each domain has one document with its message."""

from __future__ import annotations

import json
import time

import aiohttp
import pytest

from tests.faults.harness import Platform
from tests.faults.test_faults_rest import API, Client

pytestmark = pytest.mark.stack

POINTS = ("submit.before_commit", "submit.after_commit", "deliver.after_filed", "rest.before_answer_kept")


async def test_a_submission_is_queued_once(platform: Platform) -> None:
    token = platform.stack.env["MB_API_TOKEN"]
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {token}"}) as http:
        client = Client(platform, http)
        for point, account in zip(POINTS, await platform.accounts(len(POINTS)), strict=True):
            to = ["x@far.invalid", "y@far.invalid", "z@near.invalid", account.address]
            body = json.dumps({"from": account.address, "to": to, "subject": "once", "text": "only"}).encode()
            request = (f"/accounts/{account.address}/submit", body, "application/json", point)
            pid = await platform.start_armed(API, point)
            status = 0
            while status == 0 and platform.stack.pid(API) == pid:
                status, _ = await client.post(1, *request)
            assert status == 0, f"{point} was not passed"
            died = time.monotonic()
            answer = await client.until_done(*request)
            print(f"{point}: done {time.monotonic() - died:.1f} s after the death")
            assert await client.until_done(*request) == answer
            found = list(platform.database["queue"].find({"a": platform.account_id(account)}, sort=[("domain", 1)]))
            assert [document["domain"] for document in found] == ["far.invalid", "near.invalid"], point
            assert {document["t"] for document in found} == {answer["trace_id"]}
            assert [len(document["recipients"]) for document in found] == [2, 1]
        await platform.start(API)
    status, findings, _ = await platform.audit()
    assert (status, findings) == (0, [])
