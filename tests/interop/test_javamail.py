"""JavaMail 1.6, as in Jira, OTRS and many other servers that read mailboxes: the strictest parser of BODYSTRUCTURE and
ENVELOPE there is, bodies in parts of 16 KiB, IDLE with listeners; IMAP and POP3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.far import Server, large
from tests.interop.programs import JARS, Script, program, run
from tests.support.stack import Account, LiveStack, message

pytestmark = pytest.mark.stack

Connect = Callable[..., Script]
SOURCE = Path(__file__).parent / "JavaMailCalls.java"

ODD = b"""From: =?utf-8?q?Zo=C3=AB?= <zoe@example.org>\r
Subject: =?utf-8?b?R3LDvMOfZQ==?= (odd)\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="=_b"\r
\r
preamble\r
--=_b\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
Content-Language: de, en\r
\r
Gr=C3=BC=C3=9Fe\r
--=_b\r
Content-Type: multipart/alternative; boundary="=_empty"\r
\r
--=_empty--\r
--=_b\r
Content-Type: message/rfc822\r
Content-Disposition: attachment\r
\r
Subject: inner\r
From: nobody:;\r
\r
inner text\r
--=_b\r
Content-Type: application/x-thing; name*=utf-8''%E4%BB%B6.bin; empty=""\r
Content-Transfer-Encoding: base64\r
Content-Disposition: attachment; filename="a \\"quoted\\" name.bin"\r
\r
AAEC\r
--=_b--\r
"""


@pytest.fixture
def account(live_stack: LiveStack) -> Account:
    return live_stack.account()


@pytest.fixture(scope="session")
def java(live_stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the calls, compiled, with the stack's authority as the only one trusted."""
    directory = tmp_path_factory.mktemp("java")
    javac, jars = program("javac"), ":".join(JARS)
    program(JARS[0])
    run([javac, "-d", directory, "-cp", jars, SOURCE])
    trust = directory / "trust.p12"
    password = "only-authorities"
    run([
        Path(javac).resolve().parent / "keytool", "-importcert", "-noprompt", "-storetype", "PKCS12",
        "-storepass", password, "-keystore", trust, "-file", live_stack.stack.layout.ca,
    ])  # fmt: skip
    return [
        "java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", f"-Djavax.net.ssl.trustStore={trust}",
        f"-Djavax.net.ssl.trustStorePassword={password}", "-cp", f"{jars}:{directory}", "JavaMailCalls",
    ]  # fmt: skip


@pytest.fixture
def connect(live_stack: LiveStack, account: Account, java: list[str]) -> Iterator[Connect]:
    """Makes logged-in clients: `connect("imap", pod)`; without `s` STARTTLS is used."""
    opened: list[Script] = []

    def made(protocol: str, pod: int) -> Script:
        port = live_stack.stack.ports(f"{protocol.removesuffix('s')}_gateway-{pod}")[protocol]
        client = Script(java, {})
        opened.append(client)
        client.call("connect", protocol, str(port), account.address, account.password)
        return client

    yield made
    for client in opened:
        client.close()


@pytest.mark.parametrize("protocol", ["imaps", "imap"])
def test_javamail_does_a_days_work(connect: Connect, tmp_path: Path, protocol: str) -> None:
    client = connect(protocol, 1)
    (tmp_path / "mail").write_bytes(ODD)
    assert client.call("create", "Entwürfe/日本") is True
    folders = dict(client.call("folders"))
    assert {"INBOX", "Entwürfe/日本"} <= folders.keys()
    assert r"\Trash" in folders["Trash"]
    assert client.call("append", "INBOX", str(tmp_path / "mail"), "$Work") == 1
    assert client.call("open", "INBOX") == 1
    assert client.call("subject", "1") == "Grüße (odd)"
    assert client.call("parts", "1") == [
        ["multipart/mixed", "", ""],
        ["text/plain", "", "Grüße"],
        ["multipart/alternative", "", ""],
        ["text/plain", "", ""],  # BODYSTRUCTURE knows no multipart without parts
        ["message/rfc822", "", ""],
        ["text/plain", "", "inner text"],
        ["application/x-thing", 'a "quoted" name.bin', ""],
    ]
    assert client.call("search subject", "grüße") == [1]
    assert client.call("search body", "Grüße") == [1]
    assert client.call("search keyword", "$Work") == [1]
    assert client.call("search subject", "日本") == []
    assert client.call("download", "1", str(tmp_path / "down")) == len(ODD)
    assert (tmp_path / "down").read_bytes() == ODD
    client.call("flag", "1")
    client.call("move", "1", "Entwürfe/日本")
    assert client.said() == {"event": "removed 1"}
    client.call("close")
    assert client.call("rename", "Entwürfe/日本", "Zürich") is True
    assert client.call("open", "Zürich") == 1
    assert client.call("uids") == [[1, "$Work,flagged,seen", "Grüße (odd)"]]
    client.call("close")
    assert client.call("remove", "Zürich") is True
    client.call("logout")
    client.end()


def test_javamail_idles_and_hears_of_the_other_pod(connect: Connect, live_stack: LiveStack, account: Account) -> None:
    far = Server(live_stack, account, pod=1)
    far.append("INBOX", "before")
    client = connect("imaps", 2)
    assert client.call("open", "INBOX") == 1
    client.call("idle")
    far.append("INBOX", "news")
    assert client.said() == {"event": "added 1"}
    far.change("INBOX", "before", r"(\Flagged $Label1)")
    assert client.said() == {"event": "changed 1 $Label1,flagged"}
    far.expunge("INBOX", "before")
    while (said := client.said()) == {"event": "changed 1 $Label1,flagged"}:
        pass  # \Deleted, which may be told or not once the message is gone
    assert said == {"event": "removed 1"}
    assert client.call("uids") == [[2, "", "news"]]


def test_javamail_learns_after_a_pause_what_others_did(
    connect: Connect, live_stack: LiveStack, account: Account
) -> None:
    far = Server(live_stack, account, pod=2)
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    far.create("Work")
    client = connect("imap", 1)
    client.call("open", "INBOX")
    validity = client.call("validity")
    client.call("logout")
    far.change("INBOX", "two", r"(\Flagged)")
    far.append("INBOX", "four")
    far.expunge("INBOX", "one")
    far.rename("Work", "Play")
    client = connect("imaps", 1)
    client.call("open", "INBOX")
    assert client.call("validity") == validity
    assert client.call("uids") == [[2, "flagged", "two"], [3, "", "three"], [4, "", "four"]]
    assert {"INBOX", "Play"} <= dict(client.call("folders")).keys()
    assert "Work" not in dict(client.call("folders"))


def test_javamail_brings_thirty_megabytes_up_and_down(connect: Connect, tmp_path: Path) -> None:
    """Down in some 2,000 partial FETCHes, and again by RETR."""
    content = large("javamail")
    (tmp_path / "up").write_bytes(content)
    client = connect("imaps", 1)
    assert client.call("append", "INBOX", str(tmp_path / "up"), "") == 1
    client.call("logout")
    for protocol in ("imaps", "pop3s"):
        client = connect(protocol, 2)
        assert client.call("open", "INBOX") == 1
        client.call("download", "1", str(tmp_path / protocol))
        assert (tmp_path / protocol).read_bytes() == content
        client.call("logout")


@pytest.mark.parametrize("protocol", ["pop3s", "pop3"])
def test_javamail_empties_a_drop(connect: Connect, live_stack: LiveStack, account: Account, protocol: str) -> None:
    far = Server(live_stack, account)
    far.file("INBOX", message("one"))
    far.file("INBOX", message("two"))
    client = connect(protocol, 1)
    assert client.call("open", "INBOX") == 2
    uidls = [client.call("uidl", number) for number in "12"]
    assert client.call("subject", "2") == "two"
    client.call("delete", "1")
    client.call("close")
    assert far.found("INBOX") == {"two"}
    client = connect(protocol, 2)
    assert client.call("open", "INBOX") == 1
    assert client.call("uidl", "1") == uidls[1]
