"""/v1/domains/{name}/dns and /v1/domains/{name}/dkim."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ..directory.dkim import DkimKey
from ..domain_dns.check import Finding, Level
from ..domain_dns.records import TTL, Publication, Record, strings
from .context import Caller, Ctx
from .models import example
from .problems import described

router = APIRouter(tags=["domains"])

RECORD = {
    "purpose": "spf",
    "name": "example.test",
    "type": "TXT",
    "ttl": 3600,
    "value": "v=spf1 mx ~all",
    "strings": ["v=spf1 mx ~all"],
    "required": True,
    "note": "who may send with the domain's reverse-paths",
}
POLICY = {
    "url": "https://mta-sts.example.test/.well-known/mta-sts.txt",
    "text": "version: STSv1\r\nmode: testing\r\nmx: mail.example.test\r\nmax_age: 604800\r\n",
}
FINDING = {
    "level": "error",
    "topic": "spf",
    "name": "example.test",
    "text": "There is no SPF record: many servers mark or refuse mail of such a domain.",
    "expected": "v=spf1 mx ~all",
    "found": [],
}
KEY = {
    "selector": "20261126a-ed25519",
    "algorithm": "ed25519-sha256",
    "state": "active",
    "name": "20261126a-ed25519._domainkey.example.test",
    "record": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "created_at": 1795651200000,
    "activated_at": 1795651200000,
    "retires_at": None,
}


class RecordOut(BaseModel):
    """A record to publish."""

    model_config = example(**RECORD)
    purpose: Literal["mx", "spf", "dkim", "dmarc", "mta_sts", "tls_rpt", "srv"]
    name: str = Field(description="Absolute, without the final dot", examples=["_dmarc.example.test"])
    type: Literal["MX", "TXT", "SRV"]
    ttl: int
    value: str = Field(description="TXT: in one piece")
    strings: list[str] | None = Field(description="TXT: the value in strings of up to 255 octets")
    required: bool = Field(description="Without it mail is lost, refused or not believed")
    note: str

    @classmethod
    def of(cls, record: Record) -> RecordOut:
        """From a record."""
        return cls.model_validate(
            {
                "purpose": record.purpose.value,
                "name": record.name,
                "type": record.type,
                "ttl": TTL,
                "value": record.value,
                "strings": strings(record.value) if record.type == "TXT" else None,
                "required": record.required,
                "note": record.note,
            }
        )


class PolicyOut(BaseModel):
    """MTA-STS's policy (RFC 8461 3.2), to be served by a web server of the domain's."""

    model_config = example(**POLICY)
    url: str
    text: str


class DomainDnsOut(BaseModel):
    """What to publish for a domain."""

    model_config = example(
        domain="example.test",
        hostname="mail.example.test",
        records=[RECORD],
        mta_sts_policy=POLICY,
        advice=["mail.example.test needs A and, if you have IPv6, AAAA records (no CNAME)."],
        zone="example.test. 3600 IN MX 10 mail.example.test.\n",
    )
    domain: str
    hostname: str = Field(description="Where mail goes: MB_HOSTNAME")
    records: list[RecordOut]
    mta_sts_policy: PolicyOut
    advice: list[str]
    zone: str = Field(description="The same as a zone file with comments")

    @classmethod
    def of(cls, published: Publication) -> DomainDnsOut:
        """From a publication."""
        return cls(
            domain=published.domain,
            hostname=published.hostname,
            records=[RecordOut.of(record) for record in published.records],
            mta_sts_policy=PolicyOut(url=published.policy_url, text=published.policy),
            advice=list(published.advice),
            zone=published.zone,
        )


class FindingOut(BaseModel):
    """One finding. `topic` "unknown": no name server answered, which says nothing about the records."""

    model_config = example(**FINDING)
    level: Literal["ok", "hint", "warning", "error"]
    topic: str
    name: str
    text: str
    expected: str | None
    found: list[str]

    @classmethod
    def of(cls, finding: Finding) -> FindingOut:
        """From a finding."""
        return cls(
            level=finding.level.value,
            topic=finding.topic,
            name=finding.name,
            text=finding.text,
            expected=finding.expected or None,
            found=list(finding.found),
        )


class DnsCheckOut(BaseModel):
    """What DNS has. `ok`: there is no error."""

    model_config = example(domain="example.test", ok=False, findings=[FINDING])
    domain: str
    ok: bool
    findings: list[FindingOut]


class DkimKeyOut(BaseModel):
    """A key's public half. Times in milliseconds since the epoch."""

    model_config = example(**KEY)
    selector: str
    algorithm: Literal["rsa-sha256", "ed25519-sha256"]
    state: Literal["pending", "active", "retiring"]
    name: str = Field(description="Where the record is to be published")
    record: str = Field(description="The TXT record, in one piece")
    created_at: int
    activated_at: int | None
    retires_at: int | None = Field(description="When a retiring key is removed")

    @classmethod
    def of(cls, key: DkimKey) -> DkimKeyOut:
        """From the directory's value, which has no private half."""
        return cls(
            selector=key.selector,
            algorithm=key.algorithm.value,
            state=key.state.value,
            name=key.name,
            record=key.record,
            created_at=key.created_at,
            activated_at=key.activated_at,
            retires_at=key.retires_at,
        )


class DkimOut(BaseModel):
    """A domain's keys: those that sign first."""

    model_config = example(keys=[KEY])
    keys: list[DkimKeyOut]

    @classmethod
    def of(cls, keys: list[DkimKey]) -> DkimOut:
        """From the directory's values."""
        return cls(keys=[DkimKeyOut.of(key) for key in keys])


@router.get("/domains/{name}/dns", summary="Show the DNS records to publish", responses=described(404))
async def show_dns(name: str, ctx: Ctx, _caller: Caller) -> DomainDnsOut:
    """The DNS records to publish: MX, SPF, DKIM, DMARC, MTA-STS, TLS-RPT, SRV."""
    return DomainDnsOut.of(await ctx.domain_dns.publication(name))


@router.get("/domains/{name}/dns/check", summary="Check the DNS records", responses=described(404))
async def check_dns(name: str, ctx: Ctx, _caller: Caller) -> DnsCheckOut:
    """Asks DNS for these records and explains each difference. Takes up to some 20 seconds."""
    findings = await ctx.domain_dns.check(name)
    ok = all(finding.level is not Level.ERROR for finding in findings)
    return DnsCheckOut(domain=name, ok=ok, findings=[FindingOut.of(finding) for finding in findings])


@router.get("/domains/{name}/dkim", summary="List DKIM keys", responses=described(404))
async def list_dkim_keys(name: str, ctx: Ctx, _caller: Caller) -> DkimOut:
    """The domain's DKIM keys; never their private halves."""
    return DkimOut.of(await ctx.domain_dns.keys.of(name))


@router.post("/domains/{name}/dkim/rotate", summary="Make new DKIM keys", responses=described(404, 409))
async def rotate_dkim_keys(name: str, ctx: Ctx, caller: Caller) -> DkimOut:
    """Makes a pair of pending keys; again: the same pair, until it is active."""
    keys = await ctx.domain_dns.keys.rotate(name)
    await ctx.audit_log.record(caller, "domain.dkim.rotate", keys[0].domain)
    return DkimOut.of(keys)


@router.post("/domains/{name}/dkim/activate", summary="Use the new DKIM keys", responses=described(404, 409))
async def activate_dkim_keys(name: str, ctx: Ctx, caller: Caller) -> DkimOut:
    """The pending keys sign from now on, whatever DNS says; those before retire and stay published for 14 days."""
    keys = await ctx.domain_dns.keys.activate(name)
    await ctx.audit_log.record(caller, "domain.dkim.activate", keys[0].domain)
    return DkimOut.of(keys)
