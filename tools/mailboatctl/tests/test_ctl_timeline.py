"""A trace as people read it."""

from __future__ import annotations

from typing import Any

import pytest
from mailboatctl.timeline import KINDS, timeline

AT = 1_700_000_000_000
QUEUE = {"queue": "q1", "domain": "far.example"}
RECEIVED = {
    "listener": "smtp",
    "sender": "ann@a.example",
    "client": "192.0.2.1",
    "helo": "a.example",
    "recipients": 1,
    "size": 812,
    "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
    "transaction": 1,
    "phases": {"connected": 0, "first_command": 3, "secured": 9, "mail": 12, "data": 20, "data_end": 25},
}


def event(kind: str, after: int = 0, details: dict[str, Any] | None = None, **names: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"account": None, "mailbox": None, "message": None}
    return nothing | {"at": AT + after, "kind": kind, "details": details or {}} | names


def shown(*events: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(line.delta, line.service, line.text) for line in timeline(events)]


def test_a_message_from_its_client_to_the_phone() -> None:
    inbox = {"account": "bob@x.test", "mailbox": "INBOX", "message": "m1.7"}
    assert shown(
        event("received", 0, RECEIVED),
        event("announced", 61, {"sessions": 2, "by": "imap-1/1"}, **inbox),
        event("filed", 40, {"recipient": "bob@x.test"}, **inbox),
        event("answered", 44, {"reply": "250 2.0.0 Ok: id t1", "read": True}),
    ) == [
        ("+0.000", "smtp_ingress", "192.0.2.1 connects to smtp"),
        ("+0.003", "smtp_ingress", "first command; the client calls itself a.example"),
        ("+0.009", "smtp_ingress", "STARTTLS: TLSv1.3 TLS_AES_256_GCM_SHA384"),
        ("+0.012", "smtp_ingress", "MAIL FROM <ann@a.example>"),
        ("+0.020", "smtp_ingress", "message begins, for 1 recipient"),
        ("+0.025", "smtp_ingress", "message ends; 812 octets with our fields"),
        ("+0.040", "storage_api", "filed for bob@x.test in INBOX\n  message m1.7"),
        ("+0.044", "smtp_ingress", "answered 250 2.0.0 Ok: id t1\n  the client has read it"),
        ("+0.061", "imap_gateway", "EXISTS sent to 2 sessions in INBOX of bob@x.test\n  by imap-1/1"),
    ]


def test_a_later_transaction_counts_from_its_mail_and_shows_the_connection_before() -> None:
    phases = {"connected": -9000, "first_command": -8990, "mail": 0, "data": 1, "data_end": 2}
    details = RECEIVED | {"transaction": 3, "phases": phases, "sender": "<>", "login": "bob@x.test"}
    lines = shown(event("received", 0, details))
    assert [delta for delta, _service, _text in lines] == ["-9.000", "-8.990", "+0.000", "+0.001", "+0.002"]
    assert lines[0][2] == "192.0.2.1 connects to smtp, TLSv1.3 TLS_AES_256_GCM_SHA384", "TLS from the first octet"
    assert lines[2][2] == "MAIL FROM <>, logged in as bob@x.test, transaction 3 of the connection"


def test_a_message_to_another_server() -> None:
    phases = {"lookup": 4, "connect": 12, "tls": 30, "mail": 5, "data": 0, "reply": 101}
    host = "mx.far.example [192.0.2.7]:25"
    rest = {"listener": "api", "sender": "bob@x.test", "login": "bob@x.test", "recipients": 1, "size": 9}
    later = {"recipient": "eve@far.example", "status": "4.4.1", "reason": "the connection was refused", **QUEUE}
    done = {"recipient": "eve@far.example", "attempt": 2, "reply": "250 2.0.0 Queued", "tls": "TLSv1.3", "host": host}
    assert [(service, text) for _delta, service, text in shown(
        event("received", 0, rest),
        event("queued", 1, QUEUE | {"recipient": "eve@far.example"}),
        event("attempt", 2, QUEUE | {"attempt": 1, "worker": "w"}),
        event("deferred", 3, later | {"attempt": 1, "host": host, "phases": {"connect": 2}}),
        event("attempt", 4, QUEUE | {"attempt": 2, "worker": "w"}),
        event("delivered", 5, QUEUE | done | {"phases": phases}),
    )] == [
        ("storage_api", "received over REST from <bob@x.test> for 1 recipient, 9 octets"),
        ("storage_api", "queued for far.example: eve@far.example\n  queue q1"),
        ("delivery_worker", "attempt 1 for far.example begins\n  queue q1"),
        ("delivery_worker", f"attempt 1: deferred eve@far.example at {host}, in the clear\n"
                            "  the connection was refused\n  connect 2 ms"),
        ("delivery_worker", "attempt 2 for far.example begins\n  queue q1"),
        ("delivery_worker", f"attempt 2: delivered eve@far.example at {host}, TLSv1.3\n  250 2.0.0 Queued\n"
                            "  lookup 4 ms, connect 12 ms, TLS 30 ms, MAIL 5 ms, DATA 0 ms, reply 101 ms"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "details", "text"),
    [
        ("duplicate", {"recipient": "b@x.test", "of": "t1"}, "not taken for b@x.test: duplicate of t1"),
        ("offered_again", {"via": "b@x.test", "as": "t2"}, "offered again as t2 for b@x.test, not taken"),
        ("over_quota", {"recipient": "b@x.test"}, "not taken for b@x.test: over quota"),
        ("gone", {"recipient": "b@x.test"}, "not taken for b@x.test: no such account"),
        ("forwarded", {"via": "b@x.test", "reverse_path": ""}, "sent on by b@x.test with the reverse-path <>"),
        ("queued", QUEUE | {"recipients": 3}, "queued for far.example: 3 recipients\n  queue q1"),
        (
            "notice",
            {"notice": "t3", "about": "failure", "recipient": "a@x.test"},
            "notice of failure to a@x.test: t3",
        ),
        (
            "written",
            {"notice": "failure", "about": "t1", "recipient": "a@x.test"},
            "notice of failure written to a@x.test, about t1",
        ),
        ("untold", {"recipient": "e@y.test", "status": "5.1.1"}, "the sender isn't told of e@y.test: 5.1.1"),
        ("suppressed", {"recipient": "e@y.test", "status": "5.1.1"}, "e@y.test is suppressed from now on: 5.1.1"),
        ("held", QUEUE | {"by": "token ops"}, "held by token ops: far.example\n  queue q1"),
        (
            "failed",
            {"recipient": "e@y.test", "reason": "no such domain", "status": "5.1.2", "expired": True},
            "failed e@y.test\n  no such domain\n  given up after all attempts",
        ),
        ("answered", {"reply": "452 4.2.2 Full", "read": False}, "answered 452 4.2.2 Full\n  the connection ended, "
         "and nothing says that it was read"),
    ],
)  # fmt: skip
def test_every_other_step_says_what_it_means(kind: str, details: dict[str, Any], text: str) -> None:
    ((_, _, found),) = shown(event(kind, 0, details))
    assert found == text


@pytest.mark.parametrize("kind", [*KINDS, "of a release to come"])
def test_a_step_with_details_of_another_release_is_shown_as_it_is(kind: str) -> None:
    ((_, _, found),) = shown(event(kind, 0, {"colour": "blue"}, mailbox="INBOX"))
    assert found == f"{kind} mailbox=INBOX colour=blue"


def test_what_a_server_says_cannot_steer_the_terminal() -> None:
    details = {"recipient": "e@y.test", "reply": "250 \x1b[2J\rok"}
    ((_, _, found),) = shown(event("delivered", 0, details))
    assert found == "delivered e@y.test\n  250 ?[2J?ok"


def test_a_message_nobody_knows_more_of_has_an_empty_timeline() -> None:
    assert shown() == []
