"""SEARCH of texts: charsets on the wire, large messages of which only the text is read, and mailboxes of many messages."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest
from imap_gateway.bodies import INFO_BATCH, Bodies
from mailboat_store_client.types import BodyField, BodyId

from tests.support.imap import imap_gateway


@pytest.mark.parametrize(
    ("charset", "codec", "word"),
    [
        ("UTF-8", "utf-8", "日本語"),
        ("utf-16", "utf-16", "日本語"),
        ("ISO-2022-JP", "iso2022_jp", "日本語"),
        ("Shift_JIS", "shift_jis", "日本語"),
        ("EUC-JP", "euc_jp", "日本語"),
        ("EUC-KR", "euc_kr", "한국어"),
        ("GB2312", "gb2312", "汉语"),
        ("GB18030", "gb18030", "汉语"),
        ("Big5", "big5", "漢語"),
        ("KOI8-R", "koi8-r", "ПРИВЕТ"),
        ("windows-1251", "cp1251", "ПРИВЕТ"),
        ("ISO-8859-7", "iso8859-7", "ΚΑΛΗΜΈΡΑ"),
        ("iso-8859-1", "latin-1", "GRÜSSE"),
    ],
)
async def test_charsets_on_the_wire(charset: str, codec: str, word: str) -> None:
    text = "日本語 한국어 汉语 漢語 привет καλημέρα Grüße"
    message = f"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()
    wanted = word.encode(codec)
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        await client.append("INBOX", message)
        await client.ok("NOOP")
        command = b"SEARCH CHARSET %b BODY {%d+}\r\n%b" % (charset.encode(), len(wanted), wanted)
        assert await client.ok(command) == [b"* SEARCH 1"]


async def test_of_large_messages_only_the_text_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    attachment = base64.encodebytes(b"\xff" * 3_000_000).replace(b"\n", b"\r\n")
    message = (
        b"Subject: =?utf-8?q?gro=C3=9F?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "Grüße".encode() + b"\r\n--b\r\n"
        b"Content-Type: image/png; name=sunset.png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + attachment
        + b"\r\n--b\r\n\r\nlast words\r\n--b--\r\n"
    )
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        assert b" OK" in await client.append("INBOX", message)
        await client.ok("NOOP")
        octets: list[int] = []
        read = type(running.store.read).read

        def noted(self: object, account: str, body: BodyId, offset: int = 0, length: int | None = None) -> object:
            octets.append(length or len(message))
            return read(self, account, body, offset, length)  # type: ignore[arg-type]

        async def never(*_args: object) -> list[bytes | None]:
            raise AssertionError("the message was read whole")

        monkeypatch.setattr(type(running.store.read), "read", noted)
        monkeypatch.setattr(Bodies, "contents", never)
        for key, found in (
            ('BODY "last words"', True),
            ("BODY sunset", True),
            ("TEXT grosz", False),
            ("TEXT gross", True),
            ("BODY gross", False),
            ("BODY ////", False),
        ):
            assert await client.ok(f"SEARCH {key}") == [b"* SEARCH 1" if found else b"* SEARCH"], key
        assert sum(octets) < 5_000
        assert running.gateway.in_flight.used == 0


@pytest.mark.parametrize("key", ["THREADID Tzzz", "THREADID T{}", "SUBJECT s", "BODY x", "SENTSINCE 1-Jan-2020"])
async def test_no_key_asks_the_store_for_too_many_bodies(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    async with imap_gateway() as running:
        client = await running.session("INBOX")
        messages = [b"Subject: s%d\r\n\r\nx\r\n" % number for number in range(1_010)]
        await client.ok(b"APPEND INBOX " + b" ".join(b"{%d+}\r\n%b" % (len(each), each) for each in messages))
        await client.ok("NOOP")
        thread = (await client.ok("FETCH 1 THREADID"))[0].split(b"(")[-1].rstrip(b")").decode()
        read = type(running.store.read).body_infos

        def counted(self: object, account: str, body_ids: Sequence[BodyId], fields: BodyField) -> object:
            assert len(body_ids) <= INFO_BATCH
            return read(self, account, body_ids, fields)  # type: ignore[arg-type]

        monkeypatch.setattr(type(running.store.read), "body_infos", counted)
        await client.ok("SEARCH " + key.replace("T{}", thread))
