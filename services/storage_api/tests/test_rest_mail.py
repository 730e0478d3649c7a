"""Mailboxes and messages over the REST API: for operators by address, for people under /v1/me."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.rest import World, add

MESSAGE = (
    b"From: =?utf-8?q?B=C3=B6b?= <bob@example.org>\r\nTo: alice@example.test, Carol <carol@example.test>\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= %d\r\nDate: Thu, 26 Nov 2026 08:30:00 +0100\r\n"
    b"Message-ID: <m%d@example.org>\r\n\r\nHello Alice,\r\nnumber %d.\r\n"
)
RFC822 = {"content-type": "message/rfc822"}


async def append(world: World, root: str, mailbox: str, content: bytes, **more: Any) -> dict[str, Any]:
    path = f"{root}/mailboxes/{quote(mailbox, safe='')}/messages"
    answer = await world.raw("POST", path, content, headers=RFC822, **more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def roots(world: World) -> list[tuple[str, str]]:
    """(path, token) of Alice's mail, for her operator and for herself."""
    await add(world, "alice")
    manager = await world.scoped(f"domain:{world.domain}", "read-mail")
    own = await world.scoped("self", account=world.at("alice"))
    return [(f"/accounts/{world.at('alice')}", manager), ("/me", own)]


async def test_mailboxes_are_listed_made_renamed_and_deleted(world: World) -> None:
    for number, (root, token) in enumerate(await roots(world)):
        world.token = token
        top = f"Ärchiv {number}%2F"
        status, made = await world.call("POST", f"{root}/mailboxes", {"name": f"{top}/2026/Q1"})
        assert (status, made["name"], made["messages"], made["special_use"]) == (201, f"{top}/2026/Q1", 0, None)
        assert (await world.call("POST", f"{root}/mailboxes", {"name": f"{top}/2026"}))[0] == 409
        assert (await world.call("POST", f"{root}/mailboxes", {"name": "a//b"}))[0] == 400
        assert (await world.call("POST", f"{root}/mailboxes", {"name": "J2", "special_use": "\\Junk"}))[0] == 409
        path = f"{root}/mailboxes/{quote(top + '/2026', safe='')}"
        status, shown = await world.call("GET", path)
        assert (status, shown["name"]) == (200, f"{top}/2026")
        assert (await world.call("DELETE", path))[0] == 400
        status, changed = await world.call("PATCH", path, {"name": f"{top}/2027", "subscribed": False})
        assert (status, changed["name"], changed["subscribed"]) == (200, f"{top}/2027", False)
        assert (await world.call("GET", path))[0] == 404
        child = f"{root}/mailboxes/{quote(top + '/2027/Q1', safe='')}"
        assert (await world.call("DELETE", child))[0] == 204
        assert (await world.call("DELETE", child))[0] == 404
        assert (await world.call("DELETE", f"{root}/mailboxes/inbox"))[0] == 400
        assert (await world.call("PATCH", f"{root}/mailboxes/INBOX", {}))[0] == 422
        status, listed = await world.call("GET", f"{root}/mailboxes")
        names = [item["name"] for item in listed["items"]]
        assert (status, names[0], f"{top}/2027" in names) == (200, "INBOX", True)
        trash = [item["name"] for item in listed["items"] if item["special_use"] == "\\Trash"]
        assert trash == ["Trash"]
    changes = await world.audited("mailbox.change")
    assert [entry["details"]["name"] for entry in changes if entry["target"] == world.at("alice")] == [
        "Ärchiv 0%2F/2027"
    ]


async def test_messages_are_appended_listed_and_read(world: World) -> None:
    for root, token in await roots(world):
        world.token = token
        box = "Old mail/2026" if root == "/me" else "Old mail/2025"
        path = f"{root}/mailboxes/{quote(box, safe='')}/messages"
        answer = await world.raw("POST", path, MESSAGE % (0, 0, 0), headers=RFC822)
        assert answer.status_code == 404
        first = await append(
            world, root, box, MESSAGE % (0, 0, 0), create="true", flag=["\\Seen", "kept"], internal_date="2020-02-29"
        )
        for number in range(1, 5):
            await append(world, root, box, MESSAGE % ((number,) * 3), internal_date=1764115200000)
        status, page = await world.call("GET", path, limit=2)
        assert (status, [item["uid"] for item in page["items"]]) == (200, [5, 4])
        seen = page["items"]
        while page["next"]:
            status, page = await world.call("GET", path, limit=2, cursor=page["next"])
            seen += page["items"]
        assert [item["uid"] for item in seen] == [5, 4, 3, 2, 1]
        assert (await world.call("GET", path, order="oldest", limit=1))[1]["items"][0] == seen[-1]
        shown = seen[-1]
        assert (shown["id"], shown["mailbox"], shown["flags"]) == (first["id"], box, ["\\Seen", "kept"])
        assert shown["from"] == [{"name": "Böb", "address": "bob@example.org"}]
        assert shown["to"][1] == {"name": "Carol", "address": "carol@example.test"}
        assert (shown["subject"], shown["message_id"]) == ("Grüße 0", "<m0@example.org>")
        assert (shown["date"], shown["internal_date"]) == (1795678200000, 1582934400000)
        assert (shown["size"], shown["preview"]) == (len(MESSAGE % (0, 0, 0)), "Hello Alice, number 0.")
        changed = (await world.call("GET", path, changed_since=seen[1]["modseq"]))[1]
        assert [item["uid"] for item in changed["items"]] == [5]
        assert changed["highest_modseq"] == seen[0]["modseq"]
        answer = await world.raw("GET", f"{root}/messages/{first['id']}/raw")
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (
            200,
            "message/rfc822",
            MESSAGE % (0, 0, 0),
        )
        known = {"if-none-match": answer.headers["etag"]}
        assert (await world.raw("GET", f"{root}/messages/{first['id']}/raw", headers=known)).status_code == 304
        for bad in (first["id"] + "1", "nonsense", "x.1", f"{first['id'].partition('.')[0]}.-1"):
            assert (await world.call("GET", f"{root}/messages/{bad}/raw"))[0] == 404
        for bad in ({"limit": 0}, {"limit": 201}, {"changed_since": -1}, {"order": "best"}):
            assert (await world.call("GET", path, **bad))[0] == 422
        assert (await world.call("GET", path, cursor="YQ"))[0] == 400
    read = [entry for entry in await world.audited("message.read") if entry["target"] == world.at("alice")]
    assert {entry["details"]["message"] for entry in read} != set()
    assert len([e for e in await world.audited("message.append") if e["target"] == world.at("alice")]) == 5


async def test_what_an_append_refuses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await add(world, "alice", quota_bytes=1000)
    path = f"/accounts/{world.at('alice')}/mailboxes/INBOX/messages"

    async def refused(content: bytes, headers: dict[str, str] | None = None, **query: Any) -> int:
        answer = await world.raw("POST", path, content, headers=RFC822 if headers is None else headers, **query)
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code

    assert await refused(b"") == 400
    assert await refused(b"Subject: nul\r\n\r\n\0\r\n") == 400
    assert (await world.call("GET", path))[1]["items"] == []
    assert await refused(b"x", {"content-type": "text/plain"}) == 415
    assert await refused(b"x", {}) == 415
    assert await refused(b"x" * 1001) == 507
    assert await refused(b"x", flag="\\Nonsense") == 400
    assert await refused(b"x", flag="a b") == 422
    assert await refused(b"x", flag=["f"] * 65) == 422
    for date in ("yesterday", "2026-13-01", "2026-11-26T08:30:00"):
        assert await refused(b"x", internal_date=date) in (400, 422)
    monkeypatch.setattr(world.core.space, "full", True)
    assert await refused(b"x") == 507


async def test_a_token_of_an_account_reaches_nothing_else_and_ends_with_it(world: World) -> None:
    await add(world, "alice")
    await add(world, "bob")
    own = await world.scoped("self", account=world.at("alice"))
    for method, path in (
        ("GET", f"/accounts/{world.at('alice')}/mailboxes"),
        ("GET", f"/accounts/{world.at('bob')}/mailboxes"),
        ("GET", f"/accounts/{world.at('alice')}"),
        ("GET", "/tokens"),
    ):
        assert (await world.call(method, path, token=own))[0] == 403
    bobs = await append(world, f"/accounts/{world.at('bob')}", "INBOX", MESSAGE % (1, 1, 1))
    assert (await world.call("GET", f"/me/messages/{bobs['id']}/raw", token=own))[0] == 404
    assert (await world.call("GET", "/me/mailboxes"))[0] == 403  # the bootstrap token is nobody's
    for body in (
        {"name": "x", "scopes": ["self"]},
        {"name": "x", "scopes": ["self", "read-mail"], "account": world.at("alice")},
        {"name": "x", "scopes": ["platform"], "account": world.at("alice")},
    ):
        assert (await world.call("POST", "/tokens", body))[0] == 400
    assert (await world.call("POST", "/tokens", {"name": "x", "scopes": ["self"], "account": "n@o.test"}))[0] == 404
    alice = f"/accounts/{world.at('alice')}"
    assert (await world.call("PATCH", alice, {"disabled": True}))[0] == 200
    assert (await world.call("GET", "/me/mailboxes", token=own))[0] == 403
    assert (await world.call("DELETE", alice))[0] == 204
    assert (await world.call("GET", "/me/mailboxes", token=own))[0] == 401
    assert await world.core.db["tokens"].find({"account": world.at("alice")}) == []


async def test_reading_others_mail_needs_read_mail_and_is_written_down(world: World) -> None:
    await add(world, "alice")
    root = f"/accounts/{world.at('alice')}"
    manager = await world.scoped(f"domain:{world.domain}")
    made = await append(world, root, "INBOX", MESSAGE % (1, 1, 1), token=manager)
    for path in (f"{root}/mailboxes/INBOX/messages", f"{root}/messages/{made['id']}/raw"):
        status, problem = await world.call("GET", path, token=manager)
        assert (status, "read-mail" in problem["detail"]) == (403, True)
    reader = await world.scoped(f"domain:{world.domain}", "read-mail")
    assert (await world.call("GET", f"{root}/mailboxes/INBOX/messages", token=reader))[0] == 200
    assert (await world.raw("GET", f"{root}/messages/{made['id']}/raw", token=reader)).status_code == 200
    for action, details in (("message.list", {"mailbox": "INBOX"}), ("message.read", {"message": made["id"]})):
        found = [entry["details"] for entry in await world.audited(action) if entry["target"] == world.at("alice")]
        assert found == [details]
