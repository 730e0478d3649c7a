"""Contract of REPLACE: one message for another, in one step or not at all."""

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.types import AppendMessage, FlagMode, MailboxId, ReplaceResult

from tests.support.contract import MESSAGE, World, key

LONGER = MESSAGE + b"And more.\r\n"


async def replace(
    world: World, mailbox_id: MailboxId, uid: int, target: str, content: bytes = LONGER, *flags: str
) -> ReplaceResult:
    message = AppendMessage(content, flags, 5_000)
    return await world.store.write.replace(world.account, mailbox_id, uid, target, message, key=key())


async def test_within_a_mailbox_one_delta_tells_both(world: World) -> None:
    await world.fill("INBOX", 3)
    head = (await world.inbox()).head
    result = await replace(world, head.mailbox_id, 2, "INBOX", LONGER, "\\Seen", "$Draft")
    assert (result.uid, result.uid_validity, result.source) == (4, head.uid_validity, None)
    assert result.target.modseq_before == head.highest_modseq
    assert list(result.target.vanished) == [2]
    assert list(result.target.changed.uids) == [4]
    changes = await world.store.read.changes(world.account, head.mailbox_id, head.highest_modseq)
    assert changes.head.highest_modseq == result.target.modseq_after
    assert (list(changes.vanished), list(changes.changed.uids)) == ([2], [4])
    assert changes.head.flag_table.names(changes.changed.words(0)) == ["\\Seen", "$Draft"]
    assert (changes.changed.internal_dates[0], changes.changed.sizes[0]) == (5_000, len(LONGER))
    assert (changes.head.messages, changes.head.unseen, changes.head.uid_next) == (3, 2, 5)
    assert await world.store.read.contents(world.account, [changes.changed.body_id(0)], 1 << 20) == [LONGER]
    assert await world.usage() == changes.head.size == 2 * len(MESSAGE) + len(LONGER)


async def test_to_another_mailbox_each_has_its_delta(world: World) -> None:
    await world.fill("Drafts", 2)
    drafts = await world.store.read.head(world.account, "Drafts")
    sent = await world.store.read.head(world.account, "Sent")
    result = await replace(world, drafts.mailbox_id, 1, "Sent", MESSAGE, "$Forwarded")
    assert (result.uid, result.uid_validity) == (1, sent.uid_validity)
    assert result.source is not None
    assert (result.source.mailbox_id, list(result.source.vanished)) == (drafts.mailbox_id, [1])
    assert (result.target.mailbox_id, list(result.target.changed.uids)) == (sent.mailbox_id, [1])
    assert (list(result.source.changed.uids), list(result.target.vanished)) == ([], [])
    assert {(await world.next_event()).mailbox_id for _ in range(3)} == {drafts.mailbox_id, sent.mailbox_id}
    assert (await world.store.read.head(world.account, "Drafts")).messages == 1
    assert (await world.store.read.head(world.account, "Sent")).flag_table.keywords == ("$Forwarded",)


async def test_over_pages_and_again_and_again(world: World) -> None:
    await world.fill("INBOX", 290)
    mailbox_id = (await world.inbox()).head.mailbox_id
    for uid in (1, 255, 256, 257, 290, *range(291, 325)):
        await replace(world, mailbox_id, uid, "INBOX", MESSAGE)
    changes = await world.inbox()
    gone = {1, 255, 256, 257, 290, *range(291, 325)}
    assert list(changes.changed.uids) == [uid for uid in range(1, 330) if uid not in gone]
    assert (changes.head.messages, changes.head.uid_next) == (290, 330)
    assert await world.usage() == changes.head.size == 290 * len(MESSAGE)


@pytest.mark.parametrize(
    ("uid", "target", "flags", "code"),
    [
        (9, "INBOX", (), RefusedCode.NO_MESSAGE),
        (1, "INBOX", (), RefusedCode.NO_MESSAGE),
        (2, "Nowhere", (), RefusedCode.NO_MAILBOX),
        (2, "Archive", ("\\Unknown",), RefusedCode.INVALID),
    ],
)
async def test_a_refusal_leaves_both_mailboxes_as_they_are(
    world: World, uid: int, target: str, flags: tuple[str, ...], code: RefusedCode
) -> None:
    await world.fill("INBOX", 2)
    mailbox_id = (await world.inbox()).head.mailbox_id
    await world.store.write.expunge(world.account, mailbox_id, [1], key=key(), only_deleted=False)
    before = await world.store.read.tree(world.account)
    with pytest.raises(Refused) as refused:
        await replace(world, mailbox_id, uid, target, LONGER, *flags)
    assert refused.value.code is code
    assert await world.store.read.tree(world.account) == before
    assert await world.usage() == len(MESSAGE)


async def test_a_source_that_is_gone_is_no_mailbox(world: World) -> None:
    gone = await world.store.write.create(world.account, "gone", key=key())
    await world.fill("gone", 1)
    await world.store.write.delete(world.account, "gone", key=key())
    with pytest.raises(Refused) as refused:
        await replace(world, gone.mailbox_id, 1, "INBOX")
    assert refused.value.code is RefusedCode.NO_MAILBOX
    other = await world.new_account()
    head = await world.store.read.head(other, "INBOX")
    with pytest.raises(Refused):
        await replace(world, head.mailbox_id, 1, "INBOX")


async def test_quota_is_judged_on_the_difference(world: World) -> None:
    world.account = await world.new_account(quota=len(MESSAGE) + 5)
    await world.fill("INBOX", 1)
    mailbox_id = (await world.inbox()).head.mailbox_id
    with pytest.raises(Refused) as refused:
        await replace(world, mailbox_id, 1, "INBOX", MESSAGE + b"123456")
    assert refused.value.code is RefusedCode.OVER_QUOTA
    assert list((await world.inbox()).changed.uids) == [1]
    await replace(world, mailbox_id, 1, "INBOX", MESSAGE + b"12345")
    await replace(world, mailbox_id, 2, "Archive", MESSAGE + b"54321")
    await replace(world, (await world.store.read.head(world.account, "Archive")).mailbox_id, 1, "INBOX", b"x")
    assert await world.usage() == 1


@pytest.mark.parametrize("target", ["INBOX", "Archive"])
async def test_a_repeat_has_no_second_effect(world: World, target: str) -> None:
    await world.fill("INBOX", 2)
    mailbox_id, once = (await world.inbox()).head.mailbox_id, key()
    message = AppendMessage(LONGER)
    first, second = [
        await world.store.write.replace(world.account, mailbox_id, 1, target, message, key=once) for _ in "12"
    ]
    assert (second.uid, second.uid_validity) == (first.uid, first.uid_validity)
    assert second.target.modseq_before == 0, "no view may apply a repeat's delta"
    assert (second.source is None) == (first.source is None) == (target == "INBOX")
    assert second.target.mailbox_id == first.target.mailbox_id
    assert sum(head.messages for head in (await world.store.read.tree(world.account)).mailboxes) == 2
    assert await world.usage() == len(MESSAGE) + len(LONGER)


async def test_flags_set_on_the_old_message_go_with_it(world: World) -> None:
    await world.fill("INBOX", 1)
    head = (await world.inbox()).head
    await world.store.write.store_flags(world.account, head.mailbox_id, [1], FlagMode.ADD, ["\\Deleted"], key=key())
    await replace(world, head.mailbox_id, 1, "INBOX")
    head = (await world.inbox()).head
    assert (head.deleted, head.unseen, head.messages) == (0, 1, 1)
