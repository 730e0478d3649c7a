"""Delivery to Debian's Postfix: what it offers, takes and refuses, and that it has every octet."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from mailboat_store_client.queue import Outcome, QueuedRecipient, TlsMode, Transport

from tests.support.outbound import MESSAGE, outbound
from tests.support.postfix import PostfixNode

ZONE = """
b.example. 60 MX 10 mx.b.example.
mx.b.example. 60 A 127.0.0.1
"""
EIGHT = "Subject: Grüße\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nViele Grüße\r\n.\r\n..\r\n".encode()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def node(ca: trustme.CA) -> Iterator[PostfixNode]:
    with tempfile.TemporaryDirectory(prefix="postfix-") as name:  # a short path: its sockets' names are bounded
        directory = Path(name)
        pair = ca.issue_cert("mx.b.example")
        certificate, key = directory / "tls.crt", directory / "tls.key"
        certificate.write_bytes(b"".join(part.bytes() for part in pair.cert_chain_pems))
        key.write_bytes(pair.private_key_pem.bytes())
        settings = ["message_size_limit = 2000000", "smtpd_recipient_limit = 5"]
        users = [f"user{number}" for number in range(12)]
        made = PostfixNode(
            directory / "node", {"b.example": ["bob", *users]}, tls=(certificate, key), settings=settings
        )
        made.start()
        try:
            yield made
        finally:
            made.stop()


async def arrived(node: PostfixNode, user: str, count: int = 1) -> list[bytes]:
    """Waits until so many messages are in the user's mailbox."""
    async with asyncio.timeout(30):
        while len(node.mail(user)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return node.mail(user)


async def test_messages_arrive_whole_over_one_connection(node: PostfixNode, ca: trustme.CA) -> None:
    before = len(node.mail("bob"))
    contents = [MESSAGE, EIGHT, b"Subject: large\r\n\r\n" + b"." * 70 + b"\r\n" + b".x\r\n" * 200_000]
    async with outbound(ZONE, port=node.port, ca=ca.cert_pem.bytes()) as out:
        transport = Transport(tls=TlsMode.VERIFY)
        for content in contents:
            smtputf8 = content is EIGHT
            (bob,) = await out.send(out.claimed(["bob@b.example"], content, transport=transport, smtputf8=smtputf8))
            assert (bob.outcome, bob.tls) == (Outcome.DELIVERED, "TLSv1.3")
            assert bob.status == "2.0.0"
            assert "queued as" in bob.reply
        found = await arrived(node, "bob", before + 3)
    bodies = {content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") for content in contents}
    assert {text.partition(b"\n\n")[2] for text in found} >= bodies


async def test_who_it_does_not_know_and_what_it_does_not_relay(node: PostfixNode) -> None:
    async with outbound(ZONE, port=node.port) as out:
        bob, nobody, other = await out.send(out.claimed(["bob@b.example", "nobody@b.example", "eve@elsewhere.example"]))
    assert bob.outcome is Outcome.DELIVERED
    assert (nobody.outcome, nobody.status) == (Outcome.FAILED, "5.1.1")
    assert (other.outcome, other.status) == (Outcome.DEFERRED, "4.7.1")
    assert other.reply.startswith("454 4.7.1")


async def test_more_recipients_than_it_takes_at_once(node: PostfixNode) -> None:
    people = [f"user{number}@b.example" for number in range(12)]
    async with outbound(ZONE, port=node.port) as out:
        reports = await out.send(out.claimed(people))
    assert {report.outcome for report in reports} == {Outcome.DELIVERED}
    assert [len(results) for results, _ in out.reported] == [5, 5, 2]
    for number in range(12):
        assert len(await arrived(node, f"user{number}")) == 1


async def test_its_size_limit_is_believed(node: PostfixNode) -> None:
    async with outbound(ZONE, port=node.port) as out:
        (bob,) = await out.send(out.claimed(["bob@b.example"], b"Subject: x\r\n\r\n" + b"x" * 76 * 30_000))
    assert (bob.outcome, bob.status) == (Outcome.FAILED, "5.3.4")
    assert "2000000" in bob.reason


async def test_dsn_is_its_duty_then(node: PostfixNode) -> None:
    recipient = QueuedRecipient("bob@b.example", "SUCCESS,DELAY", "rfc822;Bob@b.example")
    async with outbound(ZONE, port=node.port) as out:
        (bob,) = await out.send(out.claimed([recipient], envid="E+1=x", ret="FULL"))
    assert bob.outcome is Outcome.DELIVERED
    assert bob.dsn_passed_on
