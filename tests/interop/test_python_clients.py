"""Python's own clients and imapclient, over STARTTLS and over TLS, with the certificate checked."""

from __future__ import annotations

import imaplib
import poplib
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest
from imapclient import IMAPClient  # type: ignore[import-untyped]
from imapclient.imapclient import ARCHIVE, DRAFTS, JUNK, SENT, TRASH  # type: ignore[import-untyped]

from tests.interop.far import Server, large
from tests.support.stack import Account, LiveStack

pytestmark = pytest.mark.stack
WIRE = SMTP.clone(max_line_length=78)


def mail(sender: str, recipient: str, subject: str = "Grüße – ahoy") -> bytes:
    """A message with text, HTML and an attachment of every octet."""
    made = EmailMessage(policy=WIRE)
    made["From"], made["To"], made["Subject"] = sender, recipient, subject
    made["Message-ID"], made["Date"] = "<interop@example.org>", "Mon, 02 Nov 2026 10:00:00 +0000"
    made.set_content("Grüße\n.\n..two dots\nFrom here\n")
    made.add_alternative("<p>Grüße</p>\n", subtype="html")
    made.add_attachment(bytes(range(256)) * 50, maintype="application", subtype="octet-stream", filename="bytes.bin")
    return made.as_bytes()


def smtp_starttls(live: LiveStack) -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", live.stack.ports("smtp_ingress-1")["submission"], timeout=30)
    client.starttls(context=live.tls)
    return client


def smtp_tls(live: LiveStack) -> smtplib.SMTP:
    return smtplib.SMTP_SSL(
        "localhost", live.stack.ports("smtp_ingress-2")["submissions"], timeout=30, context=live.tls
    )


def imap_starttls(live: LiveStack) -> imaplib.IMAP4:
    client = imaplib.IMAP4("localhost", live.stack.ports("imap_gateway-1")["imap"], timeout=30)
    client.starttls(live.tls)
    return client


def imap_tls(live: LiveStack) -> imaplib.IMAP4:
    return imaplib.IMAP4_SSL("localhost", live.stack.ports("imap_gateway-2")["imaps"], ssl_context=live.tls, timeout=30)


def pop3_starttls(live: LiveStack) -> poplib.POP3:
    client = poplib.POP3("localhost", live.stack.ports("pop3_gateway-1")["pop3"], timeout=30)
    client.stls(context=live.tls)
    return client


def pop3_tls(live: LiveStack) -> poplib.POP3:
    return poplib.POP3_SSL("localhost", live.stack.ports("pop3_gateway-2")["pop3s"], timeout=30, context=live.tls)


@pytest.fixture
def alice(live_stack: LiveStack) -> Account:
    return live_stack.account()


@pytest.fixture
def bob(live_stack: LiveStack) -> Account:
    return live_stack.account()


Opened = tuple[
    Callable[[LiveStack], smtplib.SMTP], Callable[[LiveStack], imaplib.IMAP4], Callable[[LiveStack], poplib.POP3]
]


@pytest.mark.parametrize(
    "way",
    [(smtp_starttls, imap_starttls, pop3_starttls), (smtp_tls, imap_tls, pop3_tls)],
    ids=["starttls", "tls"],
)
def test_submit_and_read(live_stack: LiveStack, alice: Account, bob: Account, way: Opened) -> None:
    """The bytes that smtplib submits are those that imaplib and poplib bring, but for the trace fields in front."""
    smtp, imap, pop3 = way
    sent = mail(alice.address, bob.address)
    with smtp(live_stack) as sender:
        sender.login(alice.address, alice.password)
        assert sender.sendmail(alice.address, [bob.address], sent, ["BODY=8BITMIME"]) == {}
    with imap(live_stack) as reader:
        reader.login(bob.address, bob.password)
        assert reader.select("INBOX") == ("OK", [b"1"])
        status, (item, _) = reader.fetch("1", "(RFC822 FLAGS)")
        assert status == "OK"
        assert isinstance(item, tuple)
        fetched = item[1]
    assert fetched.endswith(sent)
    client = pop3(live_stack)
    client.user(bob.address)
    client.pass_(bob.password)
    assert client.stat() == (1, len(fetched))
    assert b"\r\n".join(client.retr(1)[1]) + b"\r\n" == fetched
    client.quit()


def test_smtplib_is_told_why_not(live_stack: LiveStack, alice: Account, bob: Account) -> None:
    with smtp_tls(live_stack) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(alice.address, "not it")
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail(alice.address, [bob.address], "x")
        client.login(alice.address, alice.password)
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail(bob.address, [bob.address], "x")
        refused = client.sendmail(
            alice.address, [bob.address, "nobody@live.test"], f"From: {alice.address}\r\n\r\nx\r\n"
        )
        assert [(to, reply[0]) for to, reply in refused.items()] == [("nobody@live.test", 550)]


def test_a_wrong_certificate_name_or_an_unknown_authority_is_noticed(live_stack: LiveStack) -> None:
    """The clients above do check: with other trust they don't connect."""
    port = live_stack.stack.ports("imap_gateway-1")["imaps"]
    with pytest.raises(ssl.SSLCertVerificationError):
        imaplib.IMAP4_SSL("localhost", port, ssl_context=ssl.create_default_context(), timeout=30)


def test_imaplib_does_a_days_work(live_stack: LiveStack, alice: Account) -> None:
    with imap_tls(live_stack) as client:
        client.login(alice.address, alice.password)
        assert client.create('"Books &- more"')[0] == "OK"
        assert client.create("Work")[0] == "OK"
        for number in range(5):
            status, (answer,) = client.append(
                "INBOX", r"(\Seen)" if number % 2 else "", imaplib.Time2Internaldate(1_700_000_000 + number),
                mail("x@example.org", alice.address, f"message {number}"),
            )  # fmt: skip
            assert status == "OK"
            assert re.search(rb"APPENDUID \d+ %d" % (number + 1), answer)
        client.select("INBOX")
        assert client.search(None, "UNSEEN")[1] == [b"1 3 5"]
        assert client.uid("SEARCH", "SUBJECT", '"message 3"')[1] == [b"4"]
        assert client.uid("STORE", "2", "+FLAGS", r"(\Flagged $Work)")[0] == "OK"
        assert client.search(None, "KEYWORD", "$Work", "FLAGGED")[1] == [b"2"]
        assert client.uid("COPY", "1:2", "Work")[0] == "OK"
        assert client.uid("MOVE", "3", "Work")[0] == "OK"
        client.store("1", "+FLAGS", r"\Deleted")
        assert client.expunge()[1][-1:] == [b"1"]
        assert client.status("Work", "(MESSAGES UNSEEN)")[1] == [b"Work (MESSAGES 3 UNSEEN 2)"]
        assert client.select("Work", readonly=True) == ("OK", [b"3"])
        assert client.close()[0] == "OK"
        assert client.rename("Work", "Play")[0] == "OK"
        assert client.delete("Play")[0] == "OK"


@pytest.fixture(params=["tls", "starttls"])
def imapclient(live_stack: LiveStack, alice: Account, request: pytest.FixtureRequest) -> Iterator[Any]:
    tls = request.param == "tls"
    port = live_stack.stack.ports("imap_gateway-1")["imaps" if tls else "imap"]
    trust = {"ssl_context": live_stack.tls} if tls else {}
    with IMAPClient("localhost", port=port, ssl=tls, timeout=30, **trust) as client:
        if not tls:
            client.starttls(live_stack.tls)
        client.login(alice.address, alice.password)
        yield client


def test_imapclient_understands_what_we_say(imapclient: Any, live_stack: LiveStack, alice: Account) -> None:
    """A client that parses everything: names in modified UTF-7, ENVELOPE, BODYSTRUCTURE, dates, IDLE."""
    imapclient.create_folder("Entwürfe/日本")
    names = {name: flags for flags, _, name in imapclient.list_folders()}
    assert {"INBOX", "Entwürfe/日本"} <= names.keys()
    assert any(rb"\Trash" in flags for flags in names.values())
    assert imapclient.namespace().personal == (("", "/"),)
    sent = mail("Zoë <zoe@example.org>", alice.address)
    imapclient.append("INBOX", sent)
    imapclient.select_folder("INBOX")
    (found,) = imapclient.fetch(
        [1], ["ENVELOPE", "BODYSTRUCTURE", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK[]"]
    ).values()
    assert found[b"ENVELOPE"].message_id == b"<interop@example.org>"
    assert found[b"ENVELOPE"].from_[0].host == b"example.org"
    structure = found[b"BODYSTRUCTURE"]
    assert structure.is_multipart
    assert [part[0] if isinstance(part[0], bytes) else b"multipart" for part in structure[0]] == [
        b"multipart",
        b"application",
    ]
    assert found[b"RFC822.SIZE"] == len(found[b"BODY[]"]) == len(sent)
    imapclient.idle()
    with smtplib.SMTP("localhost", live_stack.stack.ports("smtp_ingress-2")["smtp"], timeout=30) as outside:
        outside.sendmail("zoe@example.org", [alice.address], "Subject: news\r\n\r\nx\r\n")
    assert (2, b"EXISTS") in imapclient.idle_check(timeout=5)
    imapclient.idle_done()
    assert imapclient.search(["SUBJECT", "news"]) == [2]
    imapclient.delete_messages([2])
    imapclient.expunge([2])
    assert imapclient.search("ALL") == [1]


def test_imapclient_idles_and_hears_of_the_other_pod(imapclient: Any, live_stack: LiveStack, alice: Account) -> None:
    far = Server(live_stack, alice, pod=2)
    far.append("INBOX", "before")
    imapclient.select_folder("INBOX")
    imapclient.idle()
    far.append("INBOX", "news")
    far.change("INBOX", "before", r"(\Flagged)")
    heard: list[tuple[Any, ...]] = []

    def hear() -> None:
        told = imapclient.idle_check(timeout=20)
        assert told, heard
        heard.extend(told)

    def flagged(told: tuple[Any, ...]) -> bool:
        return told[:2] == (1, b"FETCH") and rb"\Flagged" in told[2][told[2].index(b"FLAGS") + 1]

    while not any(map(flagged, heard)):
        hear()
    assert (2, b"EXISTS") in heard
    far.expunge("INBOX", "before")
    while (1, b"EXPUNGE") not in heard:
        hear()
    imapclient.idle_done()
    assert imapclient.search("ALL") == [2]


def test_imapclient_finds_and_names_in_every_script(imapclient: Any, alice: Account) -> None:
    """Subjects in encoded words are found by text of any case, with CHARSET and as a literal; uses of folders are told."""
    imapclient.append("INBOX", mail("x@example.org", alice.address))
    imapclient.append("INBOX", mail("x@example.org", alice.address, "件名 日本語"), flags=["$Label1", r"\Seen"])
    imapclient.select_folder("INBOX")
    assert imapclient.search(["SUBJECT", "grüße"], charset="UTF-8") == [1]
    assert imapclient.search(["SUBJECT", "日本"], charset="UTF-8") == [2]
    assert imapclient.search(["TEXT", "Grüße", "NOT", "KEYWORD", "$Label1"], charset="UTF-8") == [1]
    assert imapclient.search(["KEYWORD", "$Label1"]) == [2]
    found = {use: imapclient.find_special_folder(use) for use in (SENT, DRAFTS, TRASH, JUNK, ARCHIVE)}
    assert found == {SENT: "Sent", DRAFTS: "Drafts", TRASH: "Trash", JUNK: "Junk", ARCHIVE: "Archive"}


def test_thirty_megabytes_up_and_down_with_imaplib_and_poplib(live_stack: LiveStack, alice: Account) -> None:
    """The same bytes by APPEND and FETCH through two pods, whole and in parts, and by RETR."""
    content = large("imaplib")
    Server(live_stack, alice, pod=1).file("INBOX", content)
    far = Server(live_stack, alice, pod=2)
    assert far.content("INBOX", "imaplib") == content
    start, size = 20_000_000, 1_000_000
    (item, *_) = far.imap.fetch("1", f"(BODY.PEEK[]<{start}.{size}>)")[1]
    assert isinstance(item, tuple)
    assert item[1] == content[start : start + size]
    client = pop3_tls(live_stack)
    client.user(alice.address)
    client.pass_(alice.password)
    assert client.stat() == (1, len(content))
    assert b"\r\n".join(client.retr(1)[1]) + b"\r\n" == content
    client.quit()
