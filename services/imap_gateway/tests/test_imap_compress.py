"""COMPRESS=DEFLATE as a client sees it (RFC 4978): through TLS, in IDLE, with large literals both ways, and abused."""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from mailboat_common.tls import CertificateStore

from tests.support.imap import ALICE, PASSWORD, TEST_POLICY, Client, imap_gateway

POLICY = replace(TEST_POLICY, compress=True)


class Inflated(asyncio.StreamReader):
    """What the server sent, inflated."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(limit=1 << 27)
        self.pump = asyncio.create_task(self._pump(reader))

    async def _pump(self, reader: asyncio.StreamReader) -> None:
        inflater = zlib.decompressobj(-15)
        try:
            while data := await reader.read(65536):
                self.feed_data(inflater.decompress(data))
        except ConnectionError:
            pass
        self.feed_eof()


class Compressed(Client):
    """A client whose every send is compressed and flushed."""

    def __init__(self, client: Client) -> None:
        super().__init__(Inflated(client.reader), client.writer)
        self.deflater = zlib.compressobj(wbits=-15)

    def send(self, data: bytes) -> None:
        super().send(self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH))


async def compressed(client: Client) -> Compressed:
    assert (await client.command("COMPRESS DEFLATE"))[-1].endswith(b" OK DEFLATE active")
    return Compressed(client)


async def test_it_is_offered_only_where_the_operator_wants_it() -> None:
    async with imap_gateway() as running:
        client = await running.session()
        assert b"COMPRESS" not in (await client.ok("CAPABILITY"))[0]
        assert b" BAD " in (await client.command("COMPRESS DEFLATE"))[-1]
    async with imap_gateway(policy=POLICY) as running:
        fresh = await running.connect(greeting=False)
        assert b"COMPRESS" not in await fresh.response()
        assert b" BAD " in (await fresh.command("COMPRESS DEFLATE"))[-1]
        await fresh.login()
        assert b"COMPRESS=DEFLATE" in (await fresh.ok("CAPABILITY"))[0].split()
        assert b" BAD " in (await fresh.command("COMPRESS LZ4"))[-1]
        client = await compressed(fresh)
        assert b"COMPRESS=DEFLATE" not in (await client.ok("CAPABILITY"))[0].split()
        assert b" NO [COMPRESSIONACTIVE] " in (await client.command("compress deflate"))[-1]
        await client.ok("NOOP")


async def test_commands_idle_and_large_literals() -> None:
    async with imap_gateway(policy=POLICY) as running:
        client = await compressed(await running.session("INBOX"))
        for body in (os.urandom(3_000_000).hex().encode(), b"x" * 30_000_000):
            assert b" OK [APPENDUID " in await client.append("INBOX", b"Subject: x\r\n\r\n" + body)
            (line,) = await client.ok("FETCH * BODY.PEEK[TEXT]")
            assert body in line
        client.send(b"i IDLE\r\n")
        await client.until(b"+")
        other = await running.session()
        await other.append("INBOX", b"Subject: y\r\n\r\n")
        assert await client.response() == b"* 3 EXISTS"
        client.send(b"DONE\r\nn NOOP\r\n")
        await client.until(b"n OK")
        assert (await client.ok("LOGOUT")) == [b"* BYE Logging out"]
        assert await client.response() == b""


async def test_it_lies_over_tls_and_stays_when_the_account_is_left(tmp_path: Path) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("localhost")
    pair.private_key_pem.write_to_path(tmp_path / "tls.key")
    for index, blob in enumerate(pair.cert_chain_pems):
        blob.write_to_path(tmp_path / "tls.crt", append=index > 0)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    policy = replace(POLICY, auth_require_tls=True)
    async with imap_gateway(policy=policy, tls=CertificateStore(tmp_path)) as running:
        plain = await running.connect()
        assert await plain.ok("STARTTLS") == []
        await plain.writer.start_tls(context, server_hostname="localhost")
        await plain.login()
        client = await compressed(plain)
        await client.append("INBOX", b"Subject: x\r\n\r\n" + b"y" * 200_000)
        await client.ok("UNAUTHENTICATE")
        assert b" BAD " in (await client.command("STARTTLS"))[-1]
        await client.login()
        assert b" NO [COMPRESSIONACTIVE] " in (await client.command("COMPRESS DEFLATE"))[-1]
        await client.ok("SELECT INBOX")
        (line,) = await client.ok("FETCH 1 BODY[TEXT]")
        assert b"y" * 200_000 in line


async def test_starttls_is_not_offered_below_a_compressed_stream(tmp_path: Path) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("localhost")
    pair.private_key_pem.write_to_path(tmp_path / "tls.key")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    async with imap_gateway(policy=POLICY, tls=CertificateStore(tmp_path)) as running:
        client = await compressed(await running.session())
        (last,) = await client.command("UNAUTHENTICATE")
        assert b"STARTTLS" not in last
        assert b" BAD " in (await client.command("STARTTLS"))[-1]


@pytest.mark.parametrize("behind", [b"x NOOP\r\n", b"x", zlib.compress(b"x NOOP\r\n", wbits=-15)])
async def test_what_is_sent_behind_the_command_ends_the_connection(behind: bytes) -> None:
    async with imap_gateway(policy=POLICY) as running:
        client = await running.session()
        client.send(b"c COMPRESS DEFLATE\r\n" + behind)
        assert await client.response() == b"", "cut off, without an OK"


@pytest.mark.parametrize("sent", [b"x NOOP\r\n", zlib.compress(b"x NOOP\r\n"), zlib.compressobj(wbits=-15).flush()])
async def test_what_is_not_deflate_ends_the_connection(sent: bytes) -> None:
    async with imap_gateway(policy=POLICY) as running:
        client = await compressed(await running.session())
        client.writer.write(sent)
        assert await client.response() == b""
        await (await running.session()).ok("NOOP")


async def test_a_bomb_is_read_no_faster_than_it_is_taken() -> None:
    async with imap_gateway(policy=POLICY) as running:
        client = await compressed(await running.session())
        others = await running.session()
        bomb = client.deflater.compress(b"x" * 200_000_000) + client.deflater.flush(zlib.Z_SYNC_FLUSH)
        client.writer.write(bomb)
        assert await client.response() == b"* BAD [TOOBIG] Line too long"
        await others.ok("NOOP")
        assert await client.response() == b"* BYE Too much of a refused command"
        assert await client.response() == b""


async def test_a_client_that_ends_is_answered_in_full_and_bye_is_compressed() -> None:
    async with imap_gateway(policy=POLICY) as running:
        client = await compressed(await running.session())
        client.send(b"".join(b"s%d STATUS INBOX (MESSAGES)\r\n" % number for number in range(20_000)))
        client.writer.write_eof()
        lines = await client.until(b"s19999 OK")
        assert sum(line.startswith(b"* STATUS") for line in lines) == 20_000
        idle = await compressed(await running.session())
        loop = asyncio.get_running_loop()
        await running.server.drain(loop.time() + 2)
        assert await idle.response() == b"* BYE Server is closing, connect again"
        assert await idle.response() == b""


async def test_logging_in_again_in_one_stream() -> None:
    async with imap_gateway(policy=POLICY) as running:
        running.store.add_account("bob@example.test", PASSWORD)
        client = await compressed(await running.session("INBOX"))
        await client.append("INBOX", b"Subject: alice's\r\n\r\n")
        await client.ok("UNAUTHENTICATE")
        await client.login("bob@example.test")
        assert b"* STATUS INBOX (MESSAGES 0)" in await client.ok("STATUS INBOX (MESSAGES)")
        await client.ok("UNAUTHENTICATE")
        await client.login(ALICE)
        assert b"* STATUS INBOX (MESSAGES 1)" in await client.ok("STATUS INBOX (MESSAGES)")
