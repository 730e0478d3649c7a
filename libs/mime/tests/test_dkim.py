"""DKIM: the RFCs' examples, other implementations' judgement of our signatures, and ours of theirs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dkim as dkimpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_local import apt
from mailboat_mime.dkim import TemporaryLookupError, Verdict, sign, verify
from mailboat_mime.dkim_canonical import Form, canonical_body, canonical_field
from mailboat_mime.dkim_keys import (
    Algorithm,
    RecordError,
    SigningKey,
    from_pem,
    generate,
    parse_record,
    public_text,
    record_text,
    to_pem,
)

NOW = 1_700_000_000
MAIL_DKIM = Path("/usr/share/perl5/Mail/DKIM/Verifier.pm")
VERIFIER = r"""
use strict; use warnings; use Mail::DKIM::Verifier; use Net::DNS;
my @strings = unpack("(A255)*", $ARGV[0]);
{ no warnings; *Mail::DKIM::DNS::query = sub {
    return Net::DNS::RR->new(owner => $_[0], type => "TXT", txtdata => [@strings]) } }
my $verifier = Mail::DKIM::Verifier->new(); binmode STDIN; local $/; $verifier->PRINT(<STDIN>); $verifier->CLOSE;
print join(" ", map { $_->algorithm . ":" . $_->result } $verifier->signatures), "\n";
"""

# RFC 6376 A.2 (the key in A.3), RFC 8463 A.2 and A.3.
RECORDS = {
    "brisbane._domainkey.example.com": "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"
    "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi"
    "tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB",
    "brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test._domainkey.football.example.com": "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qh"
    "dR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9Pz"
    "oxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
}
DINNER = """\
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.{two} Are you hungry yet?

Joe.
"""
RFC_8463 = (
    """\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
"""
    + DINNER
)
RFC_6376 = (
    """\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
"""
    + DINNER
)


def crlf(text: str, two: str = "") -> bytes:
    return text.replace("{two}", two).replace("\n", "\r\n").encode()


MESSAGE = crlf(DINNER)


@pytest.fixture(scope="session")
def keys() -> list[SigningKey]:
    return [SigningKey("example.com", f"s-{a.key_type}", a, generate(a)) for a in Algorithm]


def records_of(keys: list[SigningKey]) -> dict[str, str]:
    return {
        f"{key.selector}._domainkey.{key.domain}": record_text(key.algorithm, public_text(key.private)) for key in keys
    }


async def judged(message: bytes, records: dict[str, str], now: int = NOW) -> list[Verdict]:
    async def lookup(name: str) -> list[str]:
        return [records[name]] if name in records else []

    return [found.verdict for found in await verify(message, lookup, now)]


def dkimpy_passes(message: bytes, records: dict[str, str], number: int) -> bool:
    """What dkimpy says of the n-th signature from the top."""

    def txt(name: bytes, timeout: float = 5) -> bytes | None:
        found = records.get(name.decode().removesuffix("."))
        return found.encode() if found else None

    return bool(dkimpy.DKIM(message, minkey=1024).verify(idx=number, dnsfunc=txt))


async def test_the_examples_of_the_rfcs() -> None:
    assert await judged(crlf(RFC_8463, " "), RECORDS) == [Verdict.PASS, Verdict.PASS]
    assert await judged(crlf(RFC_6376), RECORDS) == [Verdict.PASS]


def test_canonical_forms_as_in_rfc_6376_3_4_5() -> None:
    fields = [b"A: X\r\n", b"B : Y\t\r\n\tZ  \r\n"]
    body = b" C \r\nD \t E\r\n\r\n\r\n"
    assert b"".join(canonical_field(raw, Form.RELAXED) for raw in fields) == b"a:X\r\nb:Y Z\r\n"
    assert canonical_body(body, Form.RELAXED) == b" C\r\nD E\r\n"
    assert [canonical_field(raw, Form.SIMPLE) for raw in fields] == fields
    assert canonical_body(body, Form.SIMPLE) == b" C \r\nD \t E\r\n"


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n" * 10_000, b"\r\n", b""),
        (b" \t\r\n\r\n", b" \t\r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a ", b"a \r\n", b"a\r\n"),
        (b"a\n\n", b"a\n\n\r\n", b"a\n\n\r\n"),
        (b"\xe9\t\t\xff  \r\n", b"\xe9\t\t\xff  \r\n", b"\xe9 \xff\r\n"),
    ],
)
def test_canonical_bodies(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert canonical_body(body, Form.SIMPLE) == simple
    assert canonical_body(body, Form.RELAXED) == relaxed


async def test_both_signatures_pass_here_and_in_dkimpy(keys: list[SigningKey]) -> None:
    prefix = sign(MESSAGE, keys, NOW)
    assert prefix.count(b"DKIM-Signature: ") == 2
    assert all(len(line) <= 78 for line in prefix.split(b"\r\n"))
    records = records_of(keys)
    assert await judged(prefix + MESSAGE, records) == [Verdict.PASS, Verdict.PASS]
    assert [dkimpy_passes(prefix + MESSAGE, records, number) for number in (0, 1)] == [True, True]
    assert sign(MESSAGE, keys, NOW) == prefix
    assert sign(MESSAGE, [], NOW) == b""


async def test_trace_fields_in_front_and_other_spaces_do_no_harm(keys: list[SigningKey]) -> None:
    message = b"Received: by mx\r\n" + sign(MESSAGE, keys, NOW) + MESSAGE
    spaced = (
        message.replace(b"Subject: Is", b"SUBJECT:  Is\r\n ").replace(b"hungry", b" hungry").replace(b"Hi.", b"Hi. ")
    )
    assert await judged(spaced, records_of(keys)) == [Verdict.PASS, Verdict.PASS]


@pytest.mark.parametrize(
    "added",
    [
        b"From: x@evil.test\r\n",
        b"Subject: Pay\r\n",
        b"Content-Type: text/html\r\n",
        b"Cc: a@b.test\r\n",
        b"Reply-To: a@b.test\r\n",
    ],
)
async def test_a_field_added_on_the_way_breaks_the_signature(keys: list[SigningKey], added: bytes) -> None:
    signed = sign(MESSAGE, keys, NOW) + MESSAGE
    for changed in (added + signed, signed.replace(b"\r\n\r\nHi.", b"\r\n" + added + b"\r\nHi.")):
        assert await judged(changed, records_of(keys)) == [Verdict.FAIL, Verdict.FAIL]
        assert not dkimpy_passes(changed, records_of(keys), 0)


async def test_what_a_mailing_list_adds_breaks_nothing(keys: list[SigningKey]) -> None:
    signed = sign(MESSAGE, keys, NOW) + MESSAGE
    assert await judged(b"Sender: l@l.test\r\nList-Id: <l.test>\r\n" + signed, records_of(keys)) == [Verdict.PASS] * 2
    assert await judged(signed.replace(b"Hi.", b"Ho."), records_of(keys)) == [Verdict.FAIL] * 2


async def test_what_verdicts_say(keys: list[SigningKey]) -> None:
    signed = sign(MESSAGE, keys[:1], NOW) + MESSAGE
    (name, record), *_ = records_of(keys[:1]).items()
    assert await judged(signed, {}) == [Verdict.PERMERROR]
    assert await judged(signed, {name: record_text(Algorithm.RSA, "")}) == [Verdict.PERMERROR]
    assert await judged(signed, {name: record.replace("k=rsa", "k=ed25519")}) == [Verdict.PERMERROR]
    assert await judged(signed.replace(b"a=rsa-sha256", b"a=rsa-sha1"), {name: record}) == [Verdict.NEUTRAL]
    assert await judged(signed.replace(b"h=from:from:", b"h=", 1), {name: record}) == [Verdict.NEUTRAL]
    assert await judged(signed.replace(b" bh=", b" x=5; bh="), {name: record}) == [Verdict.NEUTRAL]
    assert await judged(signed.replace(b" bh=", b" l=5; bh="), {name: record}) == [Verdict.NEUTRAL]
    assert await judged(MESSAGE, {}) == []
    assert len(await judged(signed.partition(b"From:")[0] * 20 + MESSAGE, {})) == 8

    async def away(name: str) -> list[str]:
        raise TemporaryLookupError

    (found,) = await verify(signed, away, NOW)
    assert (found.verdict, found.domain, found.selector) == (Verdict.TEMPERROR, "example.com", "s-rsa")


def test_no_signature_without_from(keys: list[SigningKey]) -> None:
    with pytest.raises(ValueError, match="no From"):
        sign(b"Subject: x\r\n\r\n", keys, NOW)


_LINES = st.lists(st.text("ab \t.=\xe9", max_size=12), max_size=8).map("\r\n".join)


@given(
    subject=st.text("ab \t", max_size=20), body=_LINES, ends=st.sampled_from(["", "\r\n", "\r\n\r\n", " \r\n\t\r\n"])
)
async def test_dkimpy_agrees_on_every_message(keys: list[SigningKey], subject: str, body: str, ends: str) -> None:
    message = (
        f"From: a@example.com\r\nTo:b@c.test,\r\n\t d@e.test \r\nSubject: {subject}\r\n\r\n{body}\r\n{ends}".encode()
    )
    signed = sign(message, keys, NOW) + message
    assert [dkimpy_passes(signed, records_of(keys), number) for number in (0, 1)] == [True, True]
    assert await judged(signed, records_of(keys)) == [Verdict.PASS, Verdict.PASS]


@pytest.mark.parametrize("form", [b"simple/simple", b"relaxed/relaxed", b"simple/relaxed", b"relaxed/simple"])
async def test_dkimpys_signatures_pass(keys: list[SigningKey], form: bytes) -> None:
    header, body = form.split(b"/")
    field = dkimpy.sign(
        MESSAGE, b"s-rsa", b"example.com", to_pem(keys[0].private).encode(), canonicalize=(header, body)
    )
    assert await judged(field + MESSAGE, records_of(keys)) == [Verdict.PASS]


def test_mail_dkim_in_perl_passes_the_rsa_signature(keys: list[SigningKey]) -> None:
    """The verifier of SpamAssassin and amavis, as Debian has it; it skips Ed25519."""
    if not MAIL_DKIM.exists():
        apt.install(["libmail-dkim-perl"], why="another implementation of DKIM, which judges ours")
    signed = sign(MESSAGE, keys, NOW) + MESSAGE
    record = record_text(Algorithm.RSA, public_text(keys[0].private))
    for message, expected in ((signed, "pass"), (signed.replace(b"hungry", b"angry"), "fail")):
        done = subprocess.run(
            ["perl", "-e", VERIFIER, record], input=message, capture_output=True, check=False, timeout=60
        )
        assert (done.stdout.decode().split()[:1], done.stderr) == ([f"rsa-sha256:{expected}"], b"")


def test_keys_are_kept_as_pem_and_never_shown(keys: list[SigningKey]) -> None:
    for key in keys:
        again = from_pem(to_pem(key.private))
        assert public_text(again) == public_text(key.private)
        assert parse_record(record_text(key.algorithm, public_text(again))).public() == key.private.public_key()
        assert "private" not in repr(key).lower()


@pytest.mark.parametrize(
    "text",
    [
        "v=DKIM2; p=AAAA",
        "v=DKIM1; k=rsa",
        "k=dsa; p=AAAA",
        "k=rsa; p=AAAA",
        "k=ed25519; p=AAAA",
        "k=rsa; p=",
        "k=ed25519; p=!",
        "h=sha1; p=AAAA",
        "s=tlsrpt; p=AAAA",
        "p=AAAA; p=AAAA",
        "nonsense",
    ],
)
def test_records_that_hold_no_key(text: str) -> None:
    with pytest.raises(RecordError):
        parse_record(text).public()
