"""The DNS records of a domain, and the check against a server with zones of our making."""

from __future__ import annotations

import dataclasses

import dns.zone
import pytest
from mailboat_mime import dkim_keys
from mailboat_mime.dkim_keys import Algorithm
from storage_api.directory.dkim import DkimKey, KeyState
from storage_api.domain_dns.ask import Asker, NoAnswer, resolver
from storage_api.domain_dns.check import Check, Finding, Level, are_published
from storage_api.domain_dns.records import Publication, publication
from storage_api.domain_dns.spf import Walk

from tests.support.dns_server import DnsServer, Fault, dns_server

HOST = "mail.example.net"
ELSEWHERE = """
mail.example.net. 60 A 192.0.2.1
mail.example.net. 60 AAAA 2001:db8::1
1.2.0.192.in-addr.arpa. 60 PTR mail.example.net.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 60 PTR mail.example.net.
mta-sts.example.org. 60 A 192.0.2.80
"""


def key(algorithm: Algorithm, state: KeyState, selector: str) -> DkimKey:
    public = dkim_keys.public_text(dkim_keys.generate(algorithm))
    return DkimKey("example.org", selector, algorithm, public, state, 0)


KEYS = [key(Algorithm.RSA, KeyState.ACTIVE, "a-rsa"), key(Algorithm.ED25519, KeyState.ACTIVE, "a-ed25519")]
PUBLISHED = publication("example.org", HOST, KEYS)
GOOD = PUBLISHED.zone + ELSEWHERE


def served(zone: str) -> DnsServer:
    """The zone file as it is printed, given to a name server."""
    return DnsServer("\n".join(line.replace(" IN ", " ", 1) for line in zone.splitlines()))


async def findings(
    server: DnsServer, published: Publication = PUBLISHED, keys: list[DkimKey] | None = None
) -> list[Finding]:
    asker = Asker(resolver([server.address]))
    return await Check(published, KEYS if keys is None else keys, asker).run()


async def checked(change: str = "", remove: tuple[tuple[str, str], ...] = ()) -> list[Finding]:
    """Findings that aren't OK, for the good zone after `remove` and with the lines of `change` added."""
    async with dns_server("") as server:
        server.records = served(GOOD).records
        for name, kind in remove:
            server.remove(name, kind)
        for line in change.splitlines():
            if line.strip():
                server.add(line.strip())
        return [finding for finding in await findings(server) if finding.level is not Level.OK]


def test_the_zone_file_can_be_loaded() -> None:
    zone = dns.zone.from_text(PUBLISHED.zone, "example.org.", relativize=False, check_origin=False)
    types = sorted((str(name), dns.rdatatype.to_text(data.rdtype)) for name, data in zone.iterate_rdatasets())
    assert types == sorted((record.name + ".", record.type) for record in PUBLISHED.records)
    (texts,) = zone.find_rdataset("a-rsa._domainkey.example.org.", "TXT")
    assert [len(string) for string in texts.strings] == [255, len(KEYS[0].record) - 255]
    assert b"".join(texts.strings).decode() == KEYS[0].record
    assert all(line.startswith((";", " ")) or not line or " IN " in line for line in PUBLISHED.zone.splitlines())


def test_another_policy_has_another_id() -> None:
    other = publication("example.org", "mx.example.net", KEYS)
    ids = [next(r.value for r in p.records if r.name.startswith("_mta-sts")) for p in (PUBLISHED, other)]
    assert ids[0] != ids[1]
    assert "mode: testing\r\nmx: mail.example.net\r\n" in PUBLISHED.policy


async def test_what_is_printed_passes_once_it_is_published() -> None:
    assert await checked() == []


@pytest.mark.parametrize(
    ("remove", "change", "level", "topic", "says"),
    [
        (("example.org.", "MX"), "", Level.ERROR, "mx", "no MX record"),
        (("example.org.", "MX"), "example.org. 60 MX 0 .", Level.ERROR, "mx", "null MX"),
        (("example.org.", "MX"), "example.org. 60 MX 5 mx.else.test.\nmx.else.test. 60 A 192.0.2.9", Level.ERROR, "mx", "No MX leads to mail.example.net"),
        (None, "example.org. 60 MX 5 mx.else.test.\nmx.else.test. 60 A 192.0.2.9", Level.WARNING, "mx", "better preference"),
        (None, "example.org. 60 MX 20 alias.else.test.\nalias.else.test. 60 CNAME mail.example.net.", Level.ERROR, "mx", "alias of mail.example.net"),
        (None, "example.org. 60 MX 20 gone.else.test.", Level.ERROR, "mx", "has no address"),
        (("example.org.", "TXT"), "", Level.ERROR, "spf", "no SPF record"),
        (None, 'example.org. 60 TXT "v=spf1 -all"', Level.ERROR, "spf", "2 SPF records"),
        (("example.org.", "TXT"), 'example.org. 60 TXT "v=spf1 +all"', Level.ERROR, "spf", "whole world"),
        (("example.org.", "TXT"), 'example.org. 60 TXT "v=spf1 ip4:192.0.2.0/28 -all"', Level.WARNING, "spf", "doesn't permit 2001:db8::1"),
        (("example.org.", "TXT"), 'example.org. 60 TXT "v=spf1 -all"', Level.ERROR, "spf", "permits nobody"),
        (("example.org.", "TXT"), 'example.org. 60 TXT "v=spf1 include:none.test mx -all"', Level.ERROR, "spf", "which has no SPF record"),
        (("example.org.", "TXT"), 'example.org. 60 TXT "v=spf1 mx ipv4:1.2.3.4 -all"', Level.ERROR, "spf", 'term "ipv4:1.2.3.4"'),
        (("a-rsa._domainkey.example.org.", "TXT"), "", Level.ERROR, "dkim", "isn't published. Mail is signed with this key"),
        (("a-rsa._domainkey.example.org.", "TXT"), 'a-rsa._domainkey.example.org. 60 TXT "v=DKIM1; p="', Level.ERROR, "dkim", "revoked"),
        (("a-ed25519._domainkey.example.org.", "TXT"), f'a-ed25519._domainkey.example.org. 60 TXT "v=DKIM1; k=ed25519; p={"A" * 43}="', Level.ERROR, "dkim", "another value"),
        (None, 'a-rsa._domainkey.example.org. 60 TXT "v=DKIM1; p=AAAA"', Level.ERROR, "dkim", "2 TXT records"),
        (("a-ed25519._domainkey.example.org.", "TXT"), f'a-ed25519._domainkey.example.org. 60 TXT "{KEYS[1].record}; t=y"', Level.WARNING, "dkim", "t=y"),
        (("_dmarc.example.org.", "TXT"), "", Level.WARNING, "dmarc", "no DMARC record"),
        (None, '_dmarc.example.org. 60 TXT "v=DMARC1; p=reject"', Level.ERROR, "dmarc", "several DMARC records"),
        (("_dmarc.example.org.", "TXT"), '_dmarc.example.org. 60 TXT "v=DMARC1; p=maybe"', Level.ERROR, "dmarc", "without a valid p="),
        (("_dmarc.example.org.", "TXT"), '_dmarc.example.org. 60 TXT "v=DMARC1; p=reject"', Level.HINT, "dmarc", "no reports"),
        (("_dmarc.example.org.", "TXT"), '_dmarc.example.org. 60 TXT "v=DMARC1; p=reject; rua=mailto:d@reports.test"', Level.WARNING, "dmarc", "example.org._report._dmarc.reports.test"),
        (("_mta-sts.example.org.", "TXT"), "", Level.HINT, "mta_sts", "no MTA-STS"),
        (("_mta-sts.example.org.", "TXT"), '_mta-sts.example.org. 60 TXT "v=STSv1; id=no-hyphen"', Level.ERROR, "mta_sts", "valid id="),
        (("mta-sts.example.org.", "A"), "", Level.ERROR, "mta_sts", "has no address"),
        (("_smtp._tls.example.org.", "TXT"), "", Level.HINT, "tls_rpt", "Nobody is told"),
        (("_imap._tcp.example.org.", "SRV"), "", Level.HINT, "srv", "don't find"),
        (("_imap._tcp.example.org.", "SRV"), "_imap._tcp.example.org. 60 SRV 0 0 0 .", Level.HINT, "srv", "no such service"),
        (("_imap._tcp.example.org.", "SRV"), "_imap._tcp.example.org. 60 SRV 0 0 143 old.test.", Level.WARNING, "srv", "another server"),
        (("1.2.0.192.in-addr.arpa.", "PTR"), "", Level.WARNING, "ptr", "192.0.2.1 has no name"),
        (("1.2.0.192.in-addr.arpa.", "PTR"), "1.2.0.192.in-addr.arpa. 60 PTR host-1.isp.test.", Level.WARNING, "ptr", "192.0.2.1 is called host-1.isp.test"),
    ],
)  # fmt: skip
async def test_each_difference_is_explained(
    remove: tuple[str, str] | None, change: str, level: Level, topic: str, says: str
) -> None:
    all_found = await checked(change, (remove,) if remove else ())
    (found,) = [one for one in all_found if one.topic == topic]
    assert found.level is level
    assert says in found.text
    # SPF's "mx" is another set of addresses when the MX records are others
    assert {one.topic for one in all_found} <= {topic} | ({"spf"} if topic == "mx" else set())


async def test_a_host_that_cannot_be_reached() -> None:
    found = await checked(remove=(("mail.example.net.", "A"), ("mail.example.net.", "AAAA")))
    assert [(f.level, f.topic) for f in found] == [(Level.ERROR, "host")]
    local = publication("example.org", "localhost", KEYS)
    async with dns_server("") as server:
        first = (await findings(server, local))[0]
    assert (first.level, first.topic) == (Level.ERROR, "host")
    assert "MB_HOSTNAME is localhost" in first.text


async def test_a_silent_name_server_says_nothing_about_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dns_server("") as server:
        server.records = served(GOOD).records
        server.faults["_dmarc.example.org."] = Fault.SERVFAIL
        (found,) = [f for f in await findings(server) if f.level is not Level.OK]
    assert (found.level, found.topic) == (Level.ERROR, "unknown")
    assert "no name server answered for TXT of _dmarc.example.org" in found.text


async def test_pending_keys_are_hints_and_retiring_ones_warnings() -> None:
    pending = dataclasses.replace(KEYS[0], selector="b-rsa", state=KeyState.PENDING)
    retiring = dataclasses.replace(KEYS[0], selector="c-rsa", state=KeyState.RETIRING)
    async with dns_server("") as server:
        found = [f for f in await findings(server, keys=[pending, retiring]) if f.topic == "dkim"]
        assert [f.level for f in found] == [Level.HINT, Level.WARNING]
        assert not await are_published(Asker(resolver([server.address])), [pending])
        for one in (pending, retiring):
            strings = f'"{one.record[:200]}" "{one.record[200:]}"'
            server.add(f"{one.name}. 60 TXT {strings}")
        found = [f for f in await findings(server, keys=[pending, retiring]) if f.topic == "dkim"]
        assert [f.level for f in found] == [Level.OK, Level.OK]
        assert await are_published(Asker(resolver([server.address])), [pending])


async def walked(record: str, zone: str, *addresses: str) -> Walk:
    async with dns_server(zone) as server:
        walk = Walk(Asker(resolver([server.address])), addresses)
        await walk.run("example.org", record)
    return walk


async def test_spf_counts_lookups_through_includes() -> None:
    zone = "\n".join(f'n{i}.test. 60 TXT "v=spf1 include:n{i + 1}.test a:h.test ~all"' for i in range(6))
    zone += '\nn6.test. 60 TXT "v=spf1 ip4:198.51.100.0/24 -all"\nh.test. 60 A 192.0.2.7'
    walk = await walked("v=spf1 include:n0.test -all", zone, "198.51.100.9", "192.0.2.7", "192.0.2.8")
    assert walk.lookups == 13
    assert walk.results == {"198.51.100.9": "pass", "192.0.2.7": "pass", "192.0.2.8": "fail"}


@pytest.mark.parametrize(
    ("record", "result"),
    [
        ("v=spf1 a:h.test/24 -all", "pass"),
        ("v=spf1 a:h.test/32//64 -all", "fail"),
        ("v=spf1 -ip4:192.0.2.9 +all", "fail"),
        ("v=spf1 ?mx:m.test -all", "neutral"),
        ("v=spf1 redirect=r.test", "softfail"),
        ("v=spf1 redirect=r.test -all", "fail"),
        ("v=spf1", "neutral"),
        ("v=spf1 INCLUDE:r.test IP4:192.0.2.9", "pass"),
    ],
)
async def test_spf_results(record: str, result: str) -> None:
    zone = 'h.test. 60 A 192.0.2.1\nm.test. 60 MX 10 i.test.\ni.test. 60 A 192.0.2.9\nr.test. 60 TXT "v=spf1 ~all"'
    walk = await walked(record, zone, "192.0.2.9")
    assert (walk.results, walk.errors) == ({"192.0.2.9": result}, [])


async def test_spf_loops_end_and_macros_are_left_open() -> None:
    zone = 'a.test. 60 TXT "v=spf1 include:b.test"\nb.test. 60 TXT "v=spf1 include:a.test"'
    walk = await walked("v=spf1 include:a.test exists:%{i}.x.test ptr -all", zone, "192.0.2.1")
    assert walk.errors == ["a.test includes itself: receivers give the record up (permerror)"]
    assert walk.unknown


async def test_a_check_asks_a_bounded_number_of_questions() -> None:
    async with dns_server("") as server:
        asker = Asker(resolver([server.address]))
        for number in range(200):
            assert await asker.txt(f"n{number}.test") == []
        with pytest.raises(NoAnswer):
            await asker.txt("one-more.test")
        assert await asker.txt("n1.test") == []
        assert len(server.asked) == 200


@pytest.mark.parametrize("text", ["name.test", "1.2.3.4:x", "1.2.3"])
def test_servers_that_are_no_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        resolver([text])


def test_servers() -> None:
    made = resolver(["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353"])
    assert [(server.answer_nameserver(), server.answer_port()) for server in made.nameservers] == [
        ("192.0.2.1", 53),
        ("192.0.2.1", 5353),
        ("2001:db8::1", 53),
        ("2001:db8::1", 5353),
    ]
