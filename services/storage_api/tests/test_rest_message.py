"""One message over the REST API: shown, flagged, moved, copied, removed, taken apart; and found among others."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from storage_api.rest import detail, search

from tests.support.rest import World, add

RFC822 = {"content-type": "message/rfc822"}
PDF = bytes(range(256)) * 4
NESTED = (
    b"From: bob@example.org\r\nSubject: parts\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Gr=FC=DFe\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>greetings</p>\r\n--b--\r\n"
    b"--a\r\nContent-Type: Application/PDF\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <c1>\r\n"
    b"Content-Disposition: attachment; filename*=utf-8''r%C3%A9sum%C3%A9.pdf\r\n\r\n"
    + base64.encodebytes(PDF).replace(b"\n", b"\r\n")
    + b"--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\n\r\nembedded text\r\n--a--\r\n"
)


class Own:
    """Alice's own mail."""

    def __init__(self, world: World, token: str) -> None:
        self.world, self.token = world, token

    async def append(self, content: bytes, mailbox: str = "INBOX", **query: Any) -> str:
        path = f"/me/mailboxes/{mailbox}/messages"
        answer = await self.world.raw("POST", path, content, token=self.token, headers=RFC822, **query)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        return await self.world.call(method, f"/me{path}", body, token=self.token, **query)


@pytest.fixture
async def own(world: World) -> Own:
    await add(world, "alice")
    return Own(world, await world.scoped("self", account=world.at("alice")))


@pytest.mark.parametrize("whole", [1 << 20, 0])
async def test_a_message_is_shown_with_its_parts(own: Own, monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    monkeypatch.setattr(detail, "WHOLE", whole)
    message = await own.append(NESTED)
    status, shown = await own.call("GET", f"/messages/{message}")
    assert (status, shown["subject"], shown["text"], shown["html"]) == (200, "parts", "Grüße", "<p>greetings</p>")
    assert shown["headers"][1] == {"name": "Subject", "value": "parts"}
    parts = [(part["path"], part["type"], part["filename"]) for part in shown["parts"]]
    assert parts == [
        ("1.1", "text/plain", None),
        ("1.2", "text/html", None),
        ("2", "application/pdf", "résumé.pdf"),
        ("3", "message/rfc822", None),
        ("3.1", "text/plain", None),
    ]
    assert (shown["parts"][2]["disposition"], shown["parts"][2]["content_id"]) == ("attachment", "<c1>")


async def test_a_part_is_given_as_a_download(own: Own) -> None:
    message = await own.append(NESTED)

    async def part(path: str) -> tuple[int, str, bytes]:
        answer = await own.world.raw("GET", f"/me/messages/{message}/parts/{path}", token=own.token)
        if answer.status_code == 200:
            assert answer.headers["content-disposition"].startswith("attachment; ")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "sandbox" in answer.headers["content-security-policy"]
        return answer.status_code, answer.headers["content-type"].partition(";")[0], answer.content

    assert await part("2") == (200, "application/pdf", PDF)
    assert await part("1.2") == (200, "text/html", b"<p>greetings</p>")
    assert await part("1.1") == (200, "text/plain", "Grüße".encode("latin-1"))
    assert await part("3.1") == (200, "text/plain", b"embedded text")
    assert (await part("3"))[2] == b"Subject: inside\r\n\r\nembedded text"
    for path, status in (("9", 404), ("1.1.5", 404), ("0", 404), ("x", 422), ("1..2", 422)):
        assert (await part(path))[0] == status
    answer = await own.world.raw("GET", f"/me/messages/{message}/parts/2", token=own.token)
    assert "r%C3%A9sum%C3%A9.pdf" in answer.headers["content-disposition"]
    plain = await own.append(b"Subject: x\r\n\r\njust text\r\n")
    answer = await own.world.raw("GET", f"/me/messages/{plain}/parts/1", token=own.token)
    assert answer.content == b"just text\r\n"


async def test_flags_change_unless_somebody_else_was_faster(own: Own) -> None:
    message = await own.append(b"Subject: x\r\n\r\nx", flag="\\Seen")
    path = f"/messages/{message}"
    status, shown = await own.call("PATCH", path, {"add": ["\\Flagged", "work"], "remove": ["\\seen"]})
    assert (status, shown["flags"]) == (200, ["\\Flagged", "work"])
    assert (await own.call("PATCH", path, {"flags": []}))[1]["flags"] == []
    answer = await own.world.raw("GET", f"/me{path}", token=own.token)
    etag = answer.headers["etag"]

    async def marked(flag: str, if_match: str) -> int:
        headers = {"if-match": if_match, "content-type": "application/json"}
        body = b'{"add": ["%s"]}' % flag.encode()
        return (await own.world.raw("PATCH", f"/me{path}", body, token=own.token, headers=headers)).status_code

    assert await marked("a", etag) == 200
    assert await marked("b", etag) == 412
    assert await marked("b", "nonsense") == 412
    assert await marked("b", "*") == 200
    assert (await own.call("GET", path))[1]["flags"] == ["a", "b"]
    for body in ({}, {"flags": [], "add": []}, {"add": ["a b"]}, {"add": "x"}, {"add": ["x"] * 65}):
        assert (await own.call("PATCH", path, body))[0] == 422
    assert (await own.call("PATCH", path, {"add": ["\\Recent"]}))[0] == 400
    assert (await own.call("PATCH", f"{path}1", {"add": ["x"]}))[0] == 404


async def test_a_message_is_copied_moved_and_removed(own: Own) -> None:
    message = await own.append(b"Subject: x\r\n\r\nx", flag="kept")
    assert (await own.call("POST", f"/messages/{message}/move", {"mailbox": "Nowhere"}))[0] == 404
    status, copied = await own.call("POST", f"/messages/{message}/copy", {"mailbox": "Archive"})
    assert (status, copied["mailbox"]) == (201, "Archive")
    status, moved = await own.call("POST", f"/messages/{message}/move", {"mailbox": "Archive"})
    assert (status, moved["uid"]) == (200, copied["uid"] + 1)
    for method, path, body in (
        ("GET", "", None),
        ("POST", "/move", {"mailbox": "Archive"}),
        ("POST", "/copy", {"mailbox": "Archive"}),
        ("DELETE", "", None),
        ("PATCH", "", {"add": ["x"]}),
    ):
        assert (await own.call(method, f"/messages/{message}{path}", body))[0] == 404
    assert (await own.call("GET", f"/messages/{moved['id']}"))[1]["flags"] == ["kept"]
    assert (await own.call("DELETE", f"/messages/{copied['id']}"))[0] == 204
    assert (await own.call("GET", "/mailboxes/Archive"))[1]["messages"] == 1


async def test_a_copy_is_kept_in_step(own: Own) -> None:
    messages = [await own.append(b"Subject: %d\r\n\r\nx" % number) for number in range(6)]
    known = (await own.call("GET", "/mailboxes/INBOX/messages"))[1]["highest_modseq"]
    for number in (0, 1, 3, 5):
        assert (await own.call("DELETE", f"/messages/{messages[number]}"))[0] == 204
    await own.call("PATCH", f"/messages/{messages[2]}", {"add": ["\\Seen"]})
    path = "/mailboxes/INBOX/removed"
    status, removed = await own.call("GET", path, since=known)
    assert (status, removed["items"], removed["next"]) == (200, [[1, 2], [4, 4], [6, 6]], None)
    status, page = await own.call("GET", path, since=known, limit=2)
    assert page["items"] == [[1, 2], [4, 4]]
    assert (await own.call("GET", path, since=known, limit=2, cursor=page["next"]))[1]["items"] == [[6, 6]]
    changed = (await own.call("GET", "/mailboxes/INBOX/messages", changed_since=known))[1]
    assert [item["uid"] for item in changed["items"]] == [3]
    assert changed["highest_modseq"] == removed["highest_modseq"]
    assert (await own.call("GET", path, since=removed["highest_modseq"]))[1]["items"] == []
    assert (await own.call("GET", path, since=0))[0] == 422


async def test_what_an_operator_does_with_a_message_is_written_down(world: World) -> None:
    await add(world, "alice")
    root = f"/accounts/{world.at('alice')}"
    answer = await world.raw("POST", f"{root}/mailboxes/INBOX/messages", b"Subject: x\r\n\r\nx", headers=RFC822)
    message = answer.json()["id"]
    manager = await world.scoped(f"domain:{world.domain}")
    for method, path, body in (
        ("GET", f"/messages/{message}", None),
        ("GET", f"/messages/{message}/parts/1", None),
        ("GET", "/messages", None),
        ("PATCH", f"/messages/{message}", {"add": ["x"]}),
        ("POST", f"/messages/{message}/copy", {"mailbox": "Archive"}),
        ("POST", f"/messages/{message}/move", {"mailbox": "Archive"}),
        ("DELETE", f"/messages/{message}", None),
    ):
        assert (await world.call(method, root + path, body, token=manager))[0] == 403
        answer = await world.http.request(
            method, f"/v1{root}{path}", json=body, headers={"authorization": f"Bearer {world.token}"}
        )
        assert answer.status_code in (200, 201, 404)
    entries = await world.core.db["audit_log"].find({"target": world.at("alice")}, sort=[("_id", 1)])
    assert [entry["action"] for entry in entries] == [
        "account.create",
        "message.append",
        "message.read",
        "message.read",
        "message.search",
        "message.flags",
        "message.copy",
        "message.move",
    ]


async def found(own: Own, **query: Any) -> list[str]:
    """Subjects found, all pages."""
    subjects: list[str] = []
    while True:
        status, page = await own.call("GET", "/messages", **query)
        assert status == 200, page
        subjects += [item["subject"] for item in page["items"]]
        if page["next"] is None:
            return subjects
        query["cursor"] = page["next"]


async def test_search(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    await own.append(
        b"From: Bob <bob@example.org>\r\nTo: alice@x.test\r\nCc: dave@x.test\r\nSubject: Invoice 1\r\n\r\nSum: 10 \xe2\x82\xac",
        internal_date="2026-01-01",
        flag="\\Seen",
    )
    await own.append(
        b"From: Carol <carol@example.org>\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n\r\nWhere is the INVOICE?",
        internal_date="2026-02-01T12:00:00Z",
        flag="work",
    )
    await own.append(NESTED, mailbox="Archive", internal_date="2026-03-01")
    assert await found(own) == ["Café", "Invoice 1", "parts"]
    for query, subjects in (
        ({"text": "invoice"}, ["Café", "Invoice 1"]),
        ({"text": "grüße"}, ["parts"]),
        ({"text": "GREETINGS"}, ["parts"]),
        ({"text": "résumé"}, ["parts"]),
        ({"text": "10 €"}, ["Invoice 1"]),
        ({"subject": "CAFÉ"}, ["Café"]),
        ({"from": "bob"}, ["Invoice 1", "parts"]),
        ({"from": "bob", "to": "dave"}, ["Invoice 1"]),
        ({"mailbox": "Archive"}, ["parts"]),
        ({"since": "2026-02-01"}, ["Café", "parts"]),
        ({"since": "2026-01-01", "before": "2026-01-02"}, ["Invoice 1"]),
        ({"flag": "\\Seen"}, ["Invoice 1"]),
        ({"flag": "WORK"}, ["Café"]),
        ({"flag": "never"}, []),
        ({"not_flag": ["\\Seen", "work"]}, ["parts"]),
        ({"larger": 1000}, ["parts"]),
        ({"text": "nothing of the kind"}, []),
    ):
        assert await found(own, **query) == subjects, query
        assert await found(own, **query, limit=1) == subjects, query
    monkeypatch.setattr(search, "MAX_EXAMINED", 1)
    assert await found(own, text="invoice") == ["Café", "Invoice 1"]
    monkeypatch.setattr(search, "MAX_EXAMINED", 5000)
    monkeypatch.setattr(search, "MAX_OCTETS", 1)
    assert await found(own, text="greetings") == ["parts"]
    monkeypatch.setattr(search, "MAX_OCTETS", 1 << 20)
    monkeypatch.setattr(search, "SMALL", 0)  # as large bodies are looked at
    assert await found(own, text="greetings") == ["parts"]
    monkeypatch.setattr(search, "SECONDS", -1.0)  # each request looks at one message, however slow
    assert await found(own, text="invoice") == ["Café", "Invoice 1"]
    assert (await own.call("GET", "/messages", mailbox="Nowhere"))[0] == 404
    assert (await own.call("GET", "/messages", since="tomorrow"))[0] == 400
    assert (await own.call("GET", "/messages", cursor="YWJj"))[0] == 400
    assert (await own.call("GET", "/messages", text="x" * 201))[0] == 422
