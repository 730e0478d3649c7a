"""Faults planted in the store itself: the judge sees them through IMAP, `mailboatctl audit` in the documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.faults import plants
from tests.faults.auditor import Kind, judge
from tests.faults.auditor_outside import DELIVERED, judge_outside
from tests.faults.clients import Endpoint, ImapClient
from tests.faults.compose import BOX
from tests.faults.harness import WORKERS, Platform, poll
from tests.faults.load import Account, Load, Sender, observe
from tests.faults.remote_servers import DOMAINS

pytestmark = pytest.mark.stack

PLANTS: list[tuple[Callable[[plants.Planted], None], set[Kind], set[str]]] = [
    (plants.drop_page, set(), {"missing_page", "lost_message"}),
    (plants.drop_tail_entry, {Kind.LOST}, {"lost_message"}),
    (plants.deliver_twice, {Kind.DOUBLE}, {"unclaimed_entry"}),
    (plants.change_uid, {Kind.UID_CHANGED}, {"lost_message", "unclaimed_entry"}),
    (plants.lose_flag, {Kind.FLAGS}, set()),
    (plants.resurrect, {Kind.RESURRECTED}, {"vanished_and_present"}),
    (plants.delete_body, set(), {"missing_body"}),
    (plants.delete_chunk, set(), {"damaged_body"}),
    (plants.wrong_counter, set(), {"wrong_counter"}),
    (plants.wrong_usage, set(), {"wrong_usage"}),
    (plants.swap_page_rows, set(), {"uids_out_of_order"}),
]
"""The fault, what the judge must say (nothing: IMAP doesn't show it), what the audit must say (nothing: no promise)."""


async def fill(load: Load, account: Account) -> None:
    """A page and a tail, one message with an attachment, one expunged, the newest flagged; no gateway has a view of it."""
    client = await ImapClient.connect(load.sites.imap[1], account.address, account.password)
    messages = [
        await load.append(client, account, picture=load.rng(account.address).getrandbits(60) if n == 3 else None)
        for n in range(36)
    ]
    await client.select(BOX)
    await load.remove(client, account, messages[5:6])
    await load.append(client, account, "\\Flagged")
    client.close()


@pytest.mark.parametrize(("plant", "seen", "audited"), PLANTS, ids=[plant.__name__ for plant, _, _ in PLANTS])
async def test_a_planted_fault_is_found(
    platform: Platform,
    seed: int,
    plant: Callable[[plants.Planted], None],
    seen: set[Kind],
    audited: set[str],
) -> None:
    (account,) = await platform.accounts(1)
    load = platform.load([account], seed)
    await fill(load, account)
    with plants.planted(platform.database, platform.account_id(account), plant):
        status, findings, _ = await platform.audit()
        if seen:
            state = await observe(load.sites.imap[0], account)
            assert seen <= {finding.kind for finding in judge(load.ledger, {account.address: state})}
    mine = [finding for finding in findings if finding.get("account") == platform.account_id(account).hex()]
    assert mine == findings
    assert audited <= {finding["finding"] for finding in mine}
    assert status == (1 if audited else 0)


async def test_a_lost_queue_document_is_found(platform: Platform, seed: int) -> None:
    """A submission to two servers, one of whose documents is gone; nobody delivers meanwhile."""
    (user,) = await platform.accounts(1)
    load = platform.load((), seed)
    endpoint = Endpoint("127.0.0.1", platform.stack.ports("smtp_ingress-1")["submissions"], platform.tls)
    sender = Sender(load, load.rng("user"), [endpoint], user)
    remote = [f"ann@{name}" for name in DOMAINS[:2]]
    message = await sender.send((), remote=remote)
    sender.close()
    queue = platform.database["queue"]
    documents = list(queue.find({"t": {"$in": list(message.traces)}}))
    assert len(documents) == 2

    def lost() -> set[str]:
        found = list(queue.find({"t": {"$in": list(message.traces)}}))
        states = {(message.token, r["address"]): [DELIVERED] for document in found for r in document["recipients"]}
        findings = judge_outside(load.ledger, [], states, [], [])
        return {finding.box for finding in findings if "no queue document" in finding.detail}

    assert (await platform.audit())[:2] == (0, [])
    assert lost() == set()
    queue.delete_one({"_id": documents[0]["_id"]})
    status, findings, _ = await platform.audit()
    assert status == 1
    assert {finding["finding"] for finding in findings} == {"lost_message"}
    assert lost() == {documents[0]["recipients"][0]["address"]}
    queue.insert_one(documents[0])
    assert (await platform.audit())[:2] == (0, [])


async def test_a_lost_accepted_document_is_found(platform: Platform, seed: int) -> None:
    """A transaction that was accepted and waits for its recipients, with nobody left who works on it."""
    db = platform.database
    accounts = [*await platform.accounts_of_pod(1, 1), *await platform.accounts(65)]
    load = platform.load((), seed, crowd=accounts)
    for worker in WORKERS:
        await platform.kill(worker)
    frozen = await platform.start_armed("storage_api-1", "deliver.after_accepted:1:stop")
    await asyncio.to_thread(platform.stack.wait_ready, ["storage_api-1"])

    async def send() -> None:
        while True:  # until one is under way in the pod that freezes
            await load.deliver([account.address for account in accounts], platform.sites((1,)).smtp)

    sending = asyncio.create_task(send())
    await platform.stopped(frozen)
    await platform.kill("smtp_ingress-1")  # else it would ask the other pod at once
    await platform.kill("storage_api-1")
    await platform.start("storage_api-1")
    sending.cancel()
    (waiting,) = db["accepted"].find()
    assert len(waiting["pending"]) == len(accounts)
    assert (await platform.audit())[:2] == (0, [])
    db["accepted"].delete_one({"_id": waiting["_id"]})
    status, findings, _ = await platform.audit()
    assert status == 1
    assert {finding["finding"] for finding in findings} == {"lost_message"}
    assert {finding["account"] for finding in findings} == {platform.account_id(account).hex() for account in accounts}
    db["accepted"].insert_one(waiting)
    for name in ("smtp_ingress-1", *WORKERS):
        await platform.start(name)
    await poll(lambda: not db["accepted"].count_documents({}), 60)
    for message in load.ledger.messages.values():
        message.acked = message.acked or message.began  # the last was told nobody, but it was whole: it must be there
    assert await load.verdict() == []
    assert (await platform.audit())[:2] == (0, [])
