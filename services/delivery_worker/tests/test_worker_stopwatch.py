"""Where an attempt spends its time, and what is told of it."""

from __future__ import annotations

import ssl
from dataclasses import fields
from pathlib import Path

from delivery_worker.stopwatch import Stopwatch
from mailboat_store_client import codec_queue
from mailboat_store_client.queue import AttemptReport, ClaimToken, Phases, QueueId

from tests.support.outbound import Clock, outbound
from tests.support.smtp_sink import PLAIN, Says, smtp_sink
from tests.support.wire import authority_fixture, tls_dir_fixture  # noqa: F401

ZONE = """
b.example. 60 MX 10 mx1.b.example.
b.example. 60 MX 20 mx2.b.example.
mx1.b.example. 60 A 127.0.0.2
mx2.b.example. 60 A 127.0.0.1
one.example. 60 A 127.0.0.1
"""


def known(phases: Phases) -> set[str]:
    return {field.name for field in fields(Phases) if getattr(phases, field.name) is not None}


def test_phases_add_up_and_a_new_transaction_begins_anew() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for phase, seconds in (("lookup", 0.25), ("connect", 1.0), ("lookup", 0.5), ("connect", 2.0)):
        watch.start(phase)
        clock.now += seconds
    watch.stop()
    clock.now += 100.0
    watch.split("connect", {"tls": 0.125, "wait": 0.5})
    for mail, reply in ((0.003, 0.3), (0.004, 0.4)):
        watch.start_transaction()
        clock.now += mail
        watch.start("reply")
        clock.now += reply
        watch.stop()
    assert watch.phases() == Phases(lookup=750, connect=2375, tls=125, wait=500, mail=4, reply=400)
    watch.forget("connect")
    assert watch.phases().connect is None


def test_phases_survive_the_wire_and_nothing_isn_t_zero() -> None:
    for phases in (Phases(), Phases(lookup=0, reply=1), Phases(1, 2, 3, 4, 5, 6, 7)):
        sent = AttemptReport(QueueId(b"q" * 16), ClaimToken(b"t" * 16), (), True, phases)
        message = codec_queue.to_reports([sent])
        assert codec_queue.from_reports(type(message).FromString(message.SerializeToString())) == [sent]


async def test_an_attempt_tells_all_its_phases_and_a_kept_connection_no_connect(tls_dir: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls_dir / "tls.crt", tls_dir / "tls.key")
    async with smtp_sink(context) as sink, outbound(ZONE, port=sink.port) as out:
        for _ in range(2):
            await out.send(out.claimed(["bob@one.example"]))
    first, second = out.phases
    assert known(first) == {"lookup", "connect", "tls", "mail", "data", "reply"}
    assert known(second) == {"lookup", "mail", "data", "reply"}


async def test_a_server_that_isn_t_there_takes_time_to_connect_too() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = PLAIN
        await out.send(out.claimed(["bob@b.example"]))
    assert known(out.phases[-1]) == {"lookup", "connect", "mail", "data", "reply"}


async def test_a_refused_recipient_has_no_reply_to_data() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        sink.extensions = ("8BITMIME",)
        sink.on["RCPT"] = Says("550 5.1.1 No such user")
        await out.send(out.claimed(["bob@one.example"]))
    assert known(out.phases[-1]) == {"lookup", "connect", "mail", "data"}  # data: nothing of it was sent


async def test_a_domain_without_servers_has_a_lookup_alone() -> None:
    async with outbound("none.example. 60 MX 0 .\n") as out:
        await out.send(out.claimed(["bob@none.example"]))
    assert known(out.phases[-1]) == {"lookup"}
