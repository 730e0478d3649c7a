"""BINARY (RFC 3516): content of every size decoded to the octet, and messages with NUL appended."""

from __future__ import annotations

import base64
import quopri
import random

import pytest
from imap_gateway.bodies import CONTENT_BYTES
from mailboat_store_client.types import BodyId

from tests.support.imap import Client, imap_gateway

SIZES = (0, 1, 57, 3_000, 70_000, CONTENT_BYTES - 1, CONTENT_BYTES, CONTENT_BYTES + 1, 3_000_000)


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def part(content: bytes, encoding: str) -> bytes:
    """A message of two parts, the second with this content."""
    encoded = (
        base64.encodebytes(content).replace(b"\n", b"\r\n")
        if encoding == "base64"
        else quopri.encodestring(content.replace(b"\r", b"=0D").replace(b"\n", b"=0A"))
    )
    head = (
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n"
        f"--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + encoded + b"\r\n--b--\r\n"


async def append(client: Client, message: bytes) -> None:
    assert b" OK" in await client.append("INBOX", message)


def value(line: bytes, label: bytes) -> bytes:
    """The octets of the one literal in a FETCH response, which must be a literal8 exactly if there is NUL in them."""
    start = line.index(label + b" ") + len(label) + 1
    head, _, rest = line[start:].partition(b"\r\n")
    eight = head.startswith(b"~")
    octets = rest[: int(head.strip(b"~{}"))]
    assert eight == (b"\0" in octets)
    return octets


@pytest.mark.parametrize("size", SIZES)
async def test_parts_of_every_size_come_decoded_to_the_octet(size: int) -> None:
    content = content_of(size)
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        await append(client, part(content, "base64"))
        await client.ok("NOOP")
        (line,) = await client.ok("FETCH 1 BINARY.PEEK[2]")
        assert value(line, b"BINARY[2]") == content
        assert await client.ok("FETCH 1 BINARY.SIZE[2]") == [b"* 1 FETCH (BINARY.SIZE[2] %d)" % size]
        for first, count in ((0, 10), (size // 2, 100), (max(0, size - 1), 5), (size, 5), (0, 2 * size + 1)):
            (line,) = await client.ok(f"FETCH 1 BINARY.PEEK[2]<{first}.{count}>")
            assert value(line, b"BINARY[2]<%d>" % first) == content[first : first + count]


async def test_large_quoted_printable() -> None:
    content = ("Grüße = aus dem Tal \t, " * 120_000).encode() + b"."
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        await append(client, part(content, "quoted-printable"))
        await client.ok("NOOP")
        (line,) = await client.ok("FETCH 1 (BINARY.SIZE[2] BINARY[2])")
        assert value(line, b"BINARY[2]") == content
        assert line.startswith(b"* 1 FETCH (BINARY.SIZE[2] %d BINARY" % len(content))
        assert line.endswith(b" FLAGS (\\Seen \\Recent))")


async def test_large_parts_are_never_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is asked of the store in a range, once to be counted and once to be sent; its message never."""
    content = content_of(3_000_000)
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        await append(client, part(content, "base64"))
        await client.ok("NOOP")
        ranges: list[tuple[int, int | None]] = []
        read = type(running.store.read).read

        def noted(self: object, account: str, body: BodyId, offset: int = 0, length: int | None = None) -> object:
            ranges.append((offset, length))
            return read(self, account, body, offset, length)  # type: ignore[arg-type]

        monkeypatch.setattr(type(running.store.read), "read", noted)
        await client.ok("FETCH 1 BINARY.PEEK[2]")
        await client.ok("FETCH 1 BINARY.PEEK[2]<1000000.5000>")
        await client.ok("FETCH 1 BINARY.SIZE[1]")
        assert len(ranges) == 3
        assert len(set(ranges)) == 1


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"Content-Transfer-Encoding: binary\r\n\r\na\0b", b"Content-Transfer-Encoding: base64\r\n\r\nYQBi"),
        (
            b"content-transfer-encoding : BINARY (as is)\r\nX: y\r\n\r\n" + b"\0" * 58,
            b"content-transfer-encoding: base64\r\nX: y\r\n\r\n" + b"AAAA" * 19 + b"\r\nAA==",
        ),
        (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            b"no NUL \xff\r\n--b\r\nContent-Transfer-Encoding:\r\n binary\r\n\r\n\0\r\n--b\r\n\r\nrest\r\n--b--\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            b"no NUL \xff\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n--b\r\n\r\nrest\r\n--b--\r\n",
        ),
        (
            b"Content-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\n\0",
            b"Content-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==",
        ),
        (b"Subject: x\r\n\r\nbare \n and \r stay\r\n", b"Subject: x\r\n\r\nbare \n and \r stay\r\n"),
    ],
)
async def test_nul_in_a_literal8_is_kept_in_base64(sent: bytes, kept: bytes) -> None:
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        assert b" OK" in (await client.command(b"APPEND INBOX ~{%d+}\r\n%b" % (len(sent), sent)))[-1]
        await client.ok("NOOP")
        (line,) = await client.ok("FETCH 1 (BODY.PEEK[] RFC822.SIZE)")
        assert line == b"* 1 FETCH (BODY[] {%d}\r\n%b RFC822.SIZE %d)" % (len(kept), kept, len(kept))
        if sent.startswith(b"Content-Transfer"):
            (line,) = await client.ok("FETCH 1 BINARY[1]")
            assert value(line, b"BINARY[1]") == b"a\0b"


BINARY = b"Content-Transfer-Encoding: binary\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"Subject: \0\r\n" + BINARY + b"\r\nx",
        b"Content-Transfer-Encoding: 8bit\r\n\r\n\0",
        b"Content-Transfer-Encoding: base64\r\n\r\nAA==\0",
        b"\r\n\0",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\0\r\n--b\r\n" + BINARY + b"\r\n\0\r\n--b--",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + BINARY + b"\r\n\0\r\n--b--\r\n\0",
        b"Content-Type: multipart/mixed\r\n" + BINARY + b"\r\n\0",
        b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n" + BINARY + b"\r\n\0\r\n--b--",
    ],
)
async def test_nul_elsewhere_is_refused(sent: bytes) -> None:
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        good = b"Subject: x\r\n\r\nx"
        reply = (await client.command(b"APPEND INBOX {%d+}\r\n%b ~{%d+}\r\n%b" % (len(good), good, len(sent), sent)))[
            -1
        ]
        assert b" NO [UNKNOWN-CTE]" in reply
        assert await count(client) == 0
        assert running.gateway.in_flight.used == 0


async def test_nul_needs_a_literal8() -> None:
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        sent = BINARY + b"\r\n\0"
        reply = (await client.command(b"APPEND INBOX {%d+}\r\n%b" % (len(sent), sent)))[-1]
        assert b" NO [CANNOT]" in reply
        assert await count(client) == 0


async def count(client: Client) -> int:
    (line,) = await client.ok("STATUS INBOX (MESSAGES)")
    return int(line.split()[-1].rstrip(b")"))
