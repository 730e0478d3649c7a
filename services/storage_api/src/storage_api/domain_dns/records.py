"""What a domain's owner publishes: records, the policy of MTA-STS, advice, and all of it as a zone file.

MX (RFC 5321 5.1), SPF (RFC 7208), DKIM (RFC 6376 3.6, RFC 8463), DMARC (RFC 7489), MTA-STS (RFC 8461), TLS-RPT
(RFC 8460), SRV for submission, IMAP and POP3 (RFC 6186, RFC 8314 5.1). Rules:
- one function of domain, host name and keys: `check` compares DNS with exactly what `records` gives;
- policies are those to begin with: SPF ends in ~all, so that DMARC judges (RFC 7489 10.1), DMARC asks for reports only,
  MTA-STS is in testing;
- a TXT record is cut into strings of 255 octets (RFC 6376 3.6.2.2, RFC 7208 3.3); readers join them without a space.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..directory.dkim import DkimKey, KeyState

TTL = 3600
MAX_STRING = 255
STS_MAX_AGE = 604_800  # a week (RFC 8461 3.2: weeks or more, once it is enforced)

_STATES = {
    KeyState.ACTIVE: "signs",
    KeyState.PENDING: "pending: signs once it is published",
    KeyState.RETIRING: "retiring: keep it until it is no longer listed",
}

_SERVICES = (  # service, port, priority: IMAP before POP3 (RFC 6186 3.3)
    ("_submissions", 465, 0),
    ("_submission", 587, 0),
    ("_imaps", 993, 0),
    ("_imap", 143, 0),
    ("_pop3s", 995, 10),
    ("_pop3", 110, 10),
)


class Purpose(enum.Enum):
    """What a record is for."""

    MX = "mx"
    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    MTA_STS = "mta_sts"
    TLS_RPT = "tls_rpt"
    SRV = "srv"


@dataclass(frozen=True, slots=True)
class Record:
    """One record. Names are absolute and have no final dot; `value` is TXT in one piece, otherwise as in a zone file.

    `required`: without it mail is lost or refused; otherwise it is worth having. `note` is for a person.
    """

    purpose: Purpose
    name: str
    type: str
    value: str
    note: str
    required: bool = False

    @property
    def rdata(self) -> str:
        """The value as a zone file has it."""
        return " ".join(f'"{string}"' for string in strings(self.value)) if self.type == "TXT" else self.value

    @property
    def line(self) -> str:
        """The record as a line of a zone file."""
        return f"{self.name}. {TTL} IN {self.type} {self.rdata}"


@dataclass(frozen=True, slots=True)
class Publication:
    """All that is to be published for a domain. `policy` is MTA-STS's file, to be served at `policy_url`."""

    domain: str
    hostname: str
    records: tuple[Record, ...]
    policy: str
    policy_url: str
    advice: tuple[str, ...]

    @property
    def zone(self) -> str:
        """A zone file with comments."""
        lines = [f"; DNS records of {self.domain}, with mail at {self.hostname}"]
        for record in self.records:
            lines += ["", f"; {record.note}", record.line]
        lines += ["", f"; The policy of MTA-STS, to be served at {self.policy_url}:"]
        lines += [f";   {line}" for line in self.policy.splitlines()]
        for text in self.advice:
            lines += ["", *_comment(text)]
        return "\n".join(lines) + "\n"


def publication(domain: str, hostname: str, keys: Sequence[DkimKey]) -> Publication:
    """What to publish for `domain` when mail comes to `hostname` (both A-labels)."""
    host = hostname.removesuffix(".").lower()
    policy = f"version: STSv1\r\nmode: testing\r\nmx: {host}\r\nmax_age: {STS_MAX_AGE}\r\n"
    return Publication(
        domain=domain,
        hostname=host,
        records=(
            Record(Purpose.MX, domain, "MX", f"10 {host}.", "where mail for the domain goes", True),
            Record(Purpose.SPF, domain, "TXT", "v=spf1 mx ~all", "who may send with the domain's reverse-paths", True),
            *(_dkim(key) for key in keys),
            Record(
                Purpose.DMARC, f"_dmarc.{domain}", "TXT", f"v=DMARC1; p=none; rua=mailto:postmaster@{domain}",
                "reports first; p=quarantine or p=reject once they show only mail that is yours",
            ),
            Record(
                Purpose.MTA_STS, f"_mta-sts.{domain}", "TXT", f"v=STSv1; id={_policy_id(policy)}",
                "only together with the policy below, at a web server of yours; a new id with each change of it",
            ),
            Record(
                Purpose.TLS_RPT, f"_smtp._tls.{domain}", "TXT", f"v=TLSRPTv1; rua=mailto:postmaster@{domain}",
                "other servers report here when TLS towards you fails",
            ),
            *(
                Record(Purpose.SRV, f"{service}._tcp.{domain}", "SRV", f"{priority} 1 {port} {host}.",
                       f"mail clients find port {port} by this")
                for service, port, priority in _SERVICES
            ),
        ),
        policy=policy,
        policy_url=f"https://mta-sts.{domain}/.well-known/mta-sts.txt",
        advice=_advice(domain, host),
    )  # fmt: skip


def _dkim(key: DkimKey) -> Record:
    note = f"DKIM, {key.algorithm.value}; {_STATES[key.state]}"
    return Record(Purpose.DKIM, key.name, "TXT", key.record, note, required=key.state is KeyState.ACTIVE)


def _policy_id(policy: str) -> str:
    """Up to 32 letters and digits (RFC 8461 3.1), another one for another policy."""
    return hashlib.sha256(policy.encode()).hexdigest()[:20]


def _advice(domain: str, host: str) -> tuple[str, ...]:
    return (
        f"{host} needs A and, if you have IPv6, AAAA records (no CNAME). Each of its addresses needs a PTR record that "
        f"says {host}, which whoever gives you the addresses sets. Servers of others refuse mail where that isn't so.",
        f"If mail leaves from other addresses than those of {host} (a NAT gateway, a smarthost), name them in SPF: "
        '"v=spf1 mx ip4:192.0.2.1 ~all", and give them a PTR record too.',
        f"Clients that don't ask for SRV look for autoconfig.{domain} and autodiscover.{domain}, web services that "
        f"aren't part of this platform. What they need to say: server {host}, login with the whole address.",
    )


def _comment(text: str, width: int = 96) -> list[str]:
    lines, line = [], ";"
    for word in text.split(" "):
        if len(line) + 1 + len(word) > width:
            lines.append(line)
            line = ";"
        line += " " + word
    return [*lines, line]


def strings(text: str) -> list[str]:
    """A TXT record's strings: up to 255 octets each."""
    return [text[start : start + MAX_STRING] for start in range(0, len(text), MAX_STRING)] or [""]
