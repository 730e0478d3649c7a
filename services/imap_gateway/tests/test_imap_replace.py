"""REPLACE beyond the transcripts (RFC 8508): what it takes, what it refuses, and that nothing is held afterwards."""

from __future__ import annotations

import pytest
from mailboat_store_client.memory import MemoryStore

from tests.support.imap import ALICE, PASSWORD, imap_gateway

OLD = b"Subject: old\r\n\r\n0123456789\r\n"
BINARY = b"Content-Transfer-Encoding: binary\r\n\r\n\0"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"REPLACE 1 INBOX {3+}\r\na\0b", b"NO [CANNOT]"),
        (b"REPLACE 1 INBOX ~{3+}\r\na\0b", b"NO [UNKNOWN-CTE]"),
        (b"REPLACE 1 INBOX {1+}\r\nx {1+}\r\ny", b"BAD REPLACE takes one message"),
        (b"REPLACE 1 INBOX {1+}\r\nx junk", b"BAD"),
        (b"UID REPLACE 1 INBOX UTF8 (~{1+}\r\nx)", b"BAD"),
        (b"REPLACE 1 INBOX {29+}\r\n" + OLD + b"y", b"NO [OVERQUOTA]"),
        (b"REPLACE 1 nowhere {70000+}\r\n" + b"x" * 70000, b"NO [TRYCREATE]"),
        (b"REPLACE 1 Archive {28+}\r\n" + OLD, b"OK"),
        (b"REPLACE 1 INBOX ~{%d+}\r\n%b" % (len(BINARY), BINARY), b"NO [OVERQUOTA]"),
    ],
)
async def test_the_stream_stays_in_place_and_a_refusal_changes_nothing(sent: bytes, answer: bytes) -> None:
    store = MemoryStore()
    store.add_account(ALICE, PASSWORD, len(OLD))
    async with imap_gateway(store) as running:
        client = await running.session()
        assert b" OK" in await client.append("INBOX", OLD)
        await client.ok("SELECT INBOX")
        assert answer in (await client.command(sent))[-1]
        (line,) = await client.ok("STATUS INBOX (MESSAGES UIDNEXT)")
        expected = b"MESSAGES 0 UIDNEXT 2" if answer == b"OK" else b"MESSAGES 1 UIDNEXT 2"
        assert expected in line
        assert running.gateway.in_flight.used == 0


async def test_nul_in_a_literal8_is_kept_in_base64() -> None:
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        await client.append("INBOX", OLD)
        *_, last = await client.command(b"REPLACE * INBOX ~{%d+}\r\n%b" % (len(BINARY), BINARY))
        assert b" OK" in last
        (line,) = await client.ok("FETCH 1 (UID BODY.PEEK[TEXT])")
        assert line == b"* 1 FETCH (UID 2 BODY[TEXT] {4}\r\nAA==)"
        assert running.gateway.in_flight.used == 0


async def test_with_condstore_the_reply_says_how_far_the_client_is() -> None:
    async with imap_gateway() as running:
        client = await running.session()
        await client.append("INBOX", OLD)
        await client.ok("SELECT INBOX (CONDSTORE)")
        *_, last = await client.command(b"REPLACE 1 INBOX {1+}\r\nx")
        (line,) = await client.ok("STATUS INBOX (HIGHESTMODSEQ)")
        assert b"OK [HIGHESTMODSEQ %b]" % line.split()[-1].rstrip(b")") in last
