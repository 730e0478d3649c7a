"""Mail::IMAPClient, of Perl: under imapsync and many administrators' scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from imapclient import imap_utf7  # type: ignore[import-untyped]

from tests.interop.far import Server, large
from tests.interop.programs import Script, program
from tests.support.stack import Account, LiveStack, message

pytestmark = pytest.mark.stack

Connect = Callable[..., Script]


@pytest.fixture
def account(live_stack: LiveStack) -> Account:
    return live_stack.account()


@pytest.fixture
def connect(live_stack: LiveStack, account: Account) -> Iterator[Connect]:
    """Makes logged-in clients: `connect(pod, tls=False)`, which is STARTTLS."""
    opened: list[Script] = []
    program("/usr/share/perl5/Mail/IMAPClient.pm")
    program("/usr/share/perl5/IO/Socket/SSL.pm")

    def made(pod: int, *, tls: bool = True) -> Script:
        port = live_stack.stack.ports(f"imap_gateway-{pod}")["imaps" if tls else "imap"]
        trust = ["SSL_ca_file", str(live_stack.stack.layout.ca), "SSL_verify_mode", 1]
        options = {"Server": "localhost", "Port": port, "User": account.address, "Password": account.password}
        script: list[str | Path] = ["perl", Path(__file__).parent / "imapclient_calls.pl"]
        client = Script(script, {**options, "Ssl" if tls else "Starttls": trust, "Timeout": 30})
        opened.append(client)
        assert client.event("connected")["error"] is None
        return client

    yield made
    for client in opened:
        client.close()


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "starttls"])
def test_mail_imapclient_does_a_days_work(connect: Connect, tls: bool) -> None:
    client = connect(1, tls=tls)
    name = imap_utf7.encode("Entwürfe/日本").decode()
    assert client.call("create", name)
    assert client.call("subscribe", name)
    assert client.call("has_capability", "UIDPLUS")
    assert name in client.call("folders")
    assert name in client.call("subscribed")
    assert r"\Sent" in "".join(client.call("list"))
    sent = message("perl").decode()
    assert client.call("append_string", "INBOX", sent, r"\Flagged $Work", "02-Jan-2026 03:04:05 +0000") == ["1"]
    assert client.call("select", "INBOX")
    assert client.call("message_string", "1") == [sent]
    assert client.call("internaldate", "1") == [" 2-Jan-2026 03:04:05 +0000"]
    assert client.call("size", "1") == [str(len(sent))]
    assert client.call("subject", "1") == ["perl"]
    assert {r"\Flagged", "$Work"} <= set(client.call("flags", "1"))
    assert client.call("search", "KEYWORD", "$Work") == ["1"]
    assert client.call("search", "CHARSET", "UTF-8", "SUBJECT", "perl") == ["1"]
    assert client.call("see", "1")
    assert client.call("seen") == ["1"]
    assert client.call("get_bodystructure", "1")
    assert client.call("get_envelope", "1")
    assert client.call("copy", name, "1") == ["1"]
    assert client.call("move", name, "1") == ["2"]
    assert client.call("expunge")
    assert client.call("message_count", name) == ["2"]
    assert client.call("unseen_count", name) == ["0"]
    assert client.call("rename", name, "Play")
    assert client.call("delete", "Play")
    assert client.call("logout")


def test_mail_imapclient_idles_and_hears_of_the_other_pod(
    connect: Connect, live_stack: LiveStack, account: Account
) -> None:
    far = Server(live_stack, account, pod=1)
    far.append("INBOX", "before")
    client = connect(2)
    assert client.call("select", "INBOX")
    (tag,) = client.call("idle")
    far.append("INBOX", "news")
    far.change("INBOX", "before", r"(\Flagged)")
    heard: list[str] = []
    while not any(r"\Flagged" in line for line in heard):
        heard += client.call("idle_data", 30)
    assert "* 2 EXISTS" in "".join(heard)
    far.expunge("INBOX", "before")
    while not any("* 1 EXPUNGE" in line for line in heard):
        heard += client.call("idle_data", 30)
    assert client.call("done", tag)
    assert client.call("messages") == ["2"]


def test_mail_imapclient_learns_after_a_pause_what_others_did(
    connect: Connect, live_stack: LiveStack, account: Account
) -> None:
    """As imapsync compares: UIDs, flags and sizes of everything, folders and UIDVALIDITY."""
    far = Server(live_stack, account, pod=2)
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    far.create("Work")
    client = connect(1)
    before = client.call("uidvalidity", "INBOX")
    client.call("logout")
    far.change("INBOX", "two", r"(\Flagged)")
    far.append("INBOX", "four")
    far.expunge("INBOX", "one")
    far.rename("Work", "Play")
    client = connect(1)
    assert client.call("uidvalidity", "INBOX") == before
    assert client.call("uidnext", "INBOX") == ["5"]
    client.call("select", "INBOX")
    listed = client.call("fetch_hash", "FLAGS", "RFC822.SIZE")
    found = dict(zip(listed[::2], listed[1::2], strict=True))
    assert found.keys() == {"2", "3", "4"}
    assert r"\Flagged" in found["2"]["FLAGS"]
    folders = client.call("folders")
    assert "Play" in folders
    assert "Work" not in folders


def test_mail_imapclient_brings_thirty_megabytes_up_and_down(connect: Connect, tmp_path: Path) -> None:
    content = large("perl")
    (tmp_path / "up").write_bytes(content)
    client = connect(1)
    assert client.call("append_file", "INBOX", str(tmp_path / "up")) == ["1"]
    client.call("logout")
    client = connect(2)
    client.call("select", "INBOX")
    assert client.call("message_to_file", str(tmp_path / "down"), "1")
    assert (tmp_path / "down").read_bytes() == content
