"""SEARCH of texts: charsets on the wire, and large messages of which only the text is read."""

from __future__ import annotations

import base64

import pytest
from imap_gateway.bodies import Bodies
from mailboat_store_client.types import BodyId

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
