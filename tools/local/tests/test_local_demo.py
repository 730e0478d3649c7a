"""The demo's own judgements: what counts as the same bytes, and its waiting IMAP client."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailboat_local import pki
from mailboat_local.demo import Sent, compare, message
from mailboat_local.idle import IdleClient
from mailboat_local.layout import Layout, StackError

SENT = b"Subject: x\r\n\r\nbody\r\n"


@pytest.mark.parametrize(
    "added", [b"", b"Received: from a\r\n\tby b; now\r\n", b"Return-Path: <a@b>\r\nReceived: x\r\n"]
)
def test_trace_headers_above_are_fine(added: bytes) -> None:
    compare(SENT, added + SENT)


@pytest.mark.parametrize(
    "fetched",
    [SENT[:-2], SENT + b"\r\n", SENT.replace(b"\r\n", b"\n"), b"X-Seen: yes\r\n" + SENT, b"", SENT.replace(b"b", b"d")],
)
def test_any_other_difference_is_told(fetched: bytes) -> None:
    with pytest.raises(StackError):
        compare(SENT, fetched)


def test_the_trace_id_is_in_the_answer() -> None:
    assert Sent(b"", "2.0.0 accepted 01jd0000000000000000abcdef", 0).trace_id == "01jd0000000000000000abcdef"
    with pytest.raises(StackError):
        assert Sent(b"", "2.0.0 accepted", 0).trace_id


def test_the_message_is_multipart_with_an_attachment() -> None:
    mail = message("a@example.test", "b@example.test", "25")
    [attachment] = mail.iter_attachments()
    assert attachment.get_content() == bytes(range(256)) * 64
    assert {part.get_content_type() for part in mail.walk()} >= {"text/plain", "text/html", "multipart/mixed"}


@contextlib.contextmanager
def scripted_server(layout: Layout, script: list[tuple[bytes, bytes]]) -> Iterator[int]:
    """An IMAP server that expects each line and answers it; TLS begins after the first answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(layout.server_tls / "tls.crt", layout.server_tls / "tls.key")
    failures: list[str] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.sendall(b"* OK ready\r\n")
        reader = connection.makefile("rb")
        for number, (expected, answer) in enumerate(script):
            line = reader.readline()
            if line != expected:
                failures.append(f"expected {expected!r}, got {line!r}")
                break
            connection.sendall(answer)
            if number == 0:
                connection = context.wrap_socket(connection, server_side=True)
                reader = connection.makefile("rb")
        reader.close()
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
    assert failures == []


def test_idle_client(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    pki.ensure(layout, "mail.example.test")
    trusted = ssl.create_default_context(cafile=str(layout.ca))
    script = [
        (b"d1 STARTTLS\r\n", b"d1 OK begin\r\n"),
        (b'd2 LOGIN "bob@example.test" "p\\"w"\r\n', b"* CAPABILITY IMAP4rev1\r\nd2 OK in\r\n"),
        (b'd3 SELECT "INBOX"\r\n', b"* 2 EXISTS\r\n* FLAGS ()\r\nd3 OK [READ-WRITE] done\r\n"),
        (b"d4 IDLE\r\n", b"+ idling\r\n* OK still here\r\n* 3 EXISTS\r\n"),
        (b"DONE\r\n", b"d4 OK done\r\n"),
        (b"d5 FETCH 3 BODY.PEEK[]\r\n", b"* 3 FETCH (BODY[] {7}\r\na\r\nb{1}\r\n)\r\nd5 OK done\r\n"),
        (b"d6 FETCH 4 BODY.PEEK[]\r\n", b"d6 BAD no such message\r\n"),
    ]
    with scripted_server(layout, script) as port, IdleClient("localhost", port, trusted) as client:
        client.login("bob@example.test", 'p"w')
        assert client.select("INBOX") == 2
        client.idle()
        assert client.wait_for_exists(2, 10) == 3
        client.done()
        assert client.fetch(3) == b"a\r\nb{1}"
        with pytest.raises(StackError, match="BAD no such message"):
            client.fetch(4)
