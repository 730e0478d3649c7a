"""TLS in every mode, AUTH, and MTA-STS with a web server of its own."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trustme
from aiohttp import web
from delivery_worker.lookup import DnsLookup, make_resolver
from delivery_worker.mta_sts import HttpsFetch, Mode, Policies, Policy, PolicyError, parse_policy, parse_record
from delivery_worker.mx import Exchangers
from delivery_worker.timeouts import Timeouts
from mailboat_common.config import Network
from mailboat_store_client.queue import Outcome, TlsMode, Transport

from tests.support.dns_server import Fault, dns_server
from tests.support.outbound import Clock, Outbound, outbound
from tests.support.smtp_sink import PLAIN, Drops, Says, Sink, Stalls, smtp_sink

BOB = "bob@b.example"
ZONE = """
b.example. 60 MX 10 mx.b.example.
mx.b.example. 60 A 127.0.0.1
"""
STS = '_mta-sts.b.example. 60 TXT "v=STSv1; id=one;"\n'
QUICK = Timeouts(connect=5, tls=0.5, greeting=5, command=0.5, data=5, block=5, done=5, quit=0.3)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def pem(ca: trustme.CA) -> bytes:
    return ca.cert_pem.bytes()


def context(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(made)
    return made


async def sent(out: Outbound, sink: Sink, transport: Transport):
    (bob,) = await out.send(out.claimed([BOB], transport=transport))
    return bob


@pytest.mark.parametrize("mode", [TlsMode.MAY, TlsMode.ENCRYPT, TlsMode.VERIFY])
async def test_starttls(ca: trustme.CA, mode: TlsMode) -> None:
    async with smtp_sink(context(ca, "mx.b.example")) as sink, outbound(ZONE, port=sink.port, ca=pem(ca)) as out:
        bob = await sent(out, sink, Transport(tls=mode))
        assert (bob.outcome, bob.tls) == (Outcome.DELIVERED, "TLSv1.3")
        assert sink.messages[0].tls == "TLSv1.3"
        assert [line.split()[0] for line in sink.commands[:3]] == ["EHLO", "STARTTLS", "EHLO"]
        again = await sent(out, sink, Transport(tls=mode))
        assert again.tls == "TLSv1.3"
        assert sink.connections == 1


async def test_none_does_not_ask_for_tls(ca: trustme.CA) -> None:
    async with smtp_sink(context(ca, "mx.b.example")) as sink, outbound(ZONE, port=sink.port) as out:
        assert (await sent(out, sink, Transport(tls=TlsMode.NONE))).tls == ""
        assert "STARTTLS" not in sink.commands


async def test_the_certificate_counts_only_where_it_is_asked_for(ca: trustme.CA) -> None:
    async with smtp_sink(context(ca, "other.example")) as sink, outbound(ZONE, port=sink.port, ca=pem(ca)) as out:
        for mode in (TlsMode.MAY, TlsMode.ENCRYPT):
            assert (await sent(out, sink, Transport(tls=mode))).tls == "TLSv1.3"
        bob = await sent(out, sink, Transport(tls=TlsMode.VERIFY))
        assert (bob.outcome, bob.status) == (Outcome.DEFERRED, "4.7.5")
        assert "certificate isn't valid" in bob.reason
        assert len(sink.messages) == 2


@pytest.mark.parametrize("trouble", ["not offered", "refused", "broken", "stalled", "too old"])
@pytest.mark.parametrize("mode", [TlsMode.MAY, TlsMode.ENCRYPT, TlsMode.VERIFY])
async def test_only_may_falls_back_to_the_clear(ca: trustme.CA, mode: TlsMode, trouble: str) -> None:
    server = context(ca, "mx.b.example")
    if trouble == "too old":
        with pytest.warns(DeprecationWarning):  # what this server is configured with
            server.maximum_version = ssl.TLSVersion.TLSv1_1
            server.minimum_version = ssl.TLSVersion.TLSv1
    async with smtp_sink(server) as sink, outbound(ZONE, port=sink.port, ca=pem(ca), timeouts=QUICK) as out:
        if trouble == "not offered":
            sink.tls = None
        elif trouble == "refused":
            sink.on["STARTTLS"] = Says("454 4.7.0 Not now")
        elif trouble == "broken":
            sink.on["TLS"] = Drops()
        elif trouble == "stalled":
            sink.on["STARTTLS"] = [Stalls(), Says("454 4.7.0 Not now")]
        bob = await sent(out, sink, Transport(tls=mode))
        if mode is TlsMode.MAY and trouble != "stalled":
            assert (bob.outcome, bob.tls) == (Outcome.DELIVERED, "")
        else:
            assert bob.outcome is Outcome.DEFERRED
            assert bob.status[:4] in ("4.7.", "4.4.")
            assert not sink.messages


async def test_what_was_said_before_tls_is_not_believed(ca: trustme.CA) -> None:
    async with smtp_sink(context(ca, "mx.b.example")) as sink, outbound(ZONE, port=sink.port, timeouts=QUICK) as out:
        sink.on["STARTTLS"] = Says("220 2.0.0 Go\n250 injected")
        bob = await sent(out, sink, Transport(tls=TlsMode.ENCRYPT))
        assert bob.outcome is Outcome.DEFERRED
        assert "more than its answer to STARTTLS" in bob.reason


@pytest.mark.parametrize("offered", [(), ("AUTH LOGIN",), ("AUTH=LOGIN PLAIN",)], ids=str)
async def test_a_smarthost_with_a_password(ca: trustme.CA, offered: tuple[str, ...]) -> None:
    async with smtp_sink(context(ca, "localhost"), implicit=True) as sink:
        sink.extensions = (*PLAIN, *offered)
        sink.logins = {"jürgen": "s3cret\u00fc"}
        transport = Transport("localhost", sink.port, TlsMode.IMPLICIT, "jürgen", "s3cret\u00fc")
        zone = "localhost. 60 A 127.0.0.1\n"
        async with outbound(zone, ca=pem(ca), networks=()) as out:
            bob = await sent(out, sink, transport)
            assert bob.outcome is Outcome.DELIVERED
            assert sink.messages[0].login == "jürgen"
            bob = await sent(out, sink, replace(transport, password="wrong"))
            assert (bob.outcome, bob.status, bob.reply) == (Outcome.DEFERRED, "4.7.8", "535 5.7.8 Wrong")
            assert sink.messages[-1] is sink.messages[0]
    assert "s3cret" not in repr(transport)


@pytest.mark.parametrize("mode", [TlsMode.MAY, TlsMode.ENCRYPT, TlsMode.VERIFY])
async def test_no_password_in_the_clear(mode: TlsMode) -> None:
    async with smtp_sink() as sink, outbound("s.example. 60 A 127.0.0.1\n") as out:
        sink.logins = {"ann": "secret"}
        transport = Transport("s.example", sink.port, mode, "ann", "secret")
        bob = await sent(out, sink, transport)
        assert bob.outcome is Outcome.DEFERRED
        assert not any(line.startswith("AUTH") for line in sink.commands)
        assert (await sent(out, sink, replace(transport, tls=TlsMode.NONE))).outcome is Outcome.DELIVERED
        assert sink.messages[0].login == "ann"


async def test_no_password_after_a_failed_handshake(ca: trustme.CA) -> None:
    async with smtp_sink(context(ca, "s.example")) as sink, outbound("s.example. 60 A 127.0.0.1\n") as out:
        sink.logins = {"ann": "secret"}
        sink.on["TLS"] = Drops()
        bob = await sent(out, sink, Transport("s.example", sink.port, TlsMode.MAY, "ann", "secret"))
        assert bob.outcome is Outcome.DEFERRED
        assert not any(line.startswith("AUTH") for line in sink.commands)


async def test_connections_are_shared_only_on_the_same_terms(ca: trustme.CA) -> None:
    async with smtp_sink(context(ca, "s.example")) as sink:
        sink.logins = {"ann": "secret", "eve": "other"}
        async with outbound("s.example. 60 A 127.0.0.1\n", ca=pem(ca)) as out:
            for user, password in (("ann", "secret"), ("eve", "other"), ("ann", "secret")):
                await sent(out, sink, Transport("s.example", sink.port, TlsMode.VERIFY, user, password))
            await sent(out, sink, Transport("s.example", sink.port, TlsMode.MAY))
        assert [taken.login for taken in sink.messages] == ["ann", "eve", "ann", ""]
        assert [taken.connection for taken in sink.messages] == [1, 2, 1, 3]


# -- MTA-STS

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx.b.example\r\nmx: *.backup.example\r\nmax_age: 600\r\n"


@dataclass
class Fetched:
    """A fetch that answers with `body`, or fails if it is empty."""

    body: bytes = POLICY
    times: int = 0

    async def __call__(self, domain: str) -> bytes:
        self.times += 1
        if not self.body:
            raise PolicyError("nothing there")
        return self.body


@pytest.mark.parametrize(("name", "status"), [("mx.b.example", ""), ("wrong.example", "4.7.5"), ("", "4.7.4")])
async def test_enforced_the_certificate_must_be_valid(ca: trustme.CA, name: str, status: str) -> None:
    fetch = Fetched()
    async with (
        smtp_sink(context(ca, name) if name else None) as sink,
        outbound(ZONE + STS, port=sink.port, ca=pem(ca), fetch=fetch) as out,
    ):
        bob = await sent(out, sink, Transport())
        if status:
            assert (bob.outcome, bob.status) == (Outcome.DEFERRED, status)
        else:
            assert (bob.outcome, bob.tls) == (Outcome.DELIVERED, "TLSv1.3")
        assert fetch.times == 1


async def test_enforced_hosts_that_are_not_named_get_nothing(ca: trustme.CA) -> None:
    zone = STS + "b.example. 60 MX 1 evil.example.\nevil.example. 60 A 127.0.0.1\n"
    async with smtp_sink(context(ca, "evil.example")) as sink:
        async with outbound(zone, port=sink.port, ca=pem(ca), fetch=Fetched()) as out:
            bob = await sent(out, sink, Transport())
            assert (bob.outcome, bob.status) == (Outcome.DEFERRED, "4.7.5")
            assert not sink.connections
            assert (await sent(out, sink, Transport(tls=TlsMode.NONE))).outcome is Outcome.DELIVERED
        async with outbound(zone + ZONE, port=sink.port, ca=pem(ca), fetch=Fetched()) as out:
            bob = await sent(out, sink, Transport())
            assert bob.host.startswith("mx.b.example")


@pytest.mark.parametrize("mode", [b"testing", b"none"])
async def test_testing_and_none_change_nothing(ca: trustme.CA, mode: bytes) -> None:
    fetch = Fetched(POLICY.replace(b"enforce", mode).replace(b"mx.b", b"other.b"))
    async with smtp_sink() as sink, outbound(ZONE + STS, port=sink.port, fetch=fetch) as out:
        assert (await sent(out, sink, Transport())).outcome is Outcome.DELIVERED


async def test_a_policy_outlives_its_record_and_its_web_server() -> None:
    fetch = Fetched()
    clock = Clock()
    async with dns_server(STS) as dns:
        resolver = make_resolver([dns.address])
        resolver.timeout, resolver.lifetime = 0.1, 0.2
        policies = Policies(DnsLookup(resolver, clock=clock), fetch, clock=clock)
        found = await policies.of("b.example")
        assert found == Policy(Mode.ENFORCE, 600, ("mx.b.example", "*.backup.example"))
        assert await policies.of("b.example") is found
        assert fetch.times == 1
        dns.faults["_mta-sts.b.example."] = Fault.SERVFAIL
        clock.now += 61
        assert await policies.of("b.example") is found
        dns.faults.clear()
        clock.now += 61
        dns.remove("_mta-sts.b.example.", "TXT")
        dns.add('_mta-sts.b.example. 60 TXT "v=STSv1; id=two;"')
        fetch.body = b""
        assert await policies.of("b.example") is found  # a new one was announced, and can't be had
        assert fetch.times == 2
        clock.now += 200
        assert await policies.of("b.example") is found
        assert fetch.times == 2  # not so soon again
        fetch.body = POLICY.replace(b"enforce", b"testing")
        clock.now += 200
        found = await policies.of("b.example")
        assert found is not None
        assert found.mode is Mode.TESTING
        dns.remove("_mta-sts.b.example.", "TXT")
        clock.now += 599
        assert await policies.of("b.example") is found
        clock.now += 2
        assert await policies.of("b.example") is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"version: STSv2\r\nmode: enforce\r\nmx: a.example\r\nmax_age: 1\r\n",
        b"version: STSv1\r\nmode: maybe\r\nmx: a.example\r\nmax_age: 1\r\n",
        b"version: STSv1\r\nmode: enforce\r\nmax_age: 1\r\n",
        b"version: STSv1\r\nmode: enforce\r\nmx: a.example\r\n",
        b"version: STSv1\r\nmode: enforce\r\nmx: a.example\r\nmax_age: -1\r\n",
        b"version: STSv1\r\nmode: enforce\r\nmx: a.*.example\r\nmax_age: 1\r\n",
        b"version: STSv1\r\nmode: enforce\r\nmx: a.example\r\nmax_age: 1\r\n" + b"mx: a.example\r\n" * 100,
        b"<html>\r\n",
        b"\xff",
    ],
)
def test_what_is_no_policy(body: bytes) -> None:
    with pytest.raises(PolicyError):
        parse_policy(body)


def test_reading_a_policy() -> None:
    text = b"version: STSv1\nmode:none\nmax_age: 99999999999\n"
    with pytest.raises(PolicyError):
        parse_policy(text)
    assert parse_policy(text.replace(b"99999999999", b"9999999999")) == Policy(Mode.NONE, 31_557_600)
    first = parse_policy(POLICY + b"mode: none\nextension: x\n")
    assert first.mode is Mode.ENFORCE
    assert first.names("MX.b.example")
    assert first.names("one.backup.example")
    assert not first.names("two.one.backup.example")
    assert not first.names("backup.example")


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (("v=STSv1; id=20260101;",), "20260101"),
        (("v=spf1 -all", "v=STSv1;id=a"), "a"),
        (("v=STSv1; ext=1; id=b; other=2",), "b"),
        (("v=STSv1; id=a;", "v=STSv1; id=b;"), None),
        (("v=STSv1; id=a-b;",), None),
        (("v=STSv1;",), None),
        (("v=STSv10; id=a",), None),
        (("id=a; v=STSv1",), None),
        ((), None),
    ],
)
def test_reading_the_record(texts: tuple[str, ...], found: str | None) -> None:
    assert parse_record(texts) == found


@asynccontextmanager
async def web_server(ca: trustme.CA, name: str, handler: web.RequestHandler) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/.well-known/mta-sts.txt", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context(ca, name))
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def fetched(ca: trustme.CA, port: int, networks: tuple[str, ...] = ("127.0.0.0/8",)) -> bytes:
    from ipaddress import ip_network

    allowed: list[Network] = [ip_network(text) for text in networks]
    async with dns_server("mta-sts.b.example. 60 A 127.0.0.1\n") as dns:
        exchangers = Exchangers(DnsLookup(make_resolver([dns.address])), "mail.example.test", allowed)
        trusted = ssl.create_default_context(cadata=pem(ca).decode())
        return await HttpsFetch(exchangers, trusted, port=port)("b.example")


async def test_a_policy_comes_over_https(ca: trustme.CA) -> None:
    async def policy(request: web.Request) -> web.Response:
        assert request.host.startswith("mta-sts.b.example")
        return web.Response(body=POLICY, content_type="text/plain")

    async with web_server(ca, "mta-sts.b.example", policy) as port:
        assert await fetched(ca, port) == POLICY
        with pytest.raises(OSError, match="aren't public"):
            await fetched(ca, port, ())
        with pytest.raises(OSError):
            await fetched(trustme.CA(), port)
    async with web_server(ca, "b.example", policy) as port:
        with pytest.raises(OSError):
            await fetched(ca, port)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"status": 404}, "HTTP status 404"),
        ({"status": 302, "headers": {"Location": "https://elsewhere.example/"}}, "HTTP status 302"),
        ({"body": POLICY, "content_type": "text/html"}, "not text/plain"),
        ({"body": b"x" * 70_000, "content_type": "text/plain"}, "too long"),
        (
            {"body": gzip.compress(POLICY), "content_type": "text/plain", "headers": {"content-encoding": "gzip"}},
            "compressed",
        ),
    ],
)
async def test_what_is_not_taken_from_a_web_server(ca: trustme.CA, response: dict[str, object], reason: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(**response)  # type: ignore[arg-type]

    async with web_server(ca, "mta-sts.b.example", answer) as port:
        with pytest.raises(PolicyError, match=reason):
            await fetched(ca, port)
