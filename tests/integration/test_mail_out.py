"""Mail from a user to another server, on the running stack: submission, queue, worker, and what the server got."""

from __future__ import annotations

import asyncio
import base64
import email
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.dns_server import dns_server
from tests.support.smtp_sink import Says, Sink, smtp_sink
from tests.support.stack import Account, Live, Smtp, until

pytestmark = pytest.mark.stack

ZONE = """
far.example. 5 MX 10 gone.far.example.
far.example. 5 MX 20 mx.far.example.
mx.far.example. 5 A 127.0.0.1
near.example. 5 A 127.0.0.1
"""


@asynccontextmanager
async def outside(live: Live) -> AsyncIterator[Sink]:
    """The rest of the internet."""
    async with dns_server(ZONE, port=live.whole.dns_port), smtp_sink(port=live.whole.mx_port) as sink:
        yield sink


async def submitting(live: Live, account: Account, pod: int = 1) -> Smtp:
    """A session that is logged in."""
    client = await live.smtp(pod, "submissions")
    login = base64.b64encode(f"\0{account.address}\0{account.password}".encode()).decode()
    assert (await client.say(f"AUTH PLAIN {login}")).startswith("235")
    return client


def content(sender: Account, subject: str) -> bytes:
    text = f"From: {sender.address}\r\nTo: eve@far.example\r\nSubject: {subject}\r\n\r\nGrüße\r\n.\r\nEnd\r\n"
    return text.encode()


async def test_a_user_writes_to_another_server(live: Live) -> None:
    sender = live.account()
    async with outside(live) as sink:
        client = await submitting(live, sender)
        assert (await client.transaction(sender.address, "eve@far.example", content(sender, "one"))).startswith("250")
        await sink.until(messages=1)
        taken = sink.messages[0]
        assert taken.mail.startswith(f"FROM:<{sender.address}>")
        assert "BODY=8BITMIME" in taken.mail
        assert taken.content.endswith("\r\n\r\nGrüße\r\n.\r\nEnd\r\n".encode())
        assert email.message_from_bytes(taken.content)["Received"]
        lines: list[dict[str, object]] = []

        def told() -> bool:
            lines[:] = [line for line in live.whole.log_lines("delivery_worker") if line["event"] == "delivery attempt"]
            return any(line["domain"] == "far.example" for line in lines)

        await until(told)
    (line,) = [line for line in lines if line["domain"] == "far.example"]
    assert (line["result"], line["host"]) == ("delivered", f"mx.far.example [127.0.0.1]:{live.whole.mx_port}")
    assert line["trace_id"]


async def test_many_messages_by_two_gateways_and_two_workers_arrive_once_each(live: Live) -> None:
    sender = live.account()
    wanted = {f"many-{number}" for number in range(60)}
    async with outside(live) as sink:
        sink.on["RCPT"] = [Says("450 4.2.1 Later")]

        async def submit(pod: int, subjects: list[str]) -> None:
            client = await submitting(live, sender, pod)
            for subject in subjects:
                answer = await client.transaction(sender.address, "eve@near.example", content(sender, subject))
                assert answer.startswith("250"), answer

        ordered = sorted(wanted)
        await asyncio.gather(submit(1, ordered[:30]), submit(2, ordered[30:]))
        await sink.until(messages=59)
        subjects = [email.message_from_bytes(taken.content)["Subject"] for taken in sink.messages]
        assert len(subjects) == len(set(subjects)) == 59  # one was told to wait
        assert set(subjects) < wanted
