"""One message in and one message out, followed on the running stack from the client's connection to the last word."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from mailboatctl.timeline import timeline

from tests.integration.test_mail_out import content, outside, submitting
from tests.support.stack import OUTSIDER, Live, message, until

pytestmark = pytest.mark.stack


def id_of(answer: str) -> str:
    """The trace id of a 250."""
    assert answer.startswith("250"), answer
    return answer.split(" id ")[1].split(maxsplit=1)[0]


def events_of(live: Live, trace_id: str) -> list[dict[str, Any]]:
    """What the API knows so far."""
    try:
        events: list[dict[str, Any]] = live.rest("GET", f"/v1/trace/{trace_id}")["events"]
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
        return []
    return events


async def trace_of(live: Live, answer: str, *kinds: str) -> list[dict[str, Any]]:
    """The events of the message that was answered so, once those of these kinds are there."""
    events: list[dict[str, Any]] = []

    def told() -> bool:
        events[:] = events_of(live, id_of(answer))
        return set(kinds) <= {event["kind"] for event in events}

    await until(told, 30)
    return events


def read_by_people(live: Live, answer: str) -> str:
    """What `mailboatctl trace` prints."""
    command = [str(Path(sys.executable).with_name("mailboatctl")), "trace", id_of(answer)]
    env = {"MB_API_URL": live.stack.api_url, "MB_API_TOKEN": live.stack.env["MB_API_TOKEN"]}
    done = subprocess.run(command, env=env, capture_output=True, check=True, text=True, timeout=60)
    return done.stdout


async def test_a_message_in_from_the_first_command_to_exists(live: Live) -> None:
    account = live.account()
    phones = [await live.imap(pod, account, "INBOX") for pod in (1, 1, 2)]
    for phone in phones:
        phone.send(b"i IDLE\r\n")
        assert (await phone.response()).startswith(b"+")
    client = await live.smtp(1)
    answer = await client.transaction(OUTSIDER, account.address, message("followed"))
    await client.say("QUIT")
    for phone in phones:
        await phone.until(b"* 1 EXISTS")
    events = await trace_of(live, answer, "received", "filed", "answered")

    def everybody() -> bool:
        events[:] = events_of(live, id_of(answer))
        told = sum(int(event["details"]["sessions"]) for event in events if event["kind"] == "announced")
        return told == len(phones)

    await until(everybody, 30)
    by_kind = {event["kind"]: event for event in events}
    assert next(iter(by_kind)) == "received"
    assert by_kind["received"]["details"]["phases"].keys() == {"connected", "first_command", "mail", "data", "data_end"}
    assert by_kind["filed"]["message"] == by_kind["announced"]["message"]
    assert by_kind["answered"]["details"] == {"reply": answer, "read": True}
    announced = [event for event in events if event["kind"] == "announced"]
    assert sorted(event["details"]["sessions"] for event in announced) == [1, 2], "one step a gateway"
    assert len({event["details"]["by"] for event in announced}) == 2
    moments = [by_kind[kind]["at"] for kind in ("received", "filed", "announced")]
    assert moments == sorted(moments)
    services = [line.service for line in timeline(events)]
    assert services[:6] == ["smtp_ingress"] * 5 + ["storage_api"]
    assert f"answered {answer}" in read_by_people(live, answer)
    assert "EXISTS sent to 2 sessions in INBOX of" in read_by_people(live, answer)


async def test_a_message_out_to_the_remote_reply(live: Live) -> None:
    sender = live.account()
    async with outside(live) as sink:
        client = await submitting(live, sender)
        answer = await client.transaction(sender.address, "eve@far.example", content(sender, "followed"))
        await client.say("QUIT")
        await sink.until(messages=1)
        events = await trace_of(live, answer, "received", "queued", "answered", "attempt", "delivered")
    by_kind = {event["kind"]: event for event in events}
    received, delivered = by_kind["received"]["details"], by_kind["delivered"]["details"]
    assert (received["login"], received["tls"][:7]) == (sender.address, "TLSv1.3")
    assert delivered["host"] == f"mx.far.example [127.0.0.1]:{live.whole.mx_port}"
    assert delivered["reply"].startswith("250 ")
    assert {"lookup", "connect", "mail", "data", "reply"} <= delivered["phases"].keys()
    assert delivered["queue"] == by_kind["queued"]["details"]["queue"]
    assert [line.service for line in timeline(events)][-1] == "delivery_worker"
    shown = read_by_people(live, answer)
    assert f"delivered eve@far.example at {delivered['host']}" in shown
    assert delivered["reply"] in shown


async def test_a_message_offered_again_names_its_first_and_is_named_by_it(live: Live) -> None:
    account = live.account()
    body = message("offered twice")
    lost = await live.smtp(1)
    first = await lost.transaction(OUTSIDER, account.address, body)
    lost.writer.transport.abort()  # the client is gone before it says anything that shows it has read our 250
    client = await live.smtp(2)
    again = await client.transaction(OUTSIDER, account.address, body)
    first_id, again_id = id_of(first), id_of(again)
    assert again.endswith(f"duplicate of {first_id}")
    one = await trace_of(live, first, "offered_again", "answered")
    other = await trace_of(live, again, "duplicate")
    assert [event["details"]["as"] for event in one if event["kind"] == "offered_again"] == [again_id]
    assert [event["details"]["of"] for event in other if event["kind"] == "duplicate"] == [first_id]
    assert [event["details"]["read"] for event in one if event["kind"] == "answered"] == [False]
