"""What the smoke test's clients say to servers, and what counts as the same bytes."""

import re
import ssl
import time
from typing import Any

import pytest
from mailboatctl.errors import CheckFailed
from mailboatctl.smoke import pop3, relay
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.faults import explained
from mailboatctl.smoke.imap_idle import IdleClient
from mailboatctl.smoke.mail import Sent, compare, message

SENT = b"Subject: x\r\n\r\nbody\r\n"
EHLO = b"ehlo client.elsewhere.example\r\n"
STRANGER = b"mail FROM:<carol@elsewhere.example>\r\n"
FOREIGN = b"rcpt TO:<nobody@somewhere-else.example>\r\n"
QUIT = (b"quit\r\n", b"221 bye\r\n")


@pytest.mark.parametrize(
    "added",
    [
        b"",
        b"Received: from a\r\n\tby b; now\r\n",
        b"Return-Path: <a@b>\r\nReceived: x\r\n",
        b"DKIM-Signature: v=1;\r\n b=x\r\n",
    ],
)
def test_trace_headers_above_are_fine(added: bytes) -> None:
    compare(SENT, added + SENT)


@pytest.mark.parametrize(
    "fetched",
    [SENT[:-2], SENT + b"\r\n", SENT.replace(b"\r\n", b"\n"), b"X-Seen: yes\r\n" + SENT, b"", SENT.replace(b"b", b"d")],
)
def test_any_other_difference_is_told(fetched: bytes) -> None:
    with pytest.raises(CheckFailed):
        compare(SENT, fetched)


def test_the_trace_id_is_in_the_answer() -> None:
    assert Sent(b"", "2.0.0 accepted 01jd0000000000000000abcdef", 0).trace_id == "01jd0000000000000000abcdef"
    with pytest.raises(CheckFailed, match="names no trace id"):
        assert Sent(b"", "2.0.0 accepted", 0).trace_id


def test_the_message_is_multipart_with_an_attachment() -> None:
    mail = message("a@example.test", "b@example.test", "25")
    [attachment] = mail.iter_attachments()
    assert attachment.get_content() == bytes(range(256)) * 64
    assert {part.get_content_type() for part in mail.walk()} >= {"text/plain", "text/html", "multipart/mixed"}


def numbered(lines: list[tuple[bytes, bytes]], first: int) -> list[tuple[bytes, bytes]]:
    """Tags filled in: `@` counts on with each command, `%` is the tag of the last."""
    script = []
    number = first - 1
    for line, answer in lines:
        number += line.startswith(b"@")
        script.append((line.replace(b"@", b"d%d" % number, 1), answer.replace(b"%", b"d%d" % number)))
    return script


@pytest.mark.parametrize("implicit_tls", [True, False])
def test_idle_client(tls: Any, serve: Any, implicit_tls: bool) -> None:
    script = [
        (b'@ LOGIN "bob@example.test" "p\\"w"\r\n', b"* CAPABILITY IMAP4rev1\r\n% OK in\r\n"),
        (b'@ SELECT "INBOX"\r\n', b"* 2 EXISTS\r\n* FLAGS ()\r\n% OK [READ-WRITE] done\r\n"),
        (b"@ IDLE\r\n", b"+ idling\r\n* OK still here\r\n* 3 EXISTS\r\n"),
        (b"DONE\r\n", b"% OK done\r\n"),
        (b"@ FETCH 3 BODY.PEEK[]\r\n", b"* 3 FETCH (BODY[] {7}\r\na\r\nb{1}\r\n)\r\n% OK done\r\n"),
        (b"@ FETCH 4 BODY.PEEK[]\r\n", b"% BAD no such message\r\n"),
    ]
    if implicit_tls:
        whole = [(b"", b"* OK ready\r\n"), *numbered(script, 1)]
    else:
        whole = [(b"", b"* OK ready\r\n"), (b"d1 STARTTLS\r\n", b"d1 OK begin\r\n<TLS>"), *numbered(script, 2)]
    with (
        serve(whole, implicit_tls=implicit_tls) as port,
        IdleClient("localhost", port, tls.client, implicit_tls=implicit_tls) as client,
    ):
        client.login("bob@example.test", 'p"w')
        assert client.select("INBOX") == 2
        client.idle()
        before = time.monotonic()
        assert client.wait_for_exists(2, 10) == 3
        assert client.seen_at >= before - 10
        client.done()
        assert client.fetch(3) == b"a\r\nb{1}"
        with pytest.raises(CheckFailed, match="BAD no such message"):
            client.fetch(4)


def test_an_untrusted_certificate_is_named(serve: Any) -> None:
    with serve([(b"", b"* OK ready\r\n")], implicit_tls=True) as port:
        expected = rf"IMAP at localhost:{port}: TLS: the server's certificate can't be verified: .*certificate"
        with pytest.raises(CheckFailed, match=expected), explained("IMAP", Endpoint("localhost", port)):
            IdleClient("localhost", port, ssl.create_default_context(), implicit_tls=True)


def test_a_silent_server_is_given_up(tls: Any, serve: Any) -> None:
    script = [(b"", b"* OK ready\r\n"), (b"d1 IDLE\r\n", b"+ idling\r\n"), (b"DONE\r\n", b"")]
    with serve(script, implicit_tls=True) as port:
        client = IdleClient("localhost", port, tls.client, implicit_tls=True)
        client.idle()
        with pytest.raises(CheckFailed, match="no EXISTS arrived"):
            client.wait_for_exists(0, 0.05)
        client._socket.sendall(b"DONE\r\n")
        client.close()


def test_pop3_brings_every_octet(tls: Any, serve: Any) -> None:
    script = [
        (b"", b"+OK ready\r\n"),
        (b"USER a@x.test\r\n", b"+OK\r\n"),
        (b"PASS secret\r\n", b"+OK\r\n"),
        (b"STAT\r\n", b"+OK 2 20\r\n"),
        (b"RETR 1\r\n", b"+OK\r\nA: b\r\n\r\n..dot\r\n\r\n.\r\n"),
        (b"RETR 2\r\n", b"+OK\r\nC: d\r\n.\r\n"),
        (b"QUIT\r\n", b"+OK\r\n"),
    ]
    with serve(script, implicit_tls=True) as port:
        found = pop3.read_all(Endpoint("localhost", port), tls.client, ("a@x.test", "secret"), 10)
    assert found == [b"A: b\r\n\r\n.dot\r\n\r\n", b"C: d\r\n"]


def test_a_pop3_refusal_is_told(tls: Any, serve: Any) -> None:
    with serve([(b"", b"+OK ready\r\n"), (b"USER a\r\n", b"-ERR [SYS/TEMP] later\r\n")], implicit_tls=True) as port:
        to = Endpoint("localhost", port)
        expected = re.escape(f"POP3 at {to}: the server answered -ERR [SYS/TEMP] later")
        with pytest.raises(CheckFailed, match=expected), explained("POP3", to):
            pop3.read_all(to, tls.client, ("a", "secret"), 10)


@pytest.mark.parametrize(("reply", "refused"), [(b"550 5.7.1 no", True), (b"250 ok", False), (b"450 4.2.0 no", False)])
def test_relaying_from_outside(serve: Any, reply: bytes, refused: bool) -> None:
    """Nothing but RCPT is tried: the script has no DATA."""
    script = [(b"", b"220 x\r\n"), (EHLO, b"250 x\r\n"), (STRANGER, b"250 ok\r\n"), (FOREIGN, reply + b"\r\n"), QUIT]
    with serve(script) as port:
        if refused:
            assert relay.refused_by_reception(Endpoint("localhost", port), 10) == reply.decode()
        else:
            with pytest.raises(CheckFailed, match=re.escape(f"answered with {reply.decode()}")):
                relay.refused_by_reception(Endpoint("localhost", port), 10)


@pytest.mark.parametrize(("reply", "refused"), [(b"530 5.7.0 no", True), (b"250 ok", False), (b"550 5.7.1 no", False)])
def test_submission_without_a_login(tls: Any, serve: Any, reply: bytes, refused: bool) -> None:
    script = [
        (b"", b"220 x\r\n"),
        (EHLO, b"250-x\r\n250 STARTTLS\r\n"),
        (b"STARTTLS\r\n", b"220 go\r\n<TLS>"),
        (EHLO, b"250 x\r\n"),
        (STRANGER, reply + b"\r\n"),
        QUIT,
    ]
    with serve(script) as port:
        if refused:
            assert relay.refused_by_submission(Endpoint("localhost", port), tls.client, 10) == reply.decode()
        else:
            with pytest.raises(CheckFailed, match=re.escape(f"answered with {reply.decode()}")):
                relay.refused_by_submission(Endpoint("localhost", port), tls.client, 10)


def test_no_starttls_is_no_way_to_submit(tls: Any, serve: Any) -> None:
    with serve([(b"", b"220 x\r\n"), (EHLO, b"250 x\r\n")]) as port:
        to = Endpoint("localhost", port)
        with pytest.raises(CheckFailed, match="STARTTLS"), explained("submission", to):
            relay.refused_by_submission(to, tls.client, 10)


def test_a_removed_account_is_asked_for_until_it_is_refused(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.0)
    script = [
        (b"", b"220 x\r\n"),
        (EHLO, b"250 x\r\n"),
        (STRANGER, b"250 ok\r\n"),
        (b"rcpt TO:<a+gone0@x.test>\r\n", b"250 ok\r\n"),
        (b"rcpt TO:<a+gone1@x.test>\r\n", b"451 later\r\n"),
        (b"rcpt TO:<a+gone2@x.test>\r\n", b"550 gone\r\n"),
        QUIT,
    ]
    with serve(script) as port:
        assert relay.wait_until_refused(Endpoint("localhost", port), "a@x.test", 10) == "550 gone"


def test_an_account_that_still_gets_mail_is_told(serve: Any) -> None:
    rcpt = (b"rcpt TO:<a+gone0@x.test>\r\n", b"250 ok\r\n")
    with (
        serve([(b"", b"220 x\r\n"), (EHLO, b"250 x\r\n"), (STRANGER, b"250 ok\r\n"), rcpt]) as port,
        pytest.raises(CheckFailed, match=r"mail for a@x\.test is still answered with 250 ok"),
    ):
        relay.wait_until_refused(Endpoint("localhost", port), "a@x.test", 1e-9)
