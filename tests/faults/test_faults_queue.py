"""Dying while mail is put into the outbound queue, sent by an account or on by one: the client repeats, and each domain
has one document with its message.
"""

from __future__ import annotations

import json
import time

import aiohttp
import pytest

from tests.faults.harness import Platform
from tests.faults.test_faults_rest import API, Client

pytestmark = pytest.mark.stack

POINTS = ("submit.before_commit", "submit.after_commit", "deliver.after_filed", "rest.before_answer_kept")


FORWARD_POINTS = ("forward.before_commit", "forward.after_commit")


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


async def test_a_forward_is_queued_once(platform: Platform) -> None:
    token = platform.stack.env["MB_API_TOKEN"]
    accounts = await platform.accounts(2 * len(FORWARD_POINTS))
    pairs = zip(accounts[::2], accounts[1::2], strict=True)
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {token}"}) as http:
        client = Client(platform, http)
        for point, (sender, forwarder) in zip(FORWARD_POINTS, pairs, strict=True):
            other = f"http://127.0.0.1:{platform.stack.ports('storage_api-2')['rest']}/v1"
            forwarding = f"{other}/accounts/{forwarder.address}/forwarding"
            async with http.put(forwarding, json={"to": ["x@far.invalid"], "keep": True}) as answered:
                assert answered.status == 200
            body = json.dumps({"from": sender.address, "to": [forwarder.address], "text": "only"}).encode()
            request = (f"/accounts/{sender.address}/submit", body, "application/json", point)
            pid = await platform.start_armed(API, point)
            status = 0
            while status == 0 and platform.stack.pid(API) == pid:
                status, _ = await client.post(1, *request)
            assert status == 0, f"{point} was not passed"
            answer = await client.until_done(*request)
            assert await client.until_done(*request) == answer
            (queued,) = platform.database["queue"].find({"t": answer["trace_id"]})
            assert [recipient["address"] for recipient in queued["recipients"]] == ["x@far.invalid"], point
            kept = platform.database["accounts"].find_one({"_id": platform.account_id(forwarder)})
            assert kept is not None
            assert kept["usage"]["messages"] == 1, point
        await platform.start(API)
    status, findings, _ = await platform.audit()
    assert (status, findings) == (0, [])
