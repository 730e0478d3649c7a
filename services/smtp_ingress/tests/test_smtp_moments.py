"""What a session notes for the trace of its messages: when things happened, and what was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from mailboat_store_client.types import Answered, DeliverResult, Envelope, Reception
from smtp_ingress.moments import Moments

MESSAGE = b"Subject: hello\r\n\r\nHow are you?\r\n.\r\n"


def test_moments_follow_the_steady_clock_from_one_look_at_the_wall() -> None:
    wall, steady = 1_700_000_000_000_000_000, 5_000_000_000
    moments = Moments(lambda: wall, lambda: steady)
    assert moments.connected == 1_700_000_000_000
    wall -= 3_600_000_000_000  # somebody sets the clock back
    steady += 7_000_000
    moments.spoke()
    steady += 1_000_000
    moments.spoke()
    assert (moments.first_command, moments.now()) == (1_700_000_000_007, 1_700_000_000_008)


@pytest.fixture
def envelopes(ingress, monkeypatch: pytest.MonkeyPatch) -> list[Envelope]:
    """What the store is given."""
    given: list[Envelope] = []
    deliver = ingress.store.delivery.deliver

    async def noted(envelope: Envelope, content: bytes) -> DeliverResult:
        given.append(envelope)
        return await deliver(envelope, content)

    monkeypatch.setattr(ingress.store.delivery, "deliver", noted)
    return given


async def send(wire, message: bytes = MESSAGE) -> str:
    assert (await wire.say("MAIL FROM:<a@b.example>")).startswith("250")
    assert (await wire.say("RCPT TO:<alice@example.test>")).startswith("250")
    assert (await wire.say("DATA")).startswith("354")
    wire.send(message)
    return await wire.reply()


def rising(reception: Reception | None) -> Sequence[int]:
    assert reception is not None
    moments = (reception.connected, reception.first_command, reception.mail, reception.data, reception.data_end)
    assert list(moments) == sorted(moments)
    assert all(moments)
    return moments


async def test_each_transaction_brings_its_moments(ingress, envelopes: list[Envelope]) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO client.example")
    await wire.say("STARTTLS")
    await wire.start_tls(ingress.context)
    await wire.say("EHLO client.example")
    await send(wire)
    await wire.say("MAIL FROM:<a@b.example>")
    await wire.say("RCPT TO:<alice@example.test>")
    wire.send(b"BDAT 7\r\nA: b\r\n\r")
    await wire.reply()
    wire.send(b"BDAT 6 LAST\r\n\nhello")
    assert (await wire.reply()).startswith("250")
    first, second = (envelope.reception for envelope in envelopes)
    assert first is not None
    assert second is not None
    assert rising(first)[:2] == rising(second)[:2], "the connection's"
    assert first.first_command <= first.secured <= first.mail
    assert second.mail >= first.data_end
    assert (first.number, second.number) == (1, 2)
    assert first.tls.startswith("TLSv1.3 ")


async def test_without_tls_nothing_is_said_of_it(ingress, envelopes: list[Envelope]) -> None:
    wire = await ingress.connect()
    await wire.say("HELO client.example")
    await send(wire)
    reception = envelopes[0].reception
    assert reception is not None
    assert (reception.secured, reception.tls) == (0, "")


async def told(ingress, count: int) -> list[Answered]:
    """What the store was told of answers."""
    async with asyncio.timeout(5):
        while len(ingress.store.delivery.answered) < count:  # noqa: ASYNC110 - the ingress tells by itself
            await asyncio.sleep(0.01)
    return list(ingress.store.delivery.answered)


async def test_answers_go_with_the_next_delivery(ingress, envelopes: list[Envelope]) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO client.example")
    answer = await send(wire)
    await send(wire, b"Subject: another\r\n\r\n.\r\n")
    first, second = envelopes
    assert second.confirmed == (first.trace_id,)
    assert [(one.trace_id, one.reply) for one in second.answered] == [(first.trace_id, answer)]
    assert first.reception is not None
    assert second.reception is not None
    assert first.reception.data_end <= second.answered[0].at <= second.reception.mail


async def test_an_answer_that_nobody_read_is_told_when_the_connection_ends(ingress, envelopes) -> None:
    wire = await ingress.connect()
    await wire.say("EHLO client.example")
    answer = await send(wire)
    wire.writer.transport.abort()
    (one,) = await told(ingress, 1)
    assert (one.trace_id, one.reply) == (envelopes[0].trace_id, answer)
    assert one.trace_id not in ingress.store.confirmed


async def test_a_refusal_is_told_too(start) -> None:
    ingress = await start()
    ingress.store.account(ingress.account).quota_bytes = 1
    wire = await ingress.connect()
    await wire.say("EHLO client.example")
    answer = await send(wire)
    assert answer.startswith("452 4.2.2")
    await wire.say("QUIT")
    assert [one.reply for one in await told(ingress, 1)] == [answer]
