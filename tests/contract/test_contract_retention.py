"""Contract of what POP3 retrieved: the days that hold, and the record."""

from __future__ import annotations

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7
from mailboat_store_client.types import AccountId, MailboxId

from tests.support.contract import World, key


async def test_days_are_the_accounts_own_and_the_least_is_everyones(world: World) -> None:
    read = world.store.read
    assert await read.maildrop_retention(world.account) is None
    other = await world.new_account()
    for days in (30, 0, 3650):
        await world.set_retention(world.account, days)
        assert await read.maildrop_retention(world.account) == days
    assert await read.maildrop_retention(other) is None
    await world.set_retention(world.account, 0)
    assert await read.maildrop_retention(None) == 0
    await world.set_retention(world.account, -1)
    assert await read.maildrop_retention(world.account) is None
    assert await read.maildrop_retention(None) is None


async def test_nobody_has_no_days(world: World) -> None:
    with pytest.raises(Refused) as refused:
        await world.store.read.maildrop_retention(AccountId(uuid7()))
    assert refused.value.code is RefusedCode.NO_ACCOUNT


async def test_what_was_retrieved_is_recorded_as_often_as_it_is_told(world: World) -> None:
    await world.fill("INBOX", 40)
    inbox = await world.inbox()
    mailbox_id, k = inbox.head.mailbox_id, key()
    for uids, one in (([1, 2, 40], k), ([1, 2, 40], k), ([2, 3], key()), ([], key())):
        await world.store.write.record_retrieved(world.account, mailbox_id, uids, key=one)
    assert (await world.inbox()).head == inbox.head, "no modseq, nothing that IMAP would see"


async def test_what_never_was_can_not_be_retrieved(world: World) -> None:
    await world.fill("INBOX", 1)
    mailbox_id = (await world.inbox()).head.mailbox_id
    for mailbox, uids, code in (
        (mailbox_id, [1, 2], RefusedCode.INVALID),
        (MailboxId(uuid7()), [1], RefusedCode.NO_MAILBOX),
    ):
        with pytest.raises(Refused) as refused:
            await world.store.write.record_retrieved(world.account, mailbox, uids, key=key())
        assert refused.value.code is code
