"""The standard library's client, which waits for `+` before each literal and quotes as it likes."""

from __future__ import annotations

import asyncio
import imaplib

from tests.support.imap import ALICE, PASSWORD, imap_gateway

MESSAGE = b"From: a@example.test\r\nSubject: hello\r\n\r\nbody\r\n"


def use(port: int) -> None:
    with imaplib.IMAP4("127.0.0.1", port, timeout=10) as client:
        assert client.login(ALICE, PASSWORD)[0] == "OK"
        assert client.create('"a folder"')[0] == "OK"
        date = imaplib.Time2Internaldate(1_700_000_000)
        status, _ = client.append('"a folder"', "(\\Seen)", date, MESSAGE)
        assert status == "OK"
        assert client.select('"a folder"') == ("OK", [b"1"])
        assert client.search(None, "SUBJECT", '"HELLO"') == ("OK", [b"1"])
        status, data = client.fetch("1", "(FLAGS INTERNALDATE RFC822)")
        assert isinstance(data[0], tuple)
        assert data[0][1] == MESSAGE
        assert b'"14-Nov-2023 22:13:20 +0000"' in data[0][0]
        assert client.uid("STORE", "1", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert client.expunge() == ("OK", [b"1"])
        assert client.list('""', '"a*"') == ("OK", [b'(\\HasNoChildren) "/" "a folder"'])
        assert client.status('"a folder"', "(MESSAGES UIDNEXT)") == ("OK", [b'"a folder" (MESSAGES 0 UIDNEXT 2)'])
        assert client.close()[0] == "OK"


async def test_imaplib() -> None:
    async with imap_gateway() as running:
        await asyncio.to_thread(use, running.port)
