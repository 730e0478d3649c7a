"""Contract of the mailbox tree: CREATE, RENAME, DELETE, SUBSCRIBE, and how they number UIDVALIDITY."""

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.types import NO_MAILBOX, AppendMessage, FlagMode, SpecialUse

from tests.support.contract import MESSAGE, World, key


async def names(world: World) -> list[str]:
    return [m.name for m in (await world.store.read.tree(world.account)).mailboxes]


async def test_new_account_has_the_special_use_mailboxes_and_inbox_first(world: World) -> None:
    tree = await world.store.read.tree(world.account)
    assert [m.name for m in tree.mailboxes] == ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"]
    assert {m.name: m.special_use for m in tree.mailboxes}["Sent"] is SpecialUse.SENT
    assert all(m.uid_next == 1 and m.messages == 0 and m.highest_modseq >= 1 for m in tree.mailboxes)
    assert set(tree.subscribed_names) >= {"INBOX", "Sent"}


async def test_create_makes_missing_parents_and_raises_the_tree_version(world: World) -> None:
    before = (await world.store.read.tree(world.account)).version
    head = await world.store.write.create(world.account, "Work/2026/Übersicht", key=key())
    assert head.name == "Work/2026/Übersicht"
    assert {"Work", "Work/2026", "Work/2026/Übersicht"} <= set(await names(world))
    assert (await world.store.read.tree(world.account)).version > before


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("inbox", RefusedCode.MAILBOX_EXISTS),
        ("Sent", RefusedCode.MAILBOX_EXISTS),
        ("", RefusedCode.BAD_NAME),
        ("a//b", RefusedCode.BAD_NAME),
        ("/a", RefusedCode.BAD_NAME),
        ("a\x00b", RefusedCode.BAD_NAME),
        ("x" * 1001, RefusedCode.BAD_NAME),
    ],
)
async def test_create_refuses(world: World, name: str, code: RefusedCode) -> None:
    with pytest.raises(Refused) as refused:
        await world.store.write.create(world.account, name, key=key())
    assert refused.value.code is code
    assert len(await names(world)) == 6


async def test_create_is_idempotent_by_key(world: World) -> None:
    k = key()
    first = await world.store.write.create(world.account, "Once", key=k)
    again = await world.store.write.create(world.account, "Once", key=k)
    assert again.mailbox_id == first.mailbox_id
    with pytest.raises(Refused) as refused:
        await world.store.write.create(world.account, "Once", key=key())
    assert refused.value.code is RefusedCode.MAILBOX_EXISTS


async def test_a_name_used_again_gets_a_higher_uid_validity(world: World) -> None:
    seen = []
    for _ in range(3):
        seen.append((await world.store.write.create(world.account, "Again", key=key())).uid_validity)
        await world.store.write.delete(world.account, "Again", key=key())
    assert seen == sorted(set(seen))
    assert "Again" not in await names(world)


async def test_rename_takes_children_along_and_keeps_uid_validity(world: World) -> None:
    head = await world.store.write.create(world.account, "A/b/c", key=key())
    await world.store.write.append(world.account, "A/b/c", [AppendMessage(MESSAGE)], key=key())
    await world.store.write.create(world.account, "Ab", key=key())
    await world.store.write.rename(world.account, "A", "Z/y", key=key())
    assert {"Z", "Z/y", "Z/y/b", "Z/y/b/c", "Ab"} <= set(await names(world))
    assert not {"A", "A/b", "A/b/c"} & set(await names(world))
    moved = await world.store.read.head(world.account, "Z/y/b/c")
    assert (moved.mailbox_id, moved.uid_validity, moved.messages) == (head.mailbox_id, head.uid_validity, 1)


async def test_rename_of_inbox_moves_its_messages_and_leaves_an_empty_inbox(world: World) -> None:
    inbox = await world.store.read.head(world.account, "INBOX")
    await world.store.write.append(world.account, "INBOX", [AppendMessage(MESSAGE, ("\\Seen", "$x"))], key=key())
    await world.store.write.rename(world.account, "INBOX", "Old", key=key())
    old = await world.store.read.head(world.account, "Old")
    now = await world.store.read.head(world.account, "INBOX")
    assert (old.messages, now.messages) == (1, 0)
    assert now.mailbox_id == inbox.mailbox_id
    changes = await world.store.read.changes(world.account, old.mailbox_id, 0)
    assert set(changes.head.flag_table.names(changes.changed.words(0))) == {"\\Seen", "$x"}


async def test_rename_refuses_a_taken_name_and_a_child_of_itself(world: World) -> None:
    await world.store.write.create(world.account, "A", key=key())
    for target, code in (("Sent", RefusedCode.MAILBOX_EXISTS), ("A/b", RefusedCode.BAD_NAME)):
        with pytest.raises(Refused) as refused:
            await world.store.write.rename(world.account, "A", target, key=key())
        assert refused.value.code is code
    with pytest.raises(Refused) as refused:
        await world.store.write.rename(world.account, "Nowhere", "B", key=key())
    assert refused.value.code is RefusedCode.NO_MAILBOX


async def test_delete_refuses_inbox_and_parents_and_frees_the_usage(world: World) -> None:
    await world.store.write.create(world.account, "P/c", key=key())
    for name, code in (
        ("INBOX", RefusedCode.INBOX_FIXED),
        ("P", RefusedCode.HAS_CHILDREN),
        ("Nowhere", RefusedCode.NO_MAILBOX),
    ):
        with pytest.raises(Refused) as refused:
            await world.store.write.delete(world.account, name, key=key())
        assert refused.value.code is code
    await world.store.write.append(world.account, "P/c", [AppendMessage(MESSAGE)], key=key())
    used = await world.usage()
    await world.store.write.delete(world.account, "P/c", key=key())
    assert await world.usage() == used - len(MESSAGE)


async def test_a_deleted_mailbox_is_gone_for_every_call(world: World) -> None:
    head = await world.store.write.create(world.account, "Gone", key=key())
    await world.store.write.delete(world.account, "Gone", key=key())
    assert await world.store.read.poll([(world.account, head.mailbox_id, 0)]) == [(head.mailbox_id, -1)]
    for call in (
        world.store.read.changes(world.account, head.mailbox_id, 0),
        world.store.write.store_flags(world.account, head.mailbox_id, [1], FlagMode.ADD, ["\\Seen"], key=key()),
        world.store.write.expunge(world.account, head.mailbox_id, None, key=key()),
        world.store.write.copy(world.account, head.mailbox_id, [1], "INBOX", key=key()),
        world.store.write.append(world.account, "Gone", [AppendMessage(MESSAGE)], key=key()),
        world.store.read.head(world.account, "Gone"),
    ):
        with pytest.raises(Refused) as refused:
            await call
        assert refused.value.code is RefusedCode.NO_MAILBOX


async def test_subscriptions_are_names_that_need_not_exist(world: World) -> None:
    await world.store.write.subscribe(world.account, "Not/There", True, key=key())
    await world.store.write.subscribe(world.account, "Junk", False, key=key())
    tree = await world.store.read.tree(world.account)
    assert "Not/There" in tree.subscribed_names
    assert "Junk" not in tree.subscribed_names
    assert {m.name: m.subscribed for m in tree.mailboxes}["Junk"] is False


async def test_special_use_is_kept_and_given_once(world: World) -> None:
    with pytest.raises(Refused) as refused:
        await world.store.write.create(world.account, "Outbox", key=key(), special_use=SpecialUse.SENT)
    assert refused.value.code is RefusedCode.SPECIAL_USE
    head = await world.store.write.create(world.account, "Starred", key=key(), special_use=SpecialUse.FLAGGED)
    assert head.special_use is SpecialUse.FLAGGED


async def test_news_of_every_change_of_the_tree_follow_its_commit(world: World) -> None:
    write, account = world.store.write, world.account
    await write.create(account, "one/two", key=key())
    await write.rename(account, "one", "other", key=key())
    await write.subscribe(account, "nowhere", True, key=key())
    await write.delete(account, "other/two", key=key())
    told: list[int] = []
    gone = 0
    while len(told) < 4 or not gone:
        event = await world.next_event()
        assert event.account_id == account
        gone += event.deleted
        if event.tree_version:
            assert event.mailbox_id == NO_MAILBOX
            told.append(event.tree_version)
    assert told == sorted(set(told))
    assert told[-1] == (await world.store.read.tree(account)).version
