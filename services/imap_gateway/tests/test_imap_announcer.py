"""Traces learn that clients were told of a message, and no client waits for that."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence

import pytest
from imap_gateway import announcer as announcer_module
from imap_gateway.announcer import Announcer
from imap_gateway.blocks import BlockCache
from imap_gateway.view import View
from mailboat_common import metrics
from mailboat_common.errors import Refused, RefusedCode, Unavailable
from mailboat_common.ids import trace_id
from mailboat_store_client.types import AccountId, Announcement, BodyId, Envelope, EnvelopeRecipient, MailboxId

from tests.support.imap import ALICE, PASSWORD, Client, MemoryStore, Running, imap_gateway

MESSAGE = b"From: b@c.example\r\nSubject: s\r\n\r\nHello\r\n"
ACCOUNT, MAILBOX = AccountId(b"a" * 16), MailboxId(b"m" * 16)
NOW = 1_700_000_000_000


def counted(result: str) -> float:
    return metrics.REGISTRY.get_sample_value("mailboat_imap_announcements_total", {"result": result}) or 0.0


class Told:
    """A Trace port that keeps what it is told, or fails."""

    def __init__(self) -> None:
        self.calls: list[list[Announcement]] = []
        self.by: set[str] = set()
        self.error: Exception | None = None

    async def announced(self, announcements: Sequence[Announcement], *, by: str) -> int:
        if self.error is not None:
            raise self.error
        self.calls.append(list(announcements))
        self.by.add(by)
        return len(announcements)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def announcer(told: Told) -> Announcer:
    return Announcer(told, lambda: NOW * 1_000_000)


def view_of(count: int, *, first: int = 1, copied: Sequence[int] = ()) -> View:
    """A mailbox with messages of rising UIDs; those in `copied` came from elsewhere."""
    view = View(ACCOUNT, MAILBOX, BlockCache(1 << 20))
    for uid in range(first, first + count):
        view.uids.append(uid)
        view.internal_dates.append(NOW - uid)
        view.save_dates.append(NOW - uid + (uid in copied))
        view.body_ids += uid.to_bytes(16, "big")
    return view


async def test_each_message_is_told_once_with_the_number_of_its_sessions(announcer: Announcer, told: Told) -> None:
    view = view_of(3)
    for known in (1, 2, 1, 3):
        announcer.told(view, known)
    await announcer.flush()
    await announcer.flush()
    ((two, three),) = told.calls
    assert two == Announcement(ACCOUNT, MAILBOX, 2, BodyId((2).to_bytes(16, "big")), NOW, 2)
    assert (three.uid, three.sessions) == (3, 3)
    assert len(told.by) == 1


async def test_what_was_copied_or_moved_here_is_no_news_to_a_trace(announcer: Announcer, told: Told) -> None:
    announcer.told(view_of(4, copied=(1, 3)), 0)
    await announcer.flush()
    assert [one.uid for call in told.calls for one in call] == [2, 4]


async def test_a_call_takes_a_thousand(announcer: Announcer, told: Told) -> None:
    announcer.told(view_of(2001), 0)
    await announcer.flush()
    assert [len(call) for call in told.calls] == [1000, 1000, 1]


async def test_too_much_at_once_is_dropped_and_counted(
    announcer: Announcer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer_module, "LIMIT", 10)
    dropped, sent = counted("dropped"), counted("sent")
    announcer.told(view_of(25), 0)
    announcer.told(view_of(3, first=26), 0)
    await announcer.flush()
    assert [one.uid for call in told.calls for one in call] == list(range(16, 26))
    assert (counted("dropped") - dropped, counted("sent") - sent) == (15 + 3, 10)
    announcer.told(view_of(1, first=29), 0)
    await announcer.flush()
    assert [one.uid for one in told.calls[-1]] == [29], "there is room again"


@pytest.mark.parametrize(
    "error",
    [Unavailable("gone fishing"), Refused(RefusedCode.INVALID, "no"), TimeoutError()],
    ids=lambda e: type(e).__name__,
)
async def test_a_store_that_is_away_costs_the_announcements_alone(
    announcer: Announcer, told: Told, error: Exception
) -> None:
    told.error = error
    dropped = counted("dropped")
    announcer.told(view_of(1500), 0)
    await announcer.flush()
    assert counted("dropped") - dropped == 1500
    told.error = None
    announcer.told(view_of(1, first=2000), 0)
    await announcer.flush()
    assert [len(call) for call in told.calls] == [1]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    store = MemoryStore()
    store.add_account(ALICE, PASSWORD)
    async with imap_gateway(store) as made:
        yield made


async def deliver(running: Running) -> str:
    """A message for alice; its trace id."""
    mail = Envelope(
        trace_id(),
        "b@c.example",
        (EnvelopeRecipient(ALICE, running.store.addresses[ALICE]),),
        hashlib.sha256(MESSAGE).digest(),
    )
    running.store.confirmed.update(running.store.traces.values())
    await running.store.delivery.deliver(mail, MESSAGE)
    return mail.trace_id


async def idle(client: Client) -> None:
    client.send(b"i IDLE\r\n")
    assert (await client.response()).startswith(b"+")


async def test_sessions_in_idle_and_notify_and_between_commands_are_counted(running: Running) -> None:
    first, second, third = [await running.session("INBOX") for _ in range(3)]
    await idle(first)
    await second.ok("NOTIFY SET (SELECTED (MessageNew MessageExpunge))")
    one = await deliver(running)
    await first.until(b"* 1 EXISTS")
    await second.until(b"* 1 EXISTS")
    await running.gateway.announcer.flush()
    await third.ok("NOOP")
    await running.gateway.announcer.flush()
    found = running.store.trace.announcements
    assert [(trace, told.uid, told.sessions) for trace, told, _by in found] == [(one, 1, 2), (one, 1, 1)]


async def test_select_and_what_the_session_uploaded_are_no_announcements(running: Running) -> None:
    await deliver(running)
    client = await running.session("INBOX")
    await client.append("INBOX", MESSAGE)
    await client.ok("COPY 1 INBOX")
    await running.gateway.announcer.flush()
    assert running.store.trace.announcements == []
