"""Routes from a real DNS: preferences, fallbacks, null MX, loops, faults, and addresses that aren't delivered to."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from delivery_worker.lookup import DnsLookup, LookupFailed, make_resolver
from delivery_worker.mx import Exchangers, NoRoute
from mailboat_store_client.queue import Outcome

from tests.support.dns_server import DnsServer, Fault, dns_server
from tests.support.outbound import Clock, outbound
from tests.support.smtp_sink import smtp_sink

ZONE = """
many.example.      60 MX 20 c.many.example.
many.example.      60 MX 10 a.many.example.
many.example.      60 MX 10 b.many.example.
a.many.example.    60 A 192.0.43.1
none.example.      60 MX 0 .
mixed.example.     60 MX 0 .
mixed.example.     60 MX 5 mx.mixed.example.
bare.example.      60 A 93.184.216.34
six.example.       60 AAAA 2606:2800:220:1::1
text.example.      60 TXT "nothing else"
alias.example.     60 CNAME many.example.
round.example.     60 CNAME round2.example.
round2.example.    60 CNAME round.example.
loop.example.      60 MX 10 mail.example.test.
loop.example.      60 MX 10 other.loop.example.
backup.example.    60 MX 5 best.backup.example.
backup.example.    60 MX 10 MAIL.example.test.
backup.example.    60 MX 20 worse.backup.example.
broken.example.    60 MX 10 gone.broken.example.
inside.example.    60 MX 10 inside.example.
inside.example.    60 A 10.0.0.7
dual.example.      60 A 93.184.216.34
dual.example.      60 A 93.184.216.35
dual.example.      60 AAAA 2606:2800:220:1::1
b.local.example.   60 MX 10 mx1.local.example.
b.local.example.   60 MX 20 mx2.local.example.
mx1.local.example. 60 A 127.0.0.9
mx2.local.example. 60 A 127.0.0.1
"""


@asynccontextmanager
async def exchangers(clock: Clock | None = None) -> AsyncIterator[tuple[DnsServer, Exchangers, DnsLookup]]:
    async with dns_server(ZONE) as dns:
        resolver = make_resolver([dns.address])
        resolver.timeout, resolver.lifetime = 0.1, 0.25
        lookup = DnsLookup(resolver, clock=clock or Clock())
        yield dns, Exchangers(lookup, "mail.example.test", rng=random.Random(1)), lookup


@pytest.mark.parametrize(
    ("domain", "hosts"),
    [
        ("mixed.example", ["mx.mixed.example"]),
        ("bare.example", ["bare.example"]),
        ("six.example", ["six.example"]),
        ("backup.example", ["best.backup.example"]),
        ("[192.0.43.10]", ["[192.0.43.10]"]),
    ],
)
async def test_hosts(domain: str, hosts: list[str]) -> None:
    async with exchangers() as (_, found, _):
        assert [host.name for host in await found.hosts(domain)] == hosts


async def test_preference_then_chance_and_aliases_are_followed() -> None:
    async with exchangers() as (_, found, _):
        orders = {tuple(host.name for host in await found.hosts("alias.example")) for _ in range(50)}
    a, b, c = (f"{letter}.many.example" for letter in "abc")
    assert orders == {(a, b, c), (b, a, c)}


@pytest.mark.parametrize(
    ("domain", "outcome", "status"),
    [
        ("none.example", Outcome.FAILED, "5.1.10"),
        ("nowhere.example", Outcome.FAILED, "5.1.2"),
        ("loop.example", Outcome.FAILED, "5.4.6"),
        ("round.example", Outcome.DEFERRED, "4.4.3"),
        ("x" * 64 + ".example", Outcome.FAILED, "5.1.2"),
    ],
)
async def test_domains_without_a_route(domain: str, outcome: Outcome, status: str) -> None:
    async with exchangers() as (_, found, _):
        with pytest.raises(NoRoute) as caught:
            await found.hosts(domain)
    assert (caught.value.outcome, caught.value.status) == (outcome, status)


@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED, Fault.SILENT, Fault.WRONG_ID, Fault.GARBAGE])
async def test_a_dns_that_fails_defers(fault: Fault) -> None:
    clock = Clock()
    async with exchangers(clock) as (dns, found, _):
        dns.faults["many.example."] = fault
        with pytest.raises(NoRoute) as caught:
            await found.hosts("many.example")
        assert (caught.value.outcome, caught.value.status) == (Outcome.DEFERRED, "4.4.3")
        dns.faults.clear()
        with pytest.raises(NoRoute):  # known for a moment
            await found.hosts("many.example")
        clock.now += 6
        assert len(await found.hosts("many.example")) == 3


async def test_a_truncated_answer_is_asked_for_again_by_tcp() -> None:
    async with exchangers() as (dns, found, _):
        dns.faults["many.example."] = Fault.TRUNCATED
        assert len(await found.hosts("many.example")) == 3


async def test_answers_are_kept_for_their_time_and_asked_once() -> None:
    clock = Clock()
    async with exchangers(clock) as (dns, found, lookup):
        for _ in range(5):
            await found.hosts("many.example")
        assert dns.asked.count(("many.example.", "MX")) == 1
        clock.now += 61
        await found.hosts("MANY.example")
        assert dns.asked.count(("many.example.", "MX")) == 2
        assert (await lookup.ask("text.example", "TXT")).records == ("nothing else",)
        with pytest.raises(LookupFailed):
            dns.faults["bare.example."] = Fault.SERVFAIL
            await lookup.ask("bare.example", "A")


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("bare.example", ["93.184.216.34"]),
        ("six.example", ["2606:2800:220:1::1"]),
        ("[93.184.216.34]", ["93.184.216.34"]),
        ("[IPv6:2606:2800:220:1::1]", ["2606:2800:220:1::1"]),
    ],
)
async def test_addresses(host: str, addresses: list[str]) -> None:
    async with exchangers() as (_, found, _):
        assert await found.addresses(host) == addresses


async def test_the_families_alternate() -> None:
    async with exchangers() as (_, found, _):
        first, *rest = await found.addresses("dual.example")
        assert ":" in first
        assert sorted(rest) == ["93.184.216.34", "93.184.216.35"]


@pytest.mark.parametrize(
    ("host", "outcome", "status"),
    [
        ("gone.broken.example", Outcome.FAILED, "5.4.4"),
        ("text.example", Outcome.FAILED, "5.4.4"),
        ("inside.example", Outcome.FAILED, "5.4.4"),
        ("[127.0.0.1]", Outcome.FAILED, "5.4.4"),
        ("93.184.216.34", Outcome.FAILED, "5.4.4"),
        ("[nonsense]", Outcome.FAILED, "5.1.2"),
    ],
)
async def test_hosts_without_an_address_to_deliver_to(host: str, outcome: Outcome, status: str) -> None:
    async with exchangers() as (_, found, _):
        with pytest.raises(NoRoute) as caught:
            await found.addresses(host)
    assert (caught.value.outcome, caught.value.status) == (outcome, status)


async def test_one_family_that_fails_does_not_hide_the_other() -> None:
    async with exchangers() as (dns, found, _):
        real = dns.answer
        dns.answer = lambda wire, *, udp: None if b"\x00\x1c\x00\x01" in wire else real(wire, udp=udp)  # type: ignore[method-assign]
        assert await found.addresses("bare.example") == ["93.184.216.34"]


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1"),
        *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::", "2002:0a00:0001::1", "64:ff9b::10.0.0.1"),
    ],
)
async def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    async with exchangers() as (_, found, _):
        assert not found.may_connect(ipaddress.ip_address(address))


async def test_the_operator_may_list_networks() -> None:
    async with dns_server(ZONE) as dns:
        lookup = DnsLookup(make_resolver([dns.address]))
        found = Exchangers(lookup, "mail.example.test", [ipaddress.ip_network("10.0.0.0/8")])
        assert await found.addresses("inside.example") == ["10.0.0.7"]


async def test_a_refused_connection_leads_to_the_next_host() -> None:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port) as out:
        (bob,) = await out.send(out.claimed(["bob@b.local.example"]))
        assert bob.outcome is Outcome.DELIVERED
        assert bob.host.startswith("mx2.local.example [127.0.0.1]")
        assert out.hops == {"b.local.example": "mx1.local.example"}


async def test_what_the_sender_is_told_when_there_is_no_server() -> None:
    async with outbound(ZONE, port=1) as out:
        (bob,) = await out.send(out.claimed(["bob@b.local.example"]))
        assert (bob.outcome, bob.status, bob.reason) == (Outcome.DEFERRED, "4.4.1", "the connection was refused")
        assert bob.host == "mx2.local.example [127.0.0.1]:1"
        for domain, status in (("none.example", "5.1.10"), ("inside.example", "5.4.4"), ("broken.example", "5.4.4")):
            (bob,) = await out.send(out.claimed([f"bob@{domain}"]))
            assert (bob.outcome, bob.status) == (Outcome.FAILED, status)
            assert bob.reason


def test_name_servers_are_given_as_addresses_or_names() -> None:
    servers = make_resolver(
        ["192.0.2.1", "192.0.2.2:5353", "[2001:db8::1]:54", "2001:db8::2", "localhost:55"]
    ).nameservers
    assert [(str(item.answer_nameserver()), item.answer_port()) for item in servers][:4] == [  # type: ignore[union-attr]
        ("192.0.2.1", 53),
        ("192.0.2.2", 5353),
        ("2001:db8::1", 54),
        ("2001:db8::2", 53),
    ]
    with pytest.raises(ValueError, match="can't be found"):
        make_resolver(["no-such-host.invalid"])
