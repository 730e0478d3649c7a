"""Contract of the Trace port: what clients were told of delivered messages."""

from __future__ import annotations

import hashlib
import time

from mailboat_common.ids import trace_id
from mailboat_store_client.types import Announcement, AppendMessage, BodyId, Envelope, EnvelopeRecipient

from tests.support.contract import MESSAGE, World, key


async def deliver(world: World) -> None:
    recipients = (EnvelopeRecipient(world.address, world.account),)
    mail = Envelope(trace_id(), "s@elsewhere.example", recipients, hashlib.sha256(MESSAGE).digest())
    await world.store.delivery.deliver(mail, MESSAGE)


async def announcements(world: World) -> list[Announcement]:
    """One of each message in INBOX."""
    found = await world.inbox()
    rows, at = found.changed, time.time_ns() // 1_000_000
    return [
        Announcement(world.account, found.head.mailbox_id, rows.uids[row], rows.body_id(row), at, 1)
        for row in range(len(rows))
    ]


async def test_what_was_delivered_has_a_trace_and_what_was_appended_has_none(world: World) -> None:
    await deliver(world)
    await world.store.write.append(world.account, "INBOX", [AppendMessage(MESSAGE)], key=key())
    both = await announcements(world)
    assert len(both) == 2
    assert await world.store.trace.announced(both, by="pod") == 1
    assert await world.store.trace.announced(both[:1], by="pod") == 1
    assert await world.store.trace.announced(both[1:], by="pod") == 0


async def test_nobody_announces_what_belongs_to_another_account_or_isn_t_there(world: World) -> None:
    await deliver(world)
    (one,) = await announcements(world)
    other = await world.new_account()
    foreign = Announcement(other, one.mailbox_id, one.uid, one.body_id, one.at, 1)
    unknown = Announcement(world.account, one.mailbox_id, one.uid, BodyId(bytes(16)), one.at, 1)
    assert await world.store.trace.announced([foreign, unknown], by="pod") == 0
    assert await world.store.trace.announced([], by="pod") == 0


async def test_a_delivered_message_is_as_old_as_its_place_in_the_mailbox(world: World) -> None:
    """By this a gateway tells what may have been delivered from what was copied or brought with a date of its own."""
    await deliver(world)
    old = AppendMessage(MESSAGE, internal_date=1_000_000_000_000)
    await world.store.write.append(world.account, "INBOX", [old], key=key())
    rows = (await world.inbox()).changed
    assert rows.internal_dates[0] == rows.save_dates[0]
    assert rows.internal_dates[1] < rows.save_dates[1]
