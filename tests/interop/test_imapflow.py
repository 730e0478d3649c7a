"""imapflow, of Node: the client behind many web applications. It asks for all that a server offers (ENABLE, CONDSTORE, ID,
special-use, LIST-EXTENDED) and believes the answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.far import Server, large
from tests.interop.programs import Script, imapflow, program
from tests.support.stack import Account, LiveStack, message

pytestmark = pytest.mark.stack

Connect = Callable[..., Script]
CALLS = Path(__file__).parent / "imapflow" / "calls.js"
SUBJECT = "Grüße aus Zürich"
ENCODED = message("=?utf-8?q?Gr=C3=BC=C3=9Fe_aus_Z=C3=BCrich?=", "Hällo\r\n".encode())


@pytest.fixture
def account(live_stack: LiveStack) -> Account:
    return live_stack.account()


@pytest.fixture
def connect(live_stack: LiveStack, account: Account) -> Iterator[Connect]:
    """Makes logged-in clients: `connect(pod, tls=False)`, which is STARTTLS."""
    opened: list[Script] = []

    def made(pod: int, *, tls: bool = True, **options: object) -> Script:
        port = live_stack.stack.ports(f"imap_gateway-{pod}")["imaps" if tls else "imap"]
        login = {"user": account.address, "pass": account.password}
        trust = {"ca": str(live_stack.stack.layout.ca)}
        always = {"host": "localhost", "port": port, "secure": tls, "auth": login, "tls": trust}
        if not tls:
            always["doSTARTTLS"] = True
        client = Script([program("node"), CALLS], {**always, **options}, NODE_PATH=str(imapflow()))
        opened.append(client)
        client.call("connect")
        return client

    yield made
    for client in opened:
        client.close()


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "starttls"])
def test_imapflow_does_a_days_work(connect: Connect, tls: bool) -> None:
    client = connect(1, tls=tls)
    assert client.call("property", "secureConnection") is True
    assert "CONDSTORE" in client.call("property", "enabled")
    assert client.call("property", "serverInfo")["name"] == "Mailboat"

    assert client.call("mailboxCreate", "Entwürfe/日本")["created"] is True
    folders = {folder["path"]: folder for folder in client.call("list")}
    assert folders["Entwürfe/日本"]["subscribed"] is True
    uses = {folder["specialUse"]: folder["path"] for folder in folders.values() if folder.get("specialUse")}
    assert {r"\Sent", r"\Drafts", r"\Trash", r"\Junk", r"\Archive"} <= uses.keys()
    assert {folder["specialUseSource"] for folder in folders.values() if folder["path"] == uses[r"\Sent"]} == {
        "extension"
    }

    filed = client.call("append", "INBOX", ENCODED.decode(), [r"\Flagged", "$Work"], "2026-01-02T03:04:05Z")
    assert filed["uid"] == 1
    opened = client.call("mailboxOpen", "INBOX")
    assert (opened["exists"], opened["uidNext"], opened["uidValidity"]) == (1, 2, filed["uidValidity"])
    assert {"$Work", r"\*"} <= set(opened["permanentFlags"])
    asked = {"envelope": True, "bodyStructure": True, "flags": True, "internalDate": True, "source": True}
    (found,) = client.call("fetchAll", "1:*", asked)
    assert found["envelope"]["subject"] == SUBJECT
    assert found["envelope"]["from"] == [{"name": "Carol", "address": "carol@elsewhere.example"}]
    assert found["bodyStructure"]["type"] == "text/plain"
    assert found["internalDate"] == "2026-01-02T03:04:05.000Z"
    assert {r"\Flagged", "$Work"} <= set(found["flags"])
    assert base64.b64decode(found["source"]["bytes"]) == ENCODED

    uid = {"uid": True}
    for query in ({"subject": "GRÜSSE AUS".lower()}, {"body": "hällo"}, {"keyword": "$Work"}, {"flagged": True}):
        assert client.call("search", query, uid) == [1], query
    assert client.call("search", {"subject": "nothing"}, uid) == []
    assert client.call("search", {"all": True}, {"uid": True, "returnOptions": ["MIN", "COUNT", "ALL"]})["count"] == 1
    assert client.call("messageFlagsAdd", "1", [r"\Seen"], uid) is True
    assert client.call("messageFlagsRemove", "1", ["$Work"], uid) is True
    status = client.call("status", "INBOX", {"messages": True, "unseen": True, "size": True, "highestModseq": True})
    assert (status["messages"], status["unseen"], status["size"]) == (1, 0, len(ENCODED))
    assert status["highestModseq"] > opened["highestModseq"]
    assert client.call("messageCopy", "1", "Entwürfe/日本", uid)["uidMap"] == {"1": 1}
    assert client.call("messageMove", "1", uses[r"\Trash"], uid)["uidMap"] == {"1": 1}
    assert client.event("expunge")["seq"] == 1
    assert client.call("search", {"all": True}) == []
    assert client.call("mailboxRename", "Entwürfe/日本", "Zürich")["newPath"] == "Zürich"
    assert client.call("mailboxOpen", "Zürich")["exists"] == 1
    assert client.call("messageDelete", "1:*") is True
    assert client.call("mailboxDelete", "Zürich") == {"path": "Zürich"}
    client.call("logout")
    assert client.event("close") == {"event": "close"}
    client.end()


def test_imapflow_idles_and_hears_of_the_other_pod(connect: Connect, live_stack: LiveStack, account: Account) -> None:
    far = Server(live_stack, account, pod=2)
    far.append("INBOX", "before")
    client = connect(1)
    client.call("mailboxOpen", "INBOX")
    client.call("idle", wait=False)
    far.append("INBOX", "news")
    assert client.event("exists") == {"event": "exists", "path": "INBOX", "count": 2, "prevCount": 1}
    far.change("INBOX", "before", r"(\Flagged $Label1)")
    event = client.event("flags")
    assert (event["seq"], {r"\Flagged", "$Label1"} <= set(event["flags"])) == (1, True)
    far.expunge("INBOX", "before")
    assert client.event("expunge")["seq"] == 1
    # The next call ends IDLE and is answered for what is left.
    assert [mail["envelope"]["subject"] for mail in client.call("fetchAll", "1:*", {"envelope": True})] == ["news"]


def test_imapflow_learns_after_a_pause_what_others_did(
    connect: Connect, live_stack: LiveStack, account: Account
) -> None:
    """CONDSTORE is how it synchronises: CHANGEDSINCE with the modseq of last time, on whichever pod."""
    far = Server(live_stack, account, pod=2)
    for subject in ("one", "two", "three"):
        far.append("INBOX", subject)
    far.create("Work")
    client = connect(1)
    before = client.call("mailboxOpen", "INBOX")
    folders = {folder["path"] for folder in client.call("list")}
    client.call("logout")

    far.change("INBOX", "two", r"(\Flagged)")
    far.append("INBOX", "four")
    far.expunge("INBOX", "one")
    far.rename("Work", "Play")

    client = connect(2)
    after = client.call("mailboxOpen", "INBOX")
    assert (after["uidValidity"], after["exists"], after["uidNext"]) == (before["uidValidity"], 3, 5)
    since = {"uid": True, "changedSince": before["highestModseq"]}
    changed = {mail["uid"]: mail["flags"] for mail in client.call("fetchAll", "1:*", {"flags": True}, since)}
    assert changed.keys() == {2, 4}
    assert r"\Flagged" in changed[2]
    assert client.call("search", {"all": True}, {"uid": True}) == [2, 3, 4]
    assert {folder["path"] for folder in client.call("list")} == folders - {"Work"} | {"Play"}


def test_imapflow_brings_thirty_megabytes_up_and_down(connect: Connect, tmp_path: Path) -> None:
    content = large("imapflow")
    (tmp_path / "up").write_bytes(content)
    client = connect(1)
    assert client.call("append", "INBOX", {"file": str(tmp_path / "up")})["uid"] == 1
    client.call("logout")
    client = connect(2)
    client.call("mailboxOpen", "INBOX")
    meta = client.call("download", "1", None, {"uid": True}, to=str(tmp_path / "down"))
    assert meta["expectedSize"] == len(content)
    assert (tmp_path / "down").read_bytes() == content
