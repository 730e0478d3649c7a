"""docs/events.md against real events: each example has the members that the real one has, and the receiver's code works."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mailboat_common.ids import trace_id
from mailboat_store_client.queue import AttemptReport, Outcome, RecipientReport
from mailboat_store_client.types import NO_ACCOUNT, AccountId, Envelope, EnvelopeRecipient
from storage_api.feed.event import KINDS
from storage_api.feed.relay import Relay
from storage_api.feed.webhooks import sign
from storage_api.queue.documents import job_of

from tests.support.documents import ROOT
from tests.support.mongod import Mongod, mongod
from tests.support.rest import World, add, opened
from tests.support.store import MESSAGE, envelope

__all__ = ["mongod"]

TEXT = (ROOT / "docs/events.md").read_text("utf-8")
EXAMPLES = {event["type"]: event for event in map(json.loads, re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))}
EMPTY = {"account.disabled", "account.enabled", "account.password_changed", "account.deleted"}
LIKE_QUOTA = {"account.created"}


def shape(value: Any) -> Any:
    """Names and types of a JSON value."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return type(value).__name__


@pytest.fixture
async def world(mongod: Mongod, tmp_path: Path) -> AsyncIterator[World]:
    """The application over a database of its own."""
    async with opened(mongod, "events_doc", tmp_path) as made:
        assert (await made.call("POST", "/domains", {"name": made.domain}))[0] == 201
        yield made


async def everything(world: World) -> None:
    """One event of each type."""
    address = (await add(world, "alice"))["address"]
    for change in ({"disabled": True}, {"disabled": False}, {"quota_bytes": 1 << 30}, {"password": "a long password"}):
        assert (await world.call("PATCH", f"/accounts/{address}", change))[0] == 200
    entry = await world.core.db["addresses"].find_one({"_id": address})
    assert entry is not None
    account, mongo = AccountId(bytes(entry["a"])), world.core.mongo
    await mongo.delivery.deliver(envelope(account), MESSAGE)
    recipients = tuple(EnvelopeRecipient(f"{name}@far.test", NO_ACCOUNT) for name in "xy")
    mail = Envelope(trace_id(), address, recipients, os.urandom(32), account_id=account)
    await mongo.delivery.deliver(mail, MESSAGE)
    document = await world.core.db["queue"].find_one({"t": mail.trace_id})
    assert document is not None
    (claimed,) = await mongo.queue.claim([job_of(document)], "w", max_bytes=0, key=os.urandom(16))
    assert claimed is not None
    results = (
        RecipientReport("x@far.test", Outcome.DELIVERED, "2.0.0", "250 ok", host="mx [192.0.2.1]:25", tls="TLSv1.3"),
        RecipientReport("y@far.test", Outcome.FAILED, "5.1.1", "550 5.1.1 No such user"),
    )
    await mongo.queue.report([AttemptReport(claimed.queue_id, claimed.token, results)])
    assert (await world.call("DELETE", f"/accounts/{address}"))[0] == 204
    while await Relay(world.core.db).run(0):
        pass


async def test_the_examples_are_like_real_events(world: World) -> None:
    await everything(world)
    _, page = await world.call("GET", "/events", after=0, domain=world.domain, limit=1000)
    real = {event["type"]: event for event in page["items"]}
    assert real.keys() == KINDS
    assert EXAMPLES.keys() | EMPTY | LIKE_QUOTA == KINDS
    for kind, example in EXAMPLES.items():
        assert shape(real[kind]) == shape(example), kind
    assert all(real[kind]["data"] == {} for kind in EMPTY)
    assert all(shape(real[kind]["data"]) == shape(EXAMPLES["account.quota_changed"]["data"]) for kind in LIKE_QUOTA)


def test_every_type_is_described() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in TEXT] == []


def test_the_receivers_code_knows_our_signature() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {"base64": base64, "hmac": hmac}
    exec(code, names)
    secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    headers = sign(["whsec_" + base64.b64encode(os.urandom(32)).decode(), secret], "id-1", 1_764_115_200, b"{}")
    assert names["is_ours"](secret, headers, b"{}")
    assert not names["is_ours"](secret, headers, b"{} ")
    assert not names["is_ours"]("whsec_" + base64.b64encode(bytes(32)).decode(), headers, b"{}")
