"""The outbound queue and the transport table over REST: what operators see and what their actions leave."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from mailboat_common.ids import decode_id, encode_id, trace_id
from mailboat_store_client.queue import AttemptReport, Claimed, Outcome, RecipientReport, TlsMode, Transport
from mailboat_store_client.types import NO_ACCOUNT, Envelope, EnvelopeRecipient
from storage_api.db import schema
from storage_api.db.driver import Document
from storage_api.queue.documents import job_of

from tests.support.rest import World, add
from tests.support.store import MESSAGE

RELAY = {"host": "smtp.relay.example", "port": 587, "tls": "verify", "username": "us", "password": "the secret"}


async def submit(world: World, *domains: str, sender: str = "a@example.test", content: bytes = MESSAGE) -> list[str]:
    """Ids of a submission's documents, by domain."""
    account = decode_id((await add(world, os.urandom(6).hex()))["id"])
    recipients = tuple(EnvelopeRecipient(f"x@{domain}", NO_ACCOUNT) for domain in domains)
    mail = Envelope(trace_id(), sender, recipients, os.urandom(32), account_id=account)
    await world.core.mongo.delivery.deliver(mail, content)
    found = await world.core.db[schema.QUEUE].find({"t": mail.trace_id}, sort=[("domain", 1)])
    return [encode_id(document["_id"]) for document in found]


async def stored(world: World, queue_id: str) -> Document:
    found = await world.core.db[schema.QUEUE].find_one({"_id": decode_id(queue_id)})
    assert found is not None
    return found


async def claim(world: World, queue_id: str) -> Claimed | None:
    job = job_of(await stored(world, queue_id))
    (claimed,) = await world.core.mongo.queue.claim([job], "worker-7", max_bytes=0, key=os.urandom(16))
    return claimed


async def defer(world: World, queue_id: str) -> None:
    claimed = await claim(world, queue_id)
    assert claimed is not None
    said = RecipientReport(
        claimed.recipients[0].address, Outcome.DEFERRED, "4.2.0", "450 4.2.0 Greylisted", "", "mx [192.0.2.1]:25"
    )
    assert await world.core.mongo.queue.report([AttemptReport(claimed.queue_id, claimed.token, (said,))]) == [True]


async def act(world: World, action: str, **body: Any) -> int:
    status, answer = await world.call("POST", f"/queue:{action}", body)
    assert status == 200, answer
    return int(answer["changed"])


async def show(world: World, queue_id: str) -> dict[str, Any]:
    status, found = await world.call("GET", f"/queue/{queue_id}")
    assert status == 200
    return dict(found)


def fresh(label: str) -> str:
    """A domain no other test sends to."""
    return f"{label}-{os.urandom(5).hex()}.example"


async def test_a_message_shows_why_it_waits(world: World) -> None:
    (queue_id,) = await submit(world, fresh("far"))
    found = await show(world, queue_id)
    assert (found["state"], found["why"], found["attempt"]) == ("ready", "waits for its first attempt", 1)
    await world.core.db[schema.QUEUE].update_one({"_id": decode_id(queue_id)}, {"$set": {"published_at": 1}})
    assert (await show(world, queue_id))["why"] == "waits for a delivery worker"
    await defer(world, queue_id)
    found = await show(world, queue_id)
    assert found["why"] == "deferred: 450 4.2.0 Greylisted"
    assert found["next_attempt"] > found["created_at"]
    (recipient,) = found["recipients"]
    assert (recipient["state"], recipient["attempts"], recipient["status"]) == ("pending", 1, "4.2.0")
    assert recipient["host"] == "mx [192.0.2.1]:25"
    await claim(world, queue_id)
    found = await show(world, queue_id)
    assert (found["state"], found["why"], found["worker"]) == ("claimed", "attempt 2 is running", "worker-7")
    assert "content" not in str(found)
    assert (await world.call("GET", f"/queue/{encode_id(os.urandom(16))}"))[0] == 404
    assert (await world.call("GET", "/queue/nonsense"))[0] == 404


async def test_lists_by_domain_sender_and_state_page_by_page(world: World) -> None:
    far, near, sender = fresh("far"), fresh("near"), f"{os.urandom(5).hex()}@example.test"
    ids = [(await submit(world, far, near, sender=sender))[0] for _ in range(5)]
    status, page = await world.call("GET", "/queue", domain=far.upper(), limit=3)
    assert (status, [item["id"] for item in page["items"]]) == (200, ids[:3])
    status, page = await world.call("GET", "/queue", domain=far, limit=3, cursor=page["next"])
    assert ([item["id"] for item in page["items"]], page["next"]) == (ids[3:], None)
    assert len((await world.call("GET", "/queue", sender=sender))[1]["items"]) == 10
    assert len((await world.call("GET", "/queue", sender=sender, domain=near))[1]["items"]) == 5
    assert await act(world, "hold", ids=ids[:2]) == 2
    (held, ready) = [(await world.call("GET", "/queue", domain=far, state=s))[1]["items"] for s in ("held", "ready")]
    assert ([item["id"] for item in held], len(ready)) == (ids[:2], 3)
    assert await act(world, "remove", ids=ids[:1]) == 1
    assert len((await world.call("GET", "/queue", domain=far))[1]["items"]) == 4
    assert [i["id"] for i in (await world.call("GET", "/queue", domain=far, state="done"))[1]["items"]] == ids[:1]
    assert (await world.call("GET", "/queue", state="lost"))[0] == 422
    assert (await world.call("GET", "/queue", cursor="nonsense"))[0] in (400, 404)
    counts = {item["domain"]: item for item in (await world.call("GET", "/queue/domains"))[1]["items"]}
    assert {name: counts[far][name] for name in ("ready", "claimed", "held")} == {"ready": 3, "claimed": 0, "held": 1}
    assert counts[near]["ready"] == 5
    assert counts[far]["oldest"] <= counts[far]["next_attempt"]


async def test_the_null_sender_has_a_name(world: World) -> None:
    domain = fresh("far")
    (queue_id,) = await submit(world, domain, sender="")
    await submit(world, domain)
    _, page = await world.call("GET", "/queue", sender="<>", domain=domain)
    assert [item["id"] for item in page["items"]] == [queue_id]


async def test_retry_makes_due_what_would_be_tried_later(world: World) -> None:
    (queue_id,) = await submit(world, fresh("far"))
    await defer(world, queue_id)
    before = await stored(world, queue_id)
    assert await act(world, "retry", ids=[queue_id]) == 1
    after = await stored(world, queue_id)
    assert after["due"] == after["next_attempt"] < before["due"]
    assert after["attempt"] == 2


async def test_what_is_held_isnt_tried_until_its_release(world: World) -> None:
    domain = fresh("far")
    (queue_id,) = await submit(world, domain)
    assert await act(world, "hold", domain=domain) == 1
    found = await show(world, queue_id)
    assert (found["state"], found["next_attempt"]) == ("held", None)
    assert found["why"] == "held until an operator releases it"
    assert await claim(world, queue_id) is None
    assert await act(world, "retry", domain=domain) == 0
    assert await act(world, "release", domain=domain) == 1
    assert await claim(world, queue_id) is not None


async def test_a_running_attempt_ends_before_its_hold_begins(world: World) -> None:
    (queue_id,) = await submit(world, fresh("far"))
    claimed = await claim(world, queue_id)
    assert claimed is not None
    assert await act(world, "hold", ids=[queue_id]) == 1
    assert (await show(world, queue_id))["why"] == "attempt 1 is running, then held"
    assert await world.core.mongo.queue.renew([(claimed.queue_id, claimed.token)]) == [True]
    assert await world.core.mongo.queue.report([AttemptReport(claimed.queue_id, claimed.token, ())]) == [True]
    assert (await show(world, queue_id))["state"] == "held"


async def test_what_is_removed_loses_its_claim_and_its_message(world: World) -> None:
    far, near = fresh("far"), fresh("near")
    ids = await submit(world, far, near)
    claimed = await claim(world, ids[0])
    assert claimed is not None
    content_id = (await stored(world, ids[0]))["content_id"]
    parts = {"_id": {"$gte": content_id + bytes(4), "$lte": content_id + b"\xff" * 4}}
    assert await act(world, "remove", ids=ids[:1]) == 1
    assert await world.core.mongo.queue.renew([(claimed.queue_id, claimed.token)]) == [False]
    assert await world.core.mongo.queue.report([AttemptReport(claimed.queue_id, claimed.token, ())]) == [False]
    assert await world.core.db[schema.QUEUE_PARTS].count(parts) == 1
    assert await act(world, "remove", domain=near) == 1
    assert await world.core.db[schema.QUEUE_PARTS].count(parts) == 0
    found = await show(world, ids[1])
    assert (found["state"], found["why"], found["recipients"][0]["state"]) == ("done", "removed", "removed")
    assert await act(world, "remove", ids=ids) == 0, "it is done"


async def test_what_is_returned_is_told_to_its_sender_with_the_reason(world: World) -> None:
    far, near = fresh("far"), fresh("near")
    sender = f"{os.urandom(5).hex()}@elsewhere.test"
    ids = await submit(world, far, near, sender=sender)
    claimed = await claim(world, ids[0])
    assert claimed is not None
    await act(world, "hold", ids=ids[1:])
    reason = "far.example has closed"
    assert await act(world, "bounce", sender=sender, reason=reason, status="5.1.2") == 2
    assert await world.core.mongo.queue.renew([(claimed.queue_id, claimed.token)]) == [False]
    found = RecipientReport(f"x@{far}", Outcome.DELIVERED, "2.0.0", "250 2.0.0 Ok")
    await world.core.mongo.queue.report([AttemptReport(claimed.queue_id, claimed.token, (found,))])
    for queue_id, domain in zip(ids, (far, near), strict=True):
        shown = await show(world, queue_id)
        assert (shown["state"], shown["why"]) == ("done", "failed")
        (recipient,) = shown["recipients"]
        assert (recipient["address"], recipient["status"], recipient["reason"]) == (f"x@{domain}", "5.1.2", reason)
        assert "content_id" not in await stored(world, queue_id)
    notices = [bytes(n["content"]) for n in await world.core.db[schema.NOTICES].find({"recipient": sender})]
    assert len(notices) == 2
    for notice in notices:
        assert b"\r\nAction: failed\r\nStatus: 5.1.2\r\n" in notice
        assert f"Diagnostic-Code: X-Mailboat; {reason}\r\n".encode() in notice
    assert await act(world, "bounce", ids=ids) == 0, "it is done"
    (entry,) = [e for e in await world.audited("queue.bounce") if e["target"] == sender]
    assert entry["details"] == {"changed": 2, "reason": reason, "status": "5.1.2"}


async def test_nobody_is_told_of_a_returned_bounce_or_against_their_wish(world: World) -> None:
    domain = fresh("far")
    await submit(world, domain, sender="")
    sender = f"{os.urandom(5).hex()}@elsewhere.test"
    (queue_id,) = await submit(world, domain, sender=sender)
    never = {"$set": {"recipients.0.notify": "NEVER"}}
    await world.core.db[schema.QUEUE].update_one({"_id": decode_id(queue_id)}, never)
    assert await act(world, "bounce", domain=domain) == 2
    assert await world.core.db[schema.NOTICES].count({"recipient": {"$in": ["", sender]}}) == 0
    for wrong in ({"status": "4.7.1"}, {"status": "5.7"}, {"reason": " "}, {"reason": "two\nlines"}):
        assert (await world.call("POST", "/queue:bounce", {"domain": domain} | wrong))[0] == 400
    assert (await world.call("POST", "/queue:bounce", {"reason": "x"}))[0] == 400


async def test_rerouted_mail_goes_another_way_than_the_table_says(world: World) -> None:
    domain = fresh("far")
    assert (await world.call("PUT", f"/transports/{domain}", RELAY))[0] == 200
    first, second = (await submit(world, domain))[0], (await submit(world, domain))[0]
    assert await act(world, "reroute", ids=[first], transport={"host": "other.example", "tls": "encrypt"}) == 1
    assert (await show(world, first))["route"] == {
        "host": "other.example",
        "port": 25,
        "tls": "encrypt",
        "username": "",
    }
    by_route, by_table = await claim(world, first), await claim(world, second)
    assert by_route is not None
    assert by_table is not None
    assert by_route.transport == Transport("other.example", 25, TlsMode.ENCRYPT)
    assert by_table.transport == Transport("smtp.relay.example", 587, TlsMode.VERIFY, "us", "the secret")
    assert await act(world, "reroute", ids=[first]) == 1
    assert (await show(world, first))["route"] is None
    bad = {"ids": [second], "transport": {"host": "other.example", "username": "u", "password": "p"}}
    assert (await world.call("POST", "/queue:reroute", bad))[0] == 400, "credentials in the clear"


async def test_mail_may_go_as_that_of_another_domain(world: World) -> None:
    domain, like = fresh("far"), fresh("near")
    (queue_id,) = await submit(world, domain)
    wanted = {"ids": [queue_id], "transport_of": like.upper()}
    assert (await world.call("POST", "/queue:reroute", wanted))[0] == 404, "there is no such entry"
    assert (await world.call("PUT", f"/transports/{like}", RELAY))[0] == 200
    assert (await world.call("POST", "/queue:reroute", wanted | {"transport": RELAY}))[0] == 422
    assert await act(world, "reroute", **wanted) == 1
    shown = await show(world, queue_id)
    assert (shown["route"], shown["route_of"]) == (None, like)
    claimed = await claim(world, queue_id)
    assert claimed is not None
    assert claimed.transport == Transport("smtp.relay.example", 587, TlsMode.VERIFY, "us", "the secret")
    assert (await world.audited("queue.reroute"))[-1]["details"] == {"changed": 1, "transport_of": like.upper()}
    assert await act(world, "reroute", ids=[queue_id]) == 1
    assert (await show(world, queue_id))["route_of"] is None


@pytest.mark.parametrize("action", ["remove", "bounce"])
async def test_a_routes_password_is_never_shown_and_goes_with_the_message(world: World, action: str) -> None:
    (queue_id,) = await submit(world, fresh("far"))
    assert await act(world, "reroute", ids=[queue_id], transport=RELAY) == 1
    shown = await show(world, queue_id)
    assert shown["route"] == {name: value for name, value in RELAY.items() if name != "password"}
    claimed = await claim(world, queue_id)
    assert claimed is not None
    assert claimed.transport.password == "the secret"
    assert "the secret" not in str(await world.audited("queue.reroute"))
    assert await act(world, action, ids=[queue_id]) == 1
    assert "the secret" not in str(await stored(world, queue_id))


@pytest.mark.parametrize("body", [{}, {"all": True, "domain": "far.example"}, {"all": True, "ids": ["x" * 26]}])
async def test_an_action_says_to_what(world: World, body: dict[str, Any]) -> None:
    assert (await world.call("POST", "/queue:retry", body))[0] in (400, 404)


async def test_everything_at_once_in_many_batches(world: World) -> None:
    domain = fresh("far")
    (queue_id,) = await submit(world, domain)
    sample = await stored(world, queue_id)
    copies = [{**sample, "_id": os.urandom(16)} for _ in range(1200)]
    await world.core.db[schema.QUEUE].insert_many(copies)
    assert await act(world, "hold", domain=domain) == 1201
    assert await act(world, "release", all=True) >= 1201
    assert await act(world, "remove", domain=domain) == 1201


async def test_actions_are_audited_and_traced(world: World) -> None:
    domain = fresh("far")
    (queue_id,) = await submit(world, domain)
    await act(world, "hold", domain=domain)
    (entry,) = [e for e in await world.audited("queue.hold") if e["target"] == domain]
    assert entry["details"] == {"changed": 1}
    await world.core.trace.flush()
    trace: dict[str, Any] = {}
    async with asyncio.timeout(10):
        while len(trace.get("events", ())) < 3:  # it is written for the primary alone, and read from a majority
            _, trace = await world.call("GET", f"/trace/{(await stored(world, queue_id))['t']}")
    assert [event["kind"] for event in trace["events"]] == ["received", "queued", "held"]
    assert trace["events"][2]["details"]["by"] == "bootstrap"


async def test_who_may_see_and_steer_the_queue(world: World) -> None:
    queue, other = await world.scoped("queue"), await world.scoped(f"domain:{world.domain}", "read-mail", "submit")
    for method, path, body in (
        ("GET", "/queue", None),
        ("GET", "/queue/domains", None),
        ("POST", "/queue:retry", {"domain": "nowhere.example"}),
        ("POST", "/queue:bounce", {"domain": "nowhere.example"}),
        ("GET", "/transports", None),
    ):
        assert (await world.call(method, path, body, token=queue))[0] == 200
        assert (await world.call(method, path, body, token=other))[0] == 403
    assert (await world.call("PUT", "/transports/far.example", RELAY, token=queue))[0] == 403


async def test_the_transport_table(world: World) -> None:
    domain = fresh("far")
    status, entry = await world.call("PUT", f"/transports/{domain.upper()}", RELAY)
    shown = {name: value for name, value in RELAY.items() if name != "password"} | {"domain": domain}
    assert (status, entry) == (200, shown)
    assert await world.call("GET", f"/transports/{domain}") == (200, shown)
    assert shown in (await world.call("GET", "/transports", limit=1000))[1]["items"]
    assert (await world.call("PUT", f"/transports/{domain}", {"tls": "encrypt"}))[1]["host"] == ""
    for bad in (
        RELAY | {"tls": "may"},
        RELAY | {"host": ""},
        RELAY | {"username": ""},
        {"host": "not a host"},
        {"host": "-bad.example"},
    ):
        assert (await world.call("PUT", f"/transports/{domain}", bad))[0] == 400
    assert (await world.call("PUT", "/transports/no domain", {}))[0] == 400
    assert (await world.call("PUT", f"/transports/{domain}", {"port": 0}))[0] == 422
    assert (await world.call("DELETE", f"/transports/{domain}"))[0] == 204
    assert (await world.call("DELETE", f"/transports/{domain}"))[0] == 404
    assert (await world.call("GET", f"/transports/{domain}"))[0] == 404
    assert "the secret" not in str(await world.audited("transport.put"))
