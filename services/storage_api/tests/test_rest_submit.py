"""Sending over the REST API: what the message looks like, who gets it, and who may send as whom."""

from __future__ import annotations

import base64
import email
import email.policy
from typing import Any

import pytest
from mailboat_common.errors import Refused
from mailboat_wire.smtp import parse_rcpt
from storage_api.rest.compose import compose, prepare_raw
from storage_api.rest.dsn import orcpt_text
from storage_api.rest.models_submit import NewMessage

from tests.support.rest import World, add

RFC822 = {"content-type": "message/rfc822"}
NOW = 1795678200.0


def written(**given: Any) -> email.message.EmailMessage:
    body = {"from": "alice@example.test", "to": ["bob@example.org"], **given}
    outgoing = compose(NewMessage.model_validate(body), "<t@h>", NOW)
    assert outgoing.content.replace(b"\r\n", b"").count(b"\n") == 0
    if not outgoing.smtputf8:
        assert outgoing.content.isascii()
    return email.message_from_bytes(outgoing.content, policy=email.policy.SMTP)  # type: ignore[return-value]


def test_a_message_is_written_from_its_members() -> None:
    message = written(
        **{"from": {"name": "Älice, Ltd.", "address": "alice@bücher.example"}},
        to=["bob@example.org", {"name": "Carol", "address": "Carol@example.org"}],
        cc=["dave@example.org"],
        bcc=["secret@example.org"],
        reply_to=["replies@example.test"],
        subject="Grüße " * 29 + "Grüße",
        text="Hello\n" + "ü" * 2000 + "\n",
        html="<p>Hello</p>",
        headers={"List-Unsubscribe": "<https://example.test/u>", "X-Campaign": "novembre é"},
        in_reply_to="<a@example.org>",
        references=["<r@example.org>"],
        attachments=[
            {"filename": "résumé.pdf", "content_type": "application/pdf", "content": base64.b64encode(b"\0\1").decode()}
        ],
    )
    assert message["From"].addresses[0].display_name == "Älice, Ltd."
    assert message["From"].addresses[0].addr_spec == "alice@xn--bcher-kva.example"
    assert [a.addr_spec for a in message["To"].addresses] == ["bob@example.org", "Carol@example.org"]
    assert (message["Cc"], message["Bcc"], message["Reply-To"]) == ("dave@example.org", None, "replies@example.test")
    assert message["Subject"] == "Grüße " * 29 + "Grüße"
    assert (message["Date"], message["Message-ID"]) == ("Thu, 26 Nov 2026 07:30:00 +0000", "<t@h>")
    assert (message["In-Reply-To"], message["References"]) == ("<a@example.org>", "<r@example.org> <a@example.org>")
    assert (message["X-Campaign"], message["MIME-Version"]) == ("novembre é", "1.0")
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/pdf",
    ]
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("résumé.pdf", b"\0\1")
    assert message.get_body(("plain",)).get_content() == "Hello\r\n" + "ü" * 2000 + "\r\n"
    assert all(len(line) <= 998 for line in message.as_bytes().split(b"\r\n"))


def test_images_are_shown_inside_the_html() -> None:
    image = {"filename": "l.png", "content_type": "image/png", "content": "AAAA", "content_id": "logo@example"}
    message = written(text="x", html='<img src="cid:logo@example">', attachments=[image])
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]
    (shown,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (shown["Content-ID"], shown.get_content_disposition()) == ("<logo@example>", "inline")
    with pytest.raises(Refused, match="HTML"):
        written(text="x", attachments=[image])


def test_who_gets_it_is_in_the_envelope_once() -> None:
    body = {"from": "a@b.test", "to": ["c@D.test", "c@d.test"], "bcc": ["e@f.test"]}
    outgoing = compose(NewMessage.model_validate(body), "<t@h>", NOW)
    assert (outgoing.sender, outgoing.recipients) == ("a@b.test", ("c@d.test", "e@f.test"))
    assert b"e@f.test" not in outgoing.content
    assert outgoing.smtputf8 is False
    body["to"] = ["jörg@d.test"]
    outgoing = compose(NewMessage.model_validate(body), "<t@h>", NOW)
    assert (outgoing.smtputf8, "jörg@d.test".encode() in outgoing.content) == (True, True)


@pytest.mark.parametrize(
    "given",
    [
        {"subject": "x\r\nBcc: evil@example.org"},
        {"subject": "x\nBcc: evil@example.org"},
        {"from": {"name": "x\r\nBcc: evil@example.org", "address": "alice@example.test"}},
        {"to": ["bob@example.org\r\nX: y"]},
        {"to": ["bob@example.org, eve@example.org"]},
        {"to": ["<bob@example.org>"]},
        {"headers": {"X-A": "b\r\nBcc: evil@example.org"}},
        {"headers": {"X-A: b\r\nBcc": "evil@example.org"}},
        {"headers": {"Bcc": "evil@example.org"}},
        {"headers": {"content-type": "text/html"}},
        {"headers": {"Ünicode": "x"}},
        {"in_reply_to": "<a@b>\r\nX: y"},
        {"in_reply_to": "no id"},
        {"references": ["<a b@c>"]},
        {"attachments": [{"filename": "x", "content": "no base64!"}]},
        {"attachments": [{"filename": "x", "content": "AAAA", "content_type": "message/rfc822"}]},
    ],
)
def test_nothing_breaks_out_of_its_field(given: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        written(**given)


def test_a_raw_message_is_made_fit() -> None:
    raw = b"From: Alice <alice@x.test>\nBcc: secret@x.test\n\tmore@x.test\nSubject: s\n\nline\n"
    content, message_id, senders = prepare_raw(raw, "<t@h>", NOW)
    assert content == (
        b"Date: Thu, 26 Nov 2026 07:30:00 +0000\r\nMessage-ID: <t@h>\r\n"
        b"From: Alice <alice@x.test>\r\nSubject: s\r\n\r\nline\r\n"
    )
    assert (message_id, senders) == ("<t@h>", ["alice@x.test"])
    own = b"From: a@x.test\r\nDate: Thu, 26 Nov 2026 07:30:00 +0000\r\nMessage-ID: <own@x.test>\r\n\r\nx"
    assert prepare_raw(own, "<t@h>", NOW) == (own, "<own@x.test>", ["a@x.test"])
    for bad in (
        b"Subject: x\r\n\r\nx",
        b"From: a@x.test\r\n\r\n\0",
        b"From: a@x.test\r\n\r\nx\ry",
        b"",
        b"X: y" * 99_999,
    ):
        with pytest.raises(Refused):
            prepare_raw(bad, "<t@h>", NOW)
    with pytest.raises(Refused, match="looping"):
        prepare_raw(b"Received: x\r\n" * 100 + b"From: a@x.test\r\n\r\n", "<t@h>", NOW)


async def test_local_recipients_have_it_and_remote_ones_are_queued(world: World) -> None:
    for name in ("alice", "bob"):
        await add(world, name)
    own = await world.scoped("self", account=world.at("alice"))
    body = {
        "from": {"name": "Alice", "address": world.at("alice+crm")},
        "to": [world.at("bob"), "far@remote.example"],
        "bcc": [world.at("alice"), world.at("nobody")],
        "subject": "Hello",
        "text": "Hello Bob",
        "save_to_sent": True,
    }
    status, answer = await world.call("POST", "/me/submit", body, token=own)
    assert status == 202, answer
    assert [(r["address"], r["status"], r["reason"]) for r in answer["recipients"]] == [
        (world.at("bob"), "delivered", None),
        ("far@remote.example", "queued", None),
        (world.at("alice"), "delivered", None),
        (world.at("nobody"), "refused", "5.1.1 No such user here"),
    ]
    root = f"/accounts/{world.at('bob')}"
    (message,) = (await world.call("GET", f"{root}/mailboxes/INBOX/messages"))[1]["items"]
    assert (message["subject"], message["message_id"]) == ("Hello", answer["message_id"])
    raw = (await world.raw("GET", f"{root}/messages/{message['id']}/raw")).content
    assert raw.startswith(b"Return-Path: <%s>\r\nDKIM-Signature: v=1;" % world.at("alice+crm").encode())
    assert b"\r\nReceived: by localhost with HTTP\r\n" in raw
    assert answer["trace_id"].encode() in raw
    assert b"nobody" not in raw
    (queued,) = await world.core.db["queue"].find({"t": answer["trace_id"]})
    assert queued["reverse_path"] == world.at("alice+crm")
    status, sent = await world.call("GET", f"/me/messages/{answer['sent']}", token=own)
    assert (status, sent["mailbox"], sent["flags"]) == (200, "Sent", ["\\Seen"])
    assert "Received" not in [header["name"] for header in sent["headers"]]
    await world.core.trace.flush()


def test_an_original_recipient_is_encoded_as_smtp_wants_it() -> None:
    assert orcpt_text(None) == ""
    assert orcpt_text("a+b=c@x.test") == "rfc822;a+2Bb+3Dc@x.test"
    assert orcpt_text('"a b"@x.test') == 'rfc822;"a+20b"@x.test'
    assert orcpt_text("jürgen+x@x.test") == "utf-8;jürgen\\x{2B}x@x.test"
    for text in ("a+b=c@x.test", '"a b"@x.test', "jürgen+x@x.test"):
        parsed = parse_rcpt(f"TO:<a@b.test> ORCPT={orcpt_text(text)}".encode())
        assert parsed.orcpt is not None
        assert parsed.orcpt.address == text
    with pytest.raises(Refused):
        orcpt_text("a\r\nDATA")


async def test_notices_are_asked_for_message_by_message_and_recipient_by_recipient(world: World) -> None:
    await add(world, "alice")
    root = f"/accounts/{world.at('alice')}"
    wishes = {"notify": ["failure", "success"], "ret": "headers", "envid": "order 4711"}
    one = {"name": "Carol", "address": "carol@remote.example", "notify": ["never"], "orcpt": "c.smith@old.example"}
    body = {"from": world.at("alice"), "to": ["far@remote.example", one], "cc": [one | {"notify": ["delay"]}], **wishes}
    assert (await world.call("POST", f"{root}/submit", body | {"bcc": [world.at("alice")]}))[0] == 202
    raw = b"From: <%s>\r\nSubject: raw\r\n\r\nbytes" % world.at("alice").encode()
    query: dict[str, Any] = {
        "to": ["far@remote.example", "carol@remote.example"],
        "ret": "headers",
        "envid": "order 4711",
    }
    query |= {"notify": ["success,failure", "never"], "orcpt": ["", "c.smith@old.example"]}
    assert (await world.raw("POST", f"{root}/submit/raw", raw, headers=RFC822, **query)).status_code == 202
    found = await world.core.db["queue"].find({"reverse_path": world.at("alice")})
    assert len(found) == 2
    for document in found:
        assert (document["envid"], document["ret"]) == ("order 4711", "HDRS")
        assert [(r["address"], r["notify"], r["orcpt"]) for r in document["recipients"]] == [
            ("far@remote.example", "SUCCESS,FAILURE", ""),
            ("carol@remote.example", "NEVER", "rfc822;c.smith@old.example"),
        ]
    (notice,) = await world.core.db["notices"].find({"recipient": world.at("alice")})
    assert b"\r\nOriginal-Envelope-Id: order 4711\r\n" in notice["content"], "filed for alice, who asked for success"
    assert b"\r\nAction: delivered\r\n" in notice["content"]
    query |= {"notify": ["success"]}
    assert (await world.raw("POST", f"{root}/submit/raw", raw, headers=RFC822, **query)).status_code == 202
    document = (await world.core.db["queue"].find({"reverse_path": world.at("alice")}, sort=[("_id", 1)]))[-1]
    assert [r["notify"] for r in document["recipients"]] == ["SUCCESS", "SUCCESS"], "one for all"


@pytest.mark.parametrize(
    "wrong",
    [
        {"notify": ["never", "success"]},
        {"notify": []},
        {"notify": ["SUCCESS"]},
        {"ret": "all"},
        {"envid": "x" * 101},
        {"envid": "two\nlines"},
        {"to": [{"address": "x@remote.example", "orcpt": "a\r\nb@old.example"}]},
        {"reply_to": [{"address": "x@remote.example", "notify": ["never"]}]},
    ],
)
async def test_wrong_wishes_for_notices_are_refused(world: World, wrong: dict[str, Any]) -> None:
    await add(world, "alice")
    body = {"from": world.at("alice"), "to": ["far@remote.example"], **wrong}
    assert (await world.call("POST", f"/accounts/{world.at('alice')}/submit", body))[0] in (400, 422)


@pytest.mark.parametrize(
    "wrong",
    [
        {"notify": "never,success"},
        {"notify": "sometimes"},
        {"notify": ["never", "never", "never"]},
        {"orcpt": ["a@old.example"]},
        {"ret": "HDRS"},
        {"envid": " x"},
    ],
)
async def test_wrong_wishes_in_a_query_are_refused(world: World, wrong: dict[str, Any]) -> None:
    await add(world, "alice")
    raw = b"From: <%s>\r\n\r\nx" % world.at("alice").encode()
    query = {"to": ["x@remote.example", "y@remote.example"], **wrong}
    path = f"/accounts/{world.at('alice')}/submit/raw"
    assert (await world.raw("POST", path, raw, headers=RFC822, **query)).status_code in (400, 422)


async def test_a_repeat_sends_nothing_twice_and_without_a_key_it_is_another_message(world: World) -> None:
    await add(world, "alice")
    root = f"/accounts/{world.at('alice')}"
    token = await world.scoped(f"domain:{world.domain}", "submit")
    raw = b"From: <%s>\r\nSubject: same\r\n\r\nbytes" % world.at("alice").encode()

    async def send(key: str = "") -> int:
        headers = {**RFC822, **({"idempotency-key": key} if key else {})}
        to = [world.at("alice")]
        return (await world.raw("POST", f"{root}/submit/raw", raw, token=token, headers=headers, to=to)).status_code

    for key, count in (("k", 1), ("k", 1), ("", 2), ("", 3)):
        assert await send(key) == 202
        assert (await world.call("GET", root))[1]["messages"] == count
    submitted = await world.audited("message.submit")
    assert [entry["details"]["from"] for entry in submitted if entry["target"] == world.at("alice")] == [
        world.at("alice")
    ] * 3


async def test_a_sender_is_the_accounts_own(world: World) -> None:
    for name in ("alice", "bob"):
        await add(world, name)
    own = await world.scoped("submit", account=world.at("alice"))
    body = {"from": world.at("bob"), "to": [world.at("alice")]}
    assert (await world.call("POST", "/me/submit", body, token=own))[0] == 403
    forged = b"From: <%s>\r\n\r\nx" % world.at("bob").encode()
    for query in ({}, {"from": world.at("alice")}, {"from": "x@elsewhere.test"}):
        answer = await world.raw(
            "POST", "/me/submit/raw", forged, token=own, headers=RFC822, to=[world.at("alice")], **query
        )
        assert answer.status_code == 403
    fine = b"From: <%s>\r\n\r\nx" % world.at("alice").encode()
    answer = await world.raw("POST", "/me/submit/raw", fine, token=own, headers=RFC822, to=[world.at("bob")])
    assert answer.status_code == 202
    assert (await world.call("GET", "/me/mailboxes", token=own))[0] == 403  # it may submit, not read


async def test_when_nobody_can_be_sent_to(world: World) -> None:
    await add(world, "alice")
    await add(world, "full", quota_messages=1)
    root = f"/accounts/{world.at('full')}"
    answer = await world.raw("POST", f"{root}/mailboxes/INBOX/messages", b"x", headers=RFC822)
    assert answer.status_code == 201
    body = {"from": world.at("alice"), "to": [world.at("nobody"), world.at("full")]}
    status, problem = await world.call("POST", f"/accounts/{world.at('alice')}/submit", body)
    assert (status, problem["code"]) == (422, "no_recipient")
    reasons = {recipient["address"]: recipient["reason"] for recipient in problem["recipients"]}
    assert reasons == {world.at("nobody"): "5.1.1 No such user here", world.at("full"): "5.2.2 Mailbox is full"}
    for to in ([], [world.at("x")] * 1001):
        body["to"] = to
        assert (await world.call("POST", f"/accounts/{world.at('alice')}/submit", body))[0] == 422


async def test_ones_own_account_and_password(world: World) -> None:
    account = await add(world, "alice", quota_bytes=5000)
    own = await world.scoped("self", account=world.at("alice"))
    assert await world.call("GET", "/me", token=own) == (200, account)
    change = {"old_password": "wrong horse", "new_password": "a new password"}
    assert (await world.call("POST", "/me/password", change, token=own))[0] == 403
    change["old_password"] = "correct horse"
    assert (await world.call("POST", "/me/password", {**change, "new_password": "short"}, token=own))[0] == 400
    assert (await world.call("POST", "/me/password", change, token=own))[0] == 204
    assert (await world.call("POST", "/me/password", change, token=own))[0] == 403
    directory = world.api.store.directory
    found = await directory.authenticate(world.at("alice"), "a new password", protocol="imap", client="192.0.2.1")
    assert found.status.value == "ok"
    change["old_password"] = "guess"
    statuses = [(await world.call("POST", "/me/password", change, token=own))[0] for _ in range(30)]
    assert statuses[-1] == 429
    (entry,) = [e for e in await world.audited("account.password") if e["target"] == world.at("alice")]
    assert entry["details"] == {}
