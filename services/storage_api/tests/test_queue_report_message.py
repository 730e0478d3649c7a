"""Notices as another implementation reads them, and what hostile servers and senders can't do to them."""

from __future__ import annotations

import email
import email.policy
import quopri
import re
from dataclasses import replace
from email.message import Message

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mailboat_store_client.queue import Outcome
from storage_api.queue.notice_text import MAX_SHOWN, text_of
from storage_api.queue.notices import NoticeKind, Plan, RecipientState, SentMessage, notices_due
from storage_api.queue.report_message import MAX_HEADER, MAX_RETURNED, Notice, write

QUEUED = 1_799_978_400_000
TRIED = 1_800_000_000_000
HEADER = (
    b"Received: from [192.0.2.7] by mail.example.test with ESMTPSA id 01trace\r\n"
    b"From: Alice <alice@example.test>\r\nTo: bob@remote.test\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <lunch@example.test>\r\n\r\n"
)
BOB = RecipientState(
    "bob@remote.test",
    Outcome.FAILED,
    orcpt="rfc822;Bob+2Bwork@remote.test",
    status="5.1.1",
    reply="550 5.1.1 <bob@remote.test>: Recipient address rejected: User unknown in virtual mailbox table",
    host="mx1.remote.test [192.0.2.25]:25",
    at=TRIED,
)
SENT = SentMessage(
    "01trace", "alice@example.test", (BOB,), QUEUED, QUEUED + 432_000_000, HEADER, HEADER + b"Hi\r\n", envid="QQ314159"
)


def plan_of(message: SentMessage) -> Plan:
    (plan,) = notices_due(message, TRIED, QUEUED).plans
    return plan


def notice_of(message: SentMessage) -> Notice:
    return write(plan_of(message), hostname="mail.example.test", notice_id="01notice", now=TRIED + 1000)


def parsed(message: SentMessage) -> tuple[Message, Message, list[Message], Message]:
    """(whole, text part, fields of the message and of each recipient, returned part)."""
    whole = email.message_from_bytes(notice_of(message).content)
    assert not whole.defects and whole.get_content_type() == "multipart/report"
    text, status, returned = whole.get_payload()
    assert not text.defects and not returned.defects
    return whole, text, status.get_payload(), returned


def text_in(part: Message) -> str:
    return part.get_payload(decode=True).decode(part.get_content_charset())


def fields(block: Message) -> dict[str, str]:
    return {name: " ".join(value.split()) for name, value in block.items()}


def test_a_bounce_as_pythons_email_package_reads_it() -> None:
    whole, text, blocks, returned = parsed(SENT)
    assert dict(whole.items()) | {"Content-Type": ""} == {
        "From": "Mail Delivery System <MAILER-DAEMON@mail.example.test>",
        "To": "<alice@example.test>",
        "Subject": "Not delivered: your message to bob@remote.test",
        "Date": "Fri, 15 Jan 2027 08:00:01 +0000",
        "Message-ID": "<01notice@mail.example.test>",
        "In-Reply-To": "<lunch@example.test>",
        "References": "<lunch@example.test>",
        "Auto-Submitted": "auto-replied",
        "MIME-Version": "1.0",
        "Content-Type": "",
    }
    assert whole.get_param("report-type") == "delivery-status"
    assert [fields(block) for block in blocks] == [
        {
            "Reporting-MTA": "dns; mail.example.test",
            "Original-Envelope-Id": "QQ314159",
            "Arrival-Date": "Fri, 15 Jan 2027 02:00:00 +0000",
            "X-Mailboat-Trace-ID": "01trace",
        },
        {
            "Original-Recipient": "rfc822; Bob+work@remote.test",
            "Final-Recipient": "rfc822; bob@remote.test",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx1.remote.test",
            "Diagnostic-Code": f"smtp; {BOB.reply}",
            "Last-Attempt-Date": "Fri, 15 Jan 2027 08:00:00 +0000",
        },
    ]
    said = text_in(text)
    assert "mx1.remote.test [192.0.2.25]:25 said:" in said and "Check its spelling" in said
    assert "Subject: Grüße" in said and "01trace" in said
    assert returned.get_content_type() == "text/rfc822-headers"
    assert returned.get_payload(decode=True).rstrip() == HEADER.rstrip()


def test_a_delay_says_until_when_it_is_tried_and_asks_for_nothing() -> None:
    late = replace(BOB, outcome=Outcome.DEFERRED, status="4.4.1", reply="", reason="No server answered", host="")
    whole, text, (_, block), _ = parsed(replace(SENT, recipients=(late,), ret="FULL"))
    got = fields(block)
    assert (got["Action"], got["Status"]) == ("delayed", "4.4.1")
    assert got["Will-Retry-Until"] == "Wed, 20 Jan 2027 02:00:00 +0000"
    assert got["Diagnostic-Code"] == "X-Mailboat; No server answered"
    assert "Remote-MTA" not in got
    assert whole["Subject"] == "Delayed: your message to bob@remote.test"
    assert "don't send it again" in text_in(text)


def test_a_success_is_relayed_with_a_status_of_its_class() -> None:
    sent = replace(BOB, outcome=Outcome.DELIVERED, notify="SUCCESS", status="", reply="250 2.0.0 Ok: queued as 4D2")
    _, text, (_, block), returned = parsed(replace(SENT, recipients=(sent,), ret="FULL"))
    assert (block["Action"], block["Status"]) == ("relayed", "2.0.0")
    assert "doesn't tell of deliveries" in " ".join(text_in(text).split())
    assert returned.get_content_type() == "text/rfc822-headers", "RET is about failures only (RFC 3461 4.3)"


@pytest.mark.parametrize(
    ("status", "expired", "shown"),
    [
        ("5.7.1", False, "5.7.1"),
        ("4.2.2", True, "4.2.2"),
        ("", True, "4.4.7"),
        ("5.1.1\r\nX: y", False, "5.0.0"),
        ("4.0.0", False, "5.0.0"),
        ("", False, "5.0.0"),
    ],
)
def test_the_status_agrees_with_the_action(status: str, expired: bool, shown: str) -> None:
    _, _, (_, block), _ = parsed(replace(SENT, recipients=(replace(BOB, status=status, expired=expired),)))
    assert (block["Action"], block["Status"]) == ("failed", shown)


def test_ret_full_returns_a_small_message_whole() -> None:
    _, _, _, returned = parsed(replace(SENT, ret="FULL"))
    assert returned.get_content_type() == "message/rfc822"
    (inner,) = returned.get_payload()
    assert inner["Message-ID"] == "<lunch@example.test>" and inner.get_payload().rstrip() == "Hi"


@pytest.mark.parametrize(
    "content",
    [
        None,
        HEADER + b"x" * MAX_RETURNED,
        HEADER + b"y" * 999 + b"\r\n",
        HEADER + b"bare\nfeed\r\n",
        HEADER + b"bare\rreturn\r\n",
        HEADER + b"nul\0\r\n",
    ],
)
def test_what_is_large_or_breaks_lines_comes_back_as_its_header(content: bytes | None) -> None:
    _, _, _, returned = parsed(replace(SENT, ret="FULL", content=content))
    assert returned.get_content_type() == "text/rfc822-headers"


def test_an_8bit_message_comes_back_as_8bit_and_all_else_is_7bit() -> None:
    content = HEADER + "Grüße\r\n".encode()
    notice = notice_of(replace(SENT, ret="FULL", content=content))
    assert content in notice.content
    assert notice.content.replace(content, b"").isascii()
    assert b"Content-Transfer-Encoding: 8bit" in notice.content
    assert not notice.smtputf8


def test_a_header_with_8bit_octets_is_encoded() -> None:
    raw = HEADER.replace(b"To: bob", b"To: b\xf6b")
    _, _, _, returned = parsed(replace(SENT, header=raw))
    assert returned["Content-Transfer-Encoding"] == "quoted-printable"
    assert returned.get_payload(decode=True).rstrip() == raw.rstrip()


def test_a_long_header_is_cut_between_fields() -> None:
    raw = HEADER.rstrip() + b"\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"z" * 500) for n in range(200)) + b"\r\n"
    content = notice_of(replace(SENT, header=raw)).content
    assert len(content) < MAX_HEADER + 8000
    assert b"X-5: " in content and b"X-199: " not in content
    assert all(line == b"" or b": " in line or line.startswith(b" ") for line in _returned(content).split(b"\r\n"))


def _returned(content: bytes) -> bytes:
    return content.rpartition(b"text/rfc822-headers\r\n\r\n")[2].rpartition(b"\r\n--=_")[0]


# RFC 6533

ALICE = "алиса@example.test"


def test_an_international_recipient_gets_rfc_6533s_types_in_7bit() -> None:
    there = replace(BOB, address="боб@почта.test", orcpt=r"utf-8;\x{431}ob@remote.test", reply="550 5.1.1 нет")
    notice = notice_of(replace(SENT, recipients=(there,)))
    assert notice.content.isascii() and not notice.smtputf8
    part = notice.content.partition(b"message/global-delivery-status\r\n")[2]
    assert part.startswith(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
    decoded = quopri.decodestring(part.partition(b"\r\n\r\n")[2]).decode()
    assert "Original-Recipient: utf-8; бob@remote.test\r\n" in decoded
    assert "Final-Recipient: utf-8; боб@почта.test\r\n" in decoded
    assert "Diagnostic-Code: smtp; 550 5.1.1 нет\r\n" in decoded


def test_an_international_sender_needs_smtputf8_and_may_get_8bit() -> None:
    there = replace(BOB, address="боб@почта.test", orcpt="")
    header = HEADER.replace(b"Subject: ", "Subject: Привет ".encode())
    notice = notice_of(replace(SENT, reverse_path=ALICE, recipients=(there,), header=header))
    assert notice.smtputf8
    assert f"To: <{ALICE}>\r\n".encode() in notice.content
    assert b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n" in notice.content
    assert b"Content-Type: message/global-headers\r\n" in notice.content
    whole = email.message_from_string(notice.content.decode(), policy=email.policy.SMTPUTF8)
    assert whole["To"].addresses[0].addr_spec == ALICE


def test_an_ascii_report_shows_other_letters_as_escapes() -> None:
    _, _, (_, block), _ = parsed(replace(SENT, recipients=(replace(BOB, reply="550 Empfänger unbekannt"),)))
    assert block["Diagnostic-Code"] == r"smtp; 550 Empf\x{E4}nger unbekannt"


# Strangers


def test_a_reply_cannot_add_fields_parts_or_lines() -> None:
    evil = (
        "550 no\r\nStatus: 2.0.0\r\n\r\nFinal-Recipient: rfc822; eve@evil.test\r\n--=_01notice--\r\n\x00\x1b[2J\u202e"
    )
    _, text, blocks, _ = parsed(replace(SENT, recipients=(replace(BOB, reply=evil, host="a\r\nX: y [::1]"),)))
    assert len(blocks) == 2
    assert blocks[1]["Status"] == "5.1.1" and blocks[1].get_all("Final-Recipient") == ["rfc822; bob@remote.test"]
    assert not re.search("[\x00\x1b\u202e]", text_in(text))


def test_the_boundary_is_in_no_part() -> None:
    content = notice_of(replace(SENT, header=HEADER.replace(b"Subject: ", b"Subject: --=_01notice"))).content
    assert b'boundary="=_01notice_"' in content


def test_a_message_id_that_is_none_is_not_repeated() -> None:
    whole, *_ = parsed(replace(SENT, header=b"Message-ID: <a b> (c)\r\n\r\n"))
    assert "In-Reply-To" not in whole and "References" not in whole


def test_a_thousand_long_replies_stay_small_and_are_all_in_the_report() -> None:
    many = tuple(replace(BOB, address=f"bob{n}@remote.test", reply="550 " + "word " * 400) for n in range(1000))
    _, text, blocks, _ = parsed(replace(SENT, recipients=many))
    assert len(blocks) == 1001
    assert f"{1000 - MAX_SHOWN} more recipients" in text_in(text)
    assert len(notice_of(replace(SENT, recipients=many)).content) < 700_000


_ANY = st.text(max_size=3000) | st.text("\r\n\t :;<>@=?\\{}\"'é\u2028\U0001f600-_", max_size=3000)


_RECIPIENTS = st.builds(
    RecipientState,
    address=_ANY,
    outcome=st.sampled_from(Outcome),
    notify=st.just("SUCCESS,FAILURE,DELAY"),
    orcpt=_ANY | _ANY.map("utf-8;{}".format) | _ANY.map("rfc822;{}".format),
    status=_ANY,
    reply=_ANY,
    reason=_ANY,
    host=_ANY,
    at=st.just(TRIED),
)


@example(recipient=BOB, envid="", sender="a", header=b"\r")
@example(recipient=BOB, envid="", sender="a", header=b"X: \r\r\n\n\r \x80\r\n\r\n")
@given(recipient=_RECIPIENTS, envid=_ANY, sender=_ANY.filter(bool), header=st.binary(max_size=3000) | st.just(HEADER))
def test_no_input_breaks_lines_fields_or_the_message(
    recipient: RecipientState, envid: str, sender: str, header: bytes
) -> None:
    sent = replace(SENT, reverse_path=sender, recipients=(recipient,), header=header, envid=envid, content=None)
    for plan in notices_due(sent, TRIED, QUEUED).plans:
        notice = write(plan, hostname="mail.example.test", notice_id="01notice", now=TRIED)
        assert all(len(line) <= 998 for line in notice.content.split(b"\r\n"))
        bare = notice.content.replace(b"\r\n", b"")
        assert b"\r" not in bare and b"\n" not in bare and b"\0" not in bare
        assert notice.smtputf8 or notice.content.isascii()
        top = email.message_from_bytes(notice.content)
        expected = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}
        assert expected <= set(top.keys()) <= expected | {"In-Reply-To", "References"}
        assert len(top.get_payload()) == 3
        assert len(text_of(plan, "mail.example.test")) < 6000


def test_the_kinds_are_told_apart_in_the_subject() -> None:
    local = replace(BOB, outcome=Outcome.DELIVERED, notify="SUCCESS", local=True)
    plan = plan_of(replace(SENT, recipients=(local,)))
    assert plan.kind is NoticeKind.SUCCESS
    whole, text, _, _ = parsed(replace(SENT, recipients=(local,)))
    assert whole["Subject"] == "Delivered: your message to bob@remote.test"
    assert "in the recipient's mailbox" in text_in(text)
