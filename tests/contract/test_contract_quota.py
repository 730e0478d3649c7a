"""Contract of quotas: what an account uses and may use, octets and messages, judged by the commit."""

from __future__ import annotations

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.types import (
    AccountId,
    AppendMessage,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    Quota,
    RecipientStatus,
)

from tests.support.contract import MESSAGE, World, key

SIZE = len(MESSAGE)


async def append(world: World, account: AccountId, count: int) -> None:
    await world.store.write.append(account, "INBOX", [AppendMessage(MESSAGE)] * count, key=key())


async def test_an_account_has_usage_and_limits(world: World) -> None:
    assert await world.store.read.quota(world.account) == Quota(0, 0, 0, 0)
    account = await world.new_account(quota=5000, messages=7)
    await append(world, account, 2)
    assert await world.store.read.quota(account) == Quota(2 * SIZE, 5000, 2, 7)
    inbox = (await world.store.read.head(account, "INBOX")).mailbox_id
    await world.store.write.copy(account, inbox, [1, 2], "Sent", key=key())
    await world.store.write.expunge(account, inbox, [1], key=key(), only_deleted=False)
    assert await world.store.read.quota(account) == Quota(3 * SIZE, 5000, 3, 7)
    await world.store.write.create(account, "Gone", key=key())
    await world.store.write.move(account, inbox, [2], "Gone", key=key())
    await world.store.write.delete(account, "Gone", key=key())
    assert await world.store.read.quota(account) == Quota(2 * SIZE, 5000, 2, 7)


async def test_nobody_has_no_quota(world: World) -> None:
    with pytest.raises(Refused) as refused:
        await world.store.read.quota(AccountId(bytes(16)))
    assert refused.value.code is RefusedCode.NO_ACCOUNT


async def test_a_quota_of_messages_counts_in_all_mailboxes(world: World) -> None:
    account = await world.new_account(messages=3)
    with pytest.raises(Refused) as refused:
        await append(world, account, 4)
    assert refused.value.code is RefusedCode.OVER_QUOTA
    assert (await world.store.read.head(account, "INBOX")).messages == 0
    await append(world, account, 2)
    inbox = (await world.store.read.head(account, "INBOX")).mailbox_id
    with pytest.raises(Refused) as refused:
        await world.store.write.copy(account, inbox, [1, 2], "Sent", key=key())
    assert refused.value.code is RefusedCode.OVER_QUOTA
    await world.store.write.copy(account, inbox, [1], "Sent", key=key())
    # MOVE adds none, so it is possible in a full account.
    moved = await world.store.write.move(account, inbox, [1, 2], "Archive", key=key())
    assert moved.source_uids == (1, 2)
    await world.store.write.rename(account, "INBOX", "Old", key=key())
    assert (await world.store.read.quota(account)).messages_used == 3


async def test_mail_for_a_full_account_is_refused_at_rcpt_and_by_the_commit(world: World) -> None:
    account, address = await world.make_account(0, 1)

    async def resolved() -> RecipientStatus:
        return (await world.store.directory.resolve([address]))[0].status

    async def deliver(trace_id: str) -> DeliveryStatus:
        recipient = EnvelopeRecipient(address, account)
        envelope = Envelope(trace_id, "c@elsewhere.example", (recipient,), trace_id.encode().ljust(32))
        return (await world.store.delivery.deliver(envelope, MESSAGE)).recipients[0].status

    assert await deliver("01J0000000000000000000000A") is DeliveryStatus.FILED
    assert await deliver("01J0000000000000000000000B") is DeliveryStatus.OVER_QUOTA
    assert await resolved() is RecipientStatus.OVER_QUOTA
