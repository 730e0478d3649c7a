"""Delivery over SMTP to a sink that misbehaves at every phase."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from delivery_worker.smtp_transaction import BrokenOff
from delivery_worker.timeouts import Timeouts
from mailboat_store_client.queue import Outcome, QueuedRecipient, Transport

from tests.support.outbound import MESSAGE, outbound
from tests.support.smtp_sink import PLAIN, Drips, Drops, Floods, Says, Sink, Stalls, smtp_sink

ZONE = """
b.example. 60 MX 10 mx.b.example.
mx.b.example. 60 A 127.0.0.1
"""
TWO = """
b.example. 60 MX 10 mx1.b.example.
b.example. 60 MX 20 mx2.b.example.
mx1.b.example. 60 A 127.0.0.1
mx2.b.example. 60 A 127.0.0.2
"""
QUICK = Timeouts(connect=9, tls=9, greeting=1.5, command=1.5, data=1.5, block=9, done=1.5, quit=0.3)
BOB, EVE = "bob@b.example", "eve@b.example"


@pytest.fixture(params=["chunking", "pipelining", "one by one", "chunking one by one", "HELO"])
async def sink(request: pytest.FixtureRequest):
    """Servers with different offers: what is delivered is the same."""
    async with smtp_sink() as running:
        if request.param == "pipelining":
            running.extensions = PLAIN
        elif request.param == "one by one":
            running.extensions = ("8BITMIME",)
        elif request.param == "chunking one by one":
            running.extensions = ("CHUNKING",)
        elif request.param == "HELO":
            running.on["EHLO"] = Says("502 5.5.1 What?")
        yield running


async def test_a_message_arrives_as_it_is(sink: Sink) -> None:
    async with outbound(ZONE, port=sink.port) as out:
        (bob, eve) = await out.send(out.claimed([BOB, EVE]))
    assert bob.outcome is eve.outcome is Outcome.DELIVERED
    assert bob.status == "2.0.0"
    assert bob.reply == "250 2.0.0 Queued"
    assert bob.host == f"mx.b.example [127.0.0.1]:{sink.port}"
    assert bob.tls == ""
    (taken,) = sink.messages
    assert taken.content == MESSAGE
    assert [rcpt.split()[0] for rcpt in taken.rcpts] == [f"TO:<{BOB}>", f"TO:<{EVE}>"]
    assert taken.mail.split()[0] == "FROM:<ann@a.example>"
    assert out.reported == [([bob, eve], True)]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000])
async def test_any_size_arrives(sink: Sink, size: int) -> None:
    content = (b"X: y\r\n\r\n" + b".234567890\r\n" * (size // 12 + 1))[: size - 2] + b"\r\n" if size > 8 else b"a\r\n"
    async with outbound(ZONE, port=sink.port) as out:
        await out.send(out.claimed([BOB], content))
    assert sink.messages[0].content == content


async def test_each_recipient_has_a_result_of_its_own(sink: Sink) -> None:
    sink.on[f"RCPT <{BOB}>"] = Says("550 5.1.1 No such user")
    sink.on["RCPT <slow@b.example>"] = Says("450 4.2.1 Try later")
    async with outbound(ZONE, port=sink.port) as out:
        bob, eve, slow = await out.send(out.claimed([BOB, EVE, "slow@b.example"]))
    assert (bob.outcome, bob.status, bob.reply) == (Outcome.FAILED, "5.1.1", "550 5.1.1 No such user")
    assert eve.outcome is Outcome.DELIVERED
    assert (slow.outcome, slow.status) == (Outcome.DEFERRED, "4.2.1")
    assert len(sink.messages[0].rcpts) == 1


@pytest.mark.parametrize(("phase", "count"), [("MAIL", 0), ("DATA", 0), ("DATA-END", 0)])
async def test_a_refusal_of_the_message_is_everybodys(phase: str, count: int) -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = PLAIN
        sink.on[phase] = [Says("554-5.7.1 No\n554 5.7.1 thanks")]
        bob, eve = await out.send(out.claimed([BOB, EVE]))
        assert bob.outcome is eve.outcome is Outcome.FAILED
        assert bob.reply == "554 5.7.1 No 5.7.1 thanks"
        assert len(sink.messages) == count
        again = await out.send(out.claimed([BOB]))
        assert again[0].outcome is Outcome.DELIVERED
        assert sink.connections == 1
        assert "RSET" in sink.commands


async def test_nobody_accepted_and_the_session_goes_on(sink: Sink) -> None:
    sink.on["RCPT"] = [Says("550 5.1.1 No"), Says("451 4.3.0 Later")]
    async with outbound(ZONE, port=sink.port) as out:
        bob, eve = await out.send(out.claimed([BOB, EVE]))
        assert (bob.outcome, eve.outcome) == (Outcome.FAILED, Outcome.DEFERRED)
        (bob,) = await out.send(out.claimed([BOB]))
        assert bob.outcome is Outcome.DELIVERED
    assert len(sink.messages) == 1
    assert sink.connections == 1


async def test_a_server_that_wants_data_though_it_took_nobody_gets_an_end() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = PLAIN
        sink.on["RCPT"] = [Says("550 5.1.1 No")]
        sink.on["DATA"] = [Says("354 Go on then")]
        sink.on["DATA-END"] = [Says("554 5.5.1 No recipients")]
        (bob,) = await out.send(out.claimed([BOB]))
        assert bob.reply == "550 5.1.1 No"
        (bob,) = await out.send(out.claimed([BOB]))
        assert bob.outcome is Outcome.DELIVERED
        assert sink.connections == 1


async def test_too_many_recipients_go_in_further_transactions(sink: Sink) -> None:
    people = [f"p{number}@b.example" for number in range(250)]
    for number in (40, 41, 42):
        sink.on[f"RCPT <p{number}@b.example>"] = [Says("452 4.5.3 Too many")]
    sink.on["RCPT <p50@b.example>"] = Says("452 4.2.2 Mailbox full")
    async with outbound(ZONE, port=sink.port) as out:
        reports = await out.send(out.claimed(people))
    outcomes = [report.outcome for report in reports]
    assert outcomes.count(Outcome.DELIVERED) == 249
    assert reports[50].status == "4.2.2"
    assert [final for _, final in out.reported] == [False, False, True]
    assert sorted(len(taken.rcpts) for taken in sink.messages) == [53, 96, 100]
    assert sink.connections == 1


@pytest.mark.parametrize("phase", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    "behaviour",
    [Stalls(), Drops(), Drops("250-half a re"), Floods(), Says("421 4.3.2 Closing"), Says("no reply at all")],
    ids=lambda item: type(item).__name__ + str(getattr(item, "text", getattr(item, "after", ""))),
)
async def test_whatever_goes_wrong_before_the_message_the_next_server_gets_it(phase: str, behaviour: object) -> None:
    async with smtp_sink() as first, smtp_sink(host="127.0.0.2", port=first.port) as second:
        first.extensions = PLAIN
        first.on[phase] = behaviour  # type: ignore[assignment]
        async with outbound(TWO, port=first.port, timeouts=QUICK if isinstance(behaviour, Stalls) else None) as out:
            (bob,) = await out.send(out.claimed([BOB]))
            assert bob.outcome is Outcome.DELIVERED
            assert bob.host.startswith("mx2.b.example")
    assert not first.messages
    assert second.messages[0].content == MESSAGE


@pytest.mark.parametrize("extensions", [PLAIN, ("CHUNKING", "PIPELINING"), ("CHUNKING",), ()], ids=str)
@pytest.mark.parametrize(
    "behaviour", [Stalls(), Drops(), Floods(), Says("nonsense")], ids=lambda item: type(item).__name__
)
async def test_an_unknown_fate_is_deferred_and_not_sent_elsewhere(
    extensions: tuple[str, ...], behaviour: object
) -> None:
    async with smtp_sink() as first, smtp_sink(host="127.0.0.2", port=first.port) as second:
        first.extensions = extensions
        first.on["BDAT" if "CHUNKING" in extensions else "DATA-END"] = behaviour  # type: ignore[assignment]
        first.on[f"RCPT <{EVE}>"] = Says("550 5.1.1 No")
        async with outbound(TWO, port=first.port, timeouts=QUICK if isinstance(behaviour, Stalls) else None) as out:
            bob, eve = await out.send(out.claimed([BOB, EVE]))
    assert (bob.outcome, bob.status) == (Outcome.DEFERRED, "4.4.2")
    assert "isn't known" in bob.reason
    assert eve.outcome is Outcome.FAILED
    assert not second.connections


async def test_421_after_the_message_is_an_answer() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = PLAIN
        sink.on["DATA-END"] = [Says("421 4.3.2 Shutting down")]
        (bob,) = await out.send(out.claimed([BOB]))
        assert (bob.outcome, bob.reply) == (Outcome.DEFERRED, "421 4.3.2 Shutting down")
        (bob,) = await out.send(out.claimed([BOB]))
        assert bob.outcome is Outcome.DELIVERED
        assert sink.connections == 2


async def test_replies_an_octet_at_a_time(sink: Sink) -> None:
    for phase in ("GREETING", "MAIL", "RCPT", "DATA", "DATA-END", "BDAT"):
        sink.on[phase] = Drips()
    async with outbound(ZONE, port=sink.port) as out:
        (bob,) = await out.send(out.claimed([BOB]))
    assert bob.outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    ("greeting", "outcome", "status"),
    [
        ("554 5.7.1 Go away", Outcome.DEFERRED, "4.3.2"),
        ("450 4.7.1 Not now", Outcome.DEFERRED, "4.3.2"),
        ("521 5.3.2 This host takes no mail", Outcome.FAILED, "5.3.2"),
    ],
)
async def test_a_server_that_does_not_greet(greeting: str, outcome: Outcome, status: str) -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.on["GREETING"] = Says(greeting)
        (bob,) = await out.send(out.claimed([BOB]))
        assert (bob.outcome, bob.status, bob.reply) == (outcome, status, greeting)


async def test_a_kept_connection_that_died_costs_nothing() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        await out.send(out.claimed([BOB]))
        sink.on["MAIL"] = [Drops()]
        (bob,) = await out.send(out.claimed([BOB]))
        assert bob.outcome is Outcome.DELIVERED
        assert sink.connections == 2
        assert len(sink.messages) == 2


async def test_a_connection_is_used_for_so_many_messages() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port, max_messages=3) as out:
        for _ in range(7):
            await out.send(out.claimed([BOB]))
        assert [taken.connection for taken in sink.messages] == [1, 1, 1, 2, 2, 2, 3]
        await sink.until(command="QUIT")


async def test_no_more_connections_than_allowed_and_everything_arrives() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port, limit=3) as out:
        reports = await asyncio.gather(*(out.send(out.claimed([BOB])) for _ in range(30)))
        assert all(report[0].outcome is Outcome.DELIVERED for report in reports)
        assert sink.most_open <= 3
        assert len(sink.messages) == 30


async def test_a_dead_server_is_left_alone_and_the_others_told_its_error() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port, limit=1, timeouts=QUICK) as out:
        sink.on["GREETING"] = Stalls()
        reports = await asyncio.gather(*(out.send(out.claimed([BOB])) for _ in range(20)))
        assert {report[0].reason for report in reports} == {"the server took too long to answer"}
        assert {report[0].outcome for report in reports} == {Outcome.DEFERRED}
        assert sink.connections == 1
        sink.on.clear()
        (bob,) = await out.send(out.claimed([BOB]))
        assert bob.outcome is Outcome.DEFERRED
        out.clock.now += 31
        (bob,) = await out.send(out.claimed([BOB]))
        assert bob.outcome is Outcome.DELIVERED


@pytest.mark.parametrize("extensions", [PLAIN, ("CHUNKING", "PIPELINING"), ()], ids=str)
@pytest.mark.parametrize("content", [MESSAGE, MESSAGE * 3000], ids=["small", "large"])
async def test_without_the_claim_no_message_is_completed(extensions: tuple[str, ...], content: bytes) -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = extensions
        out.may_finish = False
        with pytest.raises(BrokenOff):
            await out.send(out.claimed([BOB], content))
        assert not sink.messages
        assert not out.reported


async def test_too_large_for_the_server_is_said_before_anything_is_sent() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = ("PIPELINING", "SIZE 50")
        bob, eve = await out.send(out.claimed([BOB, EVE]))
        assert bob.outcome is eve.outcome is Outcome.FAILED
        assert bob.status == "5.3.4"
        assert not any(line.startswith("MAIL") for line in sink.commands)


async def test_dsn_is_passed_on() -> None:
    recipient = QueuedRecipient(BOB, "SUCCESS,FAILURE", "rfc822;Bob@b.example")
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        (bob,) = await out.send(out.claimed([recipient], envid="a+b=c", ret="HDRS"))
        assert bob.dsn_passed_on
        assert sink.messages[0].mail.endswith("RET=HDRS ENVID=a+2Bb+3Dc")
        assert sink.messages[0].rcpts == [f"TO:<{BOB}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@b.example"]
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = ()
        (bob,) = await out.send(out.claimed([recipient], envid="a", ret="HDRS"))
        assert not bob.dsn_passed_on
        assert (sink.messages[0].mail, sink.messages[0].rcpts) == ("FROM:<ann@a.example>", [f"TO:<{BOB}>"])


async def test_parameters_hold_nothing_that_ends_a_command() -> None:
    recipient = QueuedRecipient(BOB, "SUCCESS\r\nRSET", "rfc822;x\r\nRSET")
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        await out.send(out.claimed([recipient], envid="a\r\nRSET", ret="HDRS\r\nRSET"))
        assert "RSET" not in sink.commands
        assert sink.messages[0].mail.endswith("ENVID=a+0D+0ARSET")


async def test_the_null_reverse_path() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        await out.send(out.claimed([BOB], reverse_path=""))
        assert sink.messages[0].mail.split()[0] == "FROM:<>"


EIGHT = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nViele Grüße aus Mainz\r\n".encode()


async def test_eight_bits_are_announced_or_converted() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        await out.send(out.claimed([BOB], EIGHT))
        assert "BODY=8BITMIME" in sink.messages[0].mail
        assert sink.messages[0].content == EIGHT
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = ("SIZE 10000",)
        await out.send(out.claimed([BOB], EIGHT))
        assert "BODY" not in sink.messages[0].mail
        assert sink.messages[0].content == (
            b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\nViele Gr=C3=BC=C3=9Fe aus Mainz\r\n"
        )
        assert f"SIZE={len(sink.messages[0].content)}" in sink.messages[0].mail


async def test_what_is_signed_is_not_converted() -> None:
    signed = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n--b\r\n\r\nsig\r\n--b--\r\n"
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = ()
        (bob,) = await out.send(out.claimed([BOB], signed))
        assert (bob.outcome, bob.status) == (Outcome.FAILED, "5.6.3")


async def test_internationalised_mail() -> None:
    wide = "jürgen@b.example"
    header = "Subject: Grüße\r\n\r\nx\r\n".encode()
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        await out.send(out.claimed([wide], header, smtputf8=True))
        assert sink.messages[0].rcpts == [f"TO:<{wide}>"]
        assert sink.messages[0].mail.endswith("BODY=8BITMIME SMTPUTF8")
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = PLAIN
        bob, other = await out.send(out.claimed([BOB, wide], smtputf8=True))
        assert bob.outcome is Outcome.DELIVERED
        assert (other.outcome, other.status) == (Outcome.FAILED, "5.6.7")
        (bob,) = await out.send(out.claimed([BOB], header, smtputf8=True))
        assert (bob.outcome, bob.status) == (Outcome.FAILED, "5.6.7")
        (bob,) = await out.send(out.claimed([BOB], smtputf8=True, reverse_path="ann@grün.example"))
        assert bob.outcome is Outcome.DELIVERED
        assert sink.messages[-1].mail.split()[0] == "FROM:<ann@xn--grn-ioa.example>"


async def test_a_smarthost_needs_no_dns_and_may_be_anywhere() -> None:
    async with smtp_sink() as sink, outbound("", port=1, networks=()) as out:
        transport = Transport(host="127.0.0.1", port=sink.port)
        claimed = replace(out.claimed([BOB]), transport=transport)
        (bob,) = await out.send(claimed)
        assert bob.outcome is Outcome.DELIVERED
        assert out.hops == {"b.example": f"127.0.0.1:{sink.port}"}
