"""Which notices are due: RFC 3461's rules for each recipient, and that no notice is answered by one."""

from __future__ import annotations

import pytest
from mailboat_store_client.queue import Outcome
from storage_api.queue.notices import (
    Action,
    NoticeKind,
    RecipientState,
    SentMessage,
    auto_submitted,
    is_report,
    notices_due,
)

NOW = 1_800_000_000_000
HEADER = b"From: alice@example.test\r\nSubject: Lunch\r\n\r\n"
REPORT = b"Content-Type: multipart/report;\r\n\treport-type=delivery-status; boundary=b\r\n\r\n"
F, D, W = Outcome.FAILED, Outcome.DELIVERED, Outcome.DEFERRED


def message(*recipients: RecipientState, header: bytes = HEADER, sender: str = "alice@example.test") -> SentMessage:
    return SentMessage("01trace", sender, recipients, NOW - 1000, NOW + 1000, header)


def state(outcome: Outcome | None, notify: str = "", **more: object) -> RecipientState:
    return RecipientState("bob@remote.test", outcome, notify, status="5.1.1", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("notify", "failure", "delay", "success"),
    [
        ("", True, True, False),
        ("NEVER", False, False, False),
        ("SUCCESS", False, False, True),
        ("FAILURE", True, False, False),
        ("DELAY", False, True, False),
        ("SUCCESS,FAILURE", True, False, True),
        ("success,failure,delay", True, True, True),
    ],
)
def test_notify_decides_for_each_recipient(notify: str, failure: bool, delay: bool, success: bool) -> None:
    for outcome, kind, wanted in (
        (F, NoticeKind.FAILURE, failure),
        (W, NoticeKind.DELAY, delay),
        (D, NoticeKind.SUCCESS, success),
    ):
        due = notices_due(message(state(outcome, notify)), NOW, NOW)
        assert [plan.kind for plan in due.plans] == ([kind] if wanted else [])
        assert due.settled == (frozenset() if outcome is W else {"bob@remote.test"})
        assert not due.untold


def test_failures_of_one_attempt_are_one_notice_and_delays_another() -> None:
    rows = [RecipientState(f"{n}@remote.test", outcome) for n, outcome in enumerate((F, F, W, D, None))]
    due = notices_due(message(*rows), NOW, NOW)
    told = {plan.kind: [t.recipient.address for t in plan.told] for plan in due.plans}
    assert told == {
        NoticeKind.FAILURE: ["0@remote.test", "1@remote.test"],
        NoticeKind.DELAY: ["2@remote.test"],
    }
    assert due.delay


def test_what_is_settled_is_never_told_again() -> None:
    due = notices_due(message(state(F, settled=True), state(D, "SUCCESS", settled=True)), NOW, NOW)
    assert due.plans == () and due.settled == frozenset()


def test_a_delay_is_told_once_and_not_before_its_time() -> None:
    waiting = message(state(W))
    assert not notices_due(waiting, NOW, NOW + 1).plans
    assert not notices_due(waiting, NOW, None).plans
    assert notices_due(waiting, NOW, NOW).delay
    told = SentMessage("01trace", "alice@example.test", waiting.recipients, NOW, NOW, HEADER, delay_told=True)
    assert not notices_due(told, NOW, NOW).plans


def test_success_is_relayed_delivered_expanded_or_left_to_the_remote_server() -> None:
    actions = [
        [told.action for plan in notices_due(message(recipient), NOW, None).plans for told in plan.told]
        for recipient in (
            state(D, "SUCCESS"),
            state(D, "SUCCESS", local=True),
            state(D, "SUCCESS", expanded_to=3),
            state(D, "SUCCESS", expanded_to=3, local=True),
            state(D, "SUCCESS", dsn_passed_on=True),
        )
    ]
    assert actions == [[Action.RELAYED], [Action.DELIVERED], [Action.EXPANDED], [Action.DELIVERED], []]


@pytest.mark.parametrize("notify", ["", "FAILURE,SUCCESS,DELAY"])
@pytest.mark.parametrize("outcome", [F, D, W])
def test_the_null_reverse_path_is_never_told(outcome: Outcome, notify: str) -> None:
    due = notices_due(message(state(outcome, notify), sender=""), NOW, NOW)
    assert due.plans == ()
    assert bool(due.untold) == (outcome is F)


def test_a_report_is_not_answered_whatever_its_sender() -> None:
    due = notices_due(message(state(F, "FAILURE"), header=REPORT), NOW, NOW)
    assert due.plans == () and [r.address for r in due.untold] == ["bob@remote.test"]


def test_an_automatic_reply_is_told_only_what_it_asked_for() -> None:
    header = b"Auto-Submitted: auto-replied; owner-email=x@example.test\r\n\r\n"
    assert not notices_due(message(state(F), header=header), NOW, NOW).plans
    assert len(notices_due(message(state(F), header=header), NOW, NOW).untold) == 1
    assert notices_due(message(state(F, "FAILURE"), header=header), NOW, NOW).plans
    assert not notices_due(message(state(F, "NEVER"), header=header), NOW, NOW).untold


def test_a_machine_is_told_of_failures_but_not_of_delays() -> None:
    header = b"Auto-Submitted: auto-generated\r\n\r\n"
    assert notices_due(message(state(F), header=header), NOW, NOW).plans
    assert not notices_due(message(state(W), header=header), NOW, NOW).plans


def test_what_the_header_says() -> None:
    assert is_report(REPORT)
    assert not is_report(HEADER)
    assert not is_report(b"Content-Type: multipart/report; report-type=disposition-notification\r\n\r\n")
    assert [auto_submitted(h) for h in (HEADER, b"Auto-Submitted: NO\r\n\r\n", b"auto-submitted:\r\n\r\n")] == [
        "no"
    ] * 3
