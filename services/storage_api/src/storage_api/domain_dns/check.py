"""What the resolver says of a domain's records, compared with what is to be published, and explained to a person.

Every finding says what is there, what follows from it, and what to do. Levels: `error`, mail is lost, refused or not
believed; `warning`, it works and something is wrong or at risk; `hint`, something worth having is missing; `ok`. A
question that no name server answers is an `error` of its own kind (`unknown`): it says nothing about the records.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from mailboat_mime.dkim_keys import RecordError, parse_record, parse_tags

from ..directory.dkim import DkimKey, KeyState
from . import spf
from .ask import Asker, NoAnswer
from .records import Publication, Purpose, Record


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    HINT = "hint"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `name` is the DNS name it is about; `found` what DNS has there."""

    level: Level
    topic: str
    name: str
    text: str
    expected: str = ""
    found: tuple[str, ...] = ()


Findings = AsyncIterator[Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one domain."""

    published: Publication
    keys: Sequence[DkimKey]
    asker: Asker

    async def run(self) -> list[Finding]:
        """All findings, in the order of the records."""
        parts = [_host(self), _mx(self), _spf(self), *(_key(self, key) for key in self.keys)]
        parts += [_dmarc(self), _mta_sts(self), _tls_rpt(self), _srv(self)]
        return [finding for found in await asyncio.gather(*map(_collect, parts)) for finding in found]

    def record(self, purpose: Purpose) -> Record:
        """The first record of a purpose."""
        return next(record for record in self.published.records if record.purpose is purpose)


async def _collect(part: Findings) -> list[Finding]:
    found: list[Finding] = []
    try:
        async for finding in part:
            found.append(finding)
    except NoAnswer as error:
        text = f"Not known: {error}. Ask again, or look at the resolver (MB_DNS_SERVERS)."
        found.append(Finding(Level.ERROR, "unknown", "", text))
    return found


async def _host(check: Check) -> Findings:
    """The mail host's addresses and their names (RFC 5321 2.3.5, 4.1.1.1; what other servers ask of who calls them)."""
    host = check.published.hostname
    if "." not in host:
        yield Finding(Level.ERROR, "host", host, f"MB_HOSTNAME is {host}, which is no name in DNS. Set it to the name "
                      "that the platform has on the internet.")  # fmt: skip
        return
    alias = await check.asker.cname(host)
    addresses = await check.asker.addresses(host)
    if alias is not None:
        text = "The mail host is an alias (CNAME). MX and SRV records must not lead to one (RFC 2181 10.3, RFC 6186)."
        yield Finding(Level.ERROR, "host", host, text, found=(alias,))
    if not addresses:
        yield Finding(Level.ERROR, "host", host, "The mail host has no A or AAAA record: nobody can reach it.")
    for address in addresses:
        names = await check.asker.ptr(address)
        if host in names:
            yield Finding(Level.OK, "ptr", address, f"{address} is called {host}, as the platform calls itself (EHLO).")
        elif names:
            text = (f"{address} is called {', '.join(names)} and the platform calls itself {host} (EHLO). Servers that "
                    "compare them refuse its mail or mark it: have the PTR record changed.")  # fmt: skip
            yield Finding(Level.WARNING, "ptr", address, text, host, tuple(names))
        else:
            text = (f"{address} has no name (PTR record). Many servers refuse mail from such an address: have whoever "
                    f"gave you the address set it to {host}. It doesn't matter if no mail leaves from it.")  # fmt: skip
            yield Finding(Level.WARNING, "ptr", address, text, host)


async def _mx(check: Check) -> Findings:
    domain, host = check.published.domain, check.published.hostname
    expected = check.record(Purpose.MX).value
    found = await check.asker.mx(domain)
    shown = tuple(f"{preference} {target or '.'}" for preference, target in found)
    if not found:
        text = "There is no MX record: mail goes to the domain's own address, if it has one, and else is refused."
        yield Finding(Level.ERROR, "mx", domain, text, expected)
        return
    if any(not target for _, target in found):
        text = "The domain has a null MX, which says that it takes no mail."
        yield Finding(Level.ERROR, "mx", domain, text, expected, shown)
        return
    for _, target in found:
        alias = await check.asker.cname(target)
        if alias is not None:
            text = (
                f"The MX {target} is an alias of {alias}. It must be a name with addresses of its own (RFC 2181 10.3)."
            )
            yield Finding(Level.ERROR, "mx", domain, text, expected, shown)
        elif target != host and not await check.asker.addresses(target):
            text = f"The MX {target} has no address: mail that tries it waits for nothing."
            yield Finding(Level.ERROR, "mx", domain, text, expected, shown)
    ours = [preference for preference, target in found if target == host]
    if not ours:
        text = f"No MX leads to {host}: mail doesn't come here. That is right only if those servers pass it on."
        yield Finding(Level.ERROR, "mx", domain, text, expected, shown)
    elif ours[0] > found[0][0]:
        text = "Other servers have a better preference: they get the mail, and this platform only when they are away."
        yield Finding(Level.WARNING, "mx", domain, text, expected, shown)
    else:
        yield Finding(Level.OK, "mx", domain, "Mail for the domain comes here.", expected, shown)


async def _spf(check: Check) -> Findings:
    domain, host = check.published.domain, check.published.hostname
    expected = check.record(Purpose.SPF).value
    found = tuple(text for text in await check.asker.txt(domain) if spf.is_spf(text))

    def finding(level: Level, text: str) -> Finding:
        return Finding(level, "spf", domain, text, expected, found)

    if not found:
        yield finding(Level.ERROR, "There is no SPF record: many servers mark or refuse mail of such a domain.")
        return
    if len(found) > 1:
        text = f"There are {len(found)} SPF records. Receivers use none of them (permerror, RFC 7208 4.5)"
        yield finding(Level.ERROR, text + ": join them into one.")
        return
    addresses = await check.asker.addresses(host)
    walked = spf.Walk(check.asker, addresses)
    await walked.run(domain, found[0])
    fine = not walked.errors
    for error in walked.errors:
        yield finding(Level.ERROR, f"SPF can't be evaluated: {error}.")
    if walked.lookups > spf.MAX_LOOKUPS:
        fine = False
        text = (
            f"The record takes {walked.lookups} lookups, includes of includes counted. Receivers stop at 10 (permerror"
        )
        yield finding(Level.ERROR, text + ", RFC 7208 4.6.4): take out what you no longer use, or name addresses.")
    if walked.void > spf.MAX_VOID:
        fine = False
        yield finding(Level.WARNING, f"{walked.void} of its names have no address; some receivers stop at more than 2.")
    if walked.passes_all:
        fine = False
        yield finding(Level.ERROR, "The record ends in +all: it lets the whole world send as this domain.")
    denied = [address for address, result in walked.results.items() if result != "pass"]
    if not walked.lookups and "ip" not in found[0].lower() and not walked.passes_all:
        fine = False
        yield finding(Level.ERROR, "The record permits nobody: it says that the domain sends no mail.")
    elif denied and not walked.unknown:
        fine = False
        text = f"The record doesn't permit {', '.join(denied)}, which {host} has: mail from there fails SPF. "
        text += "If mail leaves from elsewhere (NAT, a smarthost), see that the record names that."
        yield finding(Level.WARNING, text)
    if fine:
        yield finding(Level.OK, f"One record, {walked.lookups} of 10 lookups; it permits the addresses of {host}.")


async def _key(check: Check, key: DkimKey) -> Findings:
    found = tuple(await check.asker.txt(key.name))

    def finding(level: Level, text: str) -> Finding:
        return Finding(level, "dkim", key.name, text, key.record, found)

    level = {KeyState.ACTIVE: Level.ERROR, KeyState.PENDING: Level.HINT, KeyState.RETIRING: Level.WARNING}[key.state]
    meaning = {
        KeyState.ACTIVE: "Mail is signed with this key, so its signatures count for nothing",
        KeyState.PENDING: "The key waits to be published; until then the one before signs",
        KeyState.RETIRING: "Mail that was signed with this key may still be on its way",
    }[key.state]
    if not found:
        yield finding(level, f"The key isn't published. {meaning}.")
    elif len(found) > 1:
        yield finding(level, f"There are {len(found)} TXT records where one belongs. {meaning}.")
    elif (fault := key_fault(key, found[0])) is not None:
        yield finding(level, f"What is published isn't the key: {fault}. {meaning}.")
    elif parse_record(found[0]).testing:
        yield finding(Level.WARNING, "The key has the flag t=y: receivers treat its signatures as a test.")
    elif key.state is KeyState.PENDING:
        yield finding(Level.OK, "The key is published. The worker puts it to use within some minutes.")
    else:
        yield finding(Level.OK, "The key is published.")


def key_fault(key: DkimKey, text: str) -> str | None:
    """Why a TXT record doesn't publish the key; None if it does."""
    try:
        record = parse_record(text)
        record.public()
    except RecordError as error:
        return str(error)
    if (record.algorithm, record.p) != (key.algorithm, key.public):
        return "p= or k= has another value; was it cut, or is it that of another platform?"
    return None


async def are_published(asker: Asker, keys: Sequence[DkimKey]) -> bool:
    """Whether DNS has all of these keys. Raises NoAnswer."""
    for key in keys:
        found = await asker.txt(key.name)
        if len(found) != 1 or key_fault(key, found[0]) is not None:
            return False
    return True


async def _tagged(check: Check, purpose: Purpose, version: str) -> tuple[Record, tuple[str, ...]]:
    record = check.record(purpose)
    found = await check.asker.txt(record.name)
    return record, tuple(text for text in found if text.replace(" ", "").lower().startswith(f"v={version.lower()}"))


def _tags(text: str) -> dict[str, str] | None:
    try:
        return parse_tags(text)
    except RecordError:
        return None


async def _dmarc(check: Check) -> Findings:
    record, found = await _tagged(check, Purpose.DMARC, "DMARC1")

    def finding(level: Level, text: str) -> Finding:
        return Finding(level, "dmarc", record.name, text, record.value, found)

    if not found:
        text = "There is no DMARC record: large receivers ask for one, and nothing says what to do with mail that "
        yield finding(Level.WARNING, text + "pretends to be yours.")
        return
    tags = _tags(found[0])
    if len(found) > 1 or tags is None or tags.get("p", "").lower() not in {"none", "quarantine", "reject"}:
        what = "several DMARC records" if len(found) > 1 else "a DMARC record without a valid p="
        yield finding(Level.ERROR, f"There is {what}: receivers ignore it (RFC 7489 6.6.3).")
        return
    fine = True
    for target in _report_domains(tags.get("rua", "")):
        if target != check.published.domain and not target.endswith("." + check.published.domain):
            allowed = await check.asker.txt(f"{check.published.domain}._report._dmarc.{target}")
            if not any(text.startswith("v=DMARC1") for text in allowed):
                fine = False
                text = (
                    f"Reports go to {target}, which hasn't agreed to take them (RFC 7489 7.1): it lacks the TXT record "
                )
                yield finding(Level.WARNING, text + f'{check.published.domain}._report._dmarc.{target} "v=DMARC1".')
    if not tags.get("rua"):
        yield finding(Level.HINT, "The record asks for no reports (rua=): you won't learn whose mail fails.")
    elif tags["p"].lower() == "none":
        text = "The policy is none: reports only. Go on to quarantine when they show only mail that is yours."
        yield finding(Level.OK if fine else Level.HINT, text)
    elif fine:
        yield finding(Level.OK, f"The policy is {tags['p'].lower()}.")


def _report_domains(rua: str) -> list[str]:
    targets = [uri.strip().partition("!")[0] for uri in rua.split(",")]
    domains = [uri.rpartition("@")[2].lower() for uri in targets if uri.lower().startswith("mailto:") and "@" in uri]
    return sorted(set(domains))[:10]


async def _mta_sts(check: Check) -> Findings:
    record, found = await _tagged(check, Purpose.MTA_STS, "STSv1")
    web = f"mta-sts.{check.published.domain}"
    if not found:
        text = "There is no MTA-STS: whoever controls the network can have other servers send to you in clear text."
        yield Finding(Level.HINT, "mta_sts", record.name, text, record.value)
        return
    tags = _tags(found[0])
    if len(found) > 1 or tags is None or not (tags.get("id", "").isalnum() and len(tags["id"]) <= 32):
        text = "The record has no valid id=, or there are several: other servers ignore it (RFC 8461 3.1)."
        yield Finding(Level.ERROR, "mta_sts", record.name, text, record.value, found)
    elif not await check.asker.addresses(web):
        text = f"The record is there, and {web}, where the policy is to be had, has no address: it is of no use."
        yield Finding(Level.ERROR, "mta_sts", web, text, found=found)
    else:
        text = f"The record is there. See that {check.published.policy_url} has the policy, with a valid certificate."
        yield Finding(Level.OK, "mta_sts", record.name, text, record.value, found)


async def _tls_rpt(check: Check) -> Findings:
    record, found = await _tagged(check, Purpose.TLS_RPT, "TLSRPTv1")
    if not found:
        text = "Nobody is told when TLS towards you fails (TLS-RPT, RFC 8460)."
        yield Finding(Level.HINT, "tls_rpt", record.name, text, record.value)
        return
    tags = _tags(found[0])
    if len(found) > 1 or tags is None or not tags.get("rua"):
        text = "The record has no rua=, or there are several: other servers ignore it (RFC 8460 3)."
        yield Finding(Level.ERROR, "tls_rpt", record.name, text, record.value, found)
    else:
        yield Finding(Level.OK, "tls_rpt", record.name, "The record is there.", record.value, found)


async def _srv(check: Check) -> Findings:
    for record in check.published.records:
        if record.purpose is not Purpose.SRV:
            continue
        port = int(record.value.split(" ")[2])
        found = await check.asker.srv(record.name)
        shown = tuple(f"{port} {target or '.'}" for port, target in found)
        if not found:
            text = "Mail clients that look for their settings in DNS (RFC 6186) don't find this service."
            yield Finding(Level.HINT, "srv", record.name, text, record.value)
        elif (port, check.published.hostname) in found:
            yield Finding(Level.OK, "srv", record.name, "The record is there.", record.value, shown)
        elif all(not target for _, target in found):
            yield Finding(
                Level.HINT, "srv", record.name, "The record says that there is no such service.", record.value, shown
            )
        else:
            text = "The record leads clients to another server or port than this platform's."
            yield Finding(Level.WARNING, "srv", record.name, text, record.value, shown)
