"""Contract of messages: APPEND, STORE, EXPUNGE, COPY, MOVE, what a view reads of them, and repeats by key."""

from array import array

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_mime import SortKeys
from mailboat_store_client.types import AppendMessage, BodyField, FlagMode, Vanished

from tests.support.contract import MESSAGE, World, key


async def test_append_numbers_messages_in_order_under_one_modseq(world: World) -> None:
    head = await world.store.read.head(world.account, "INBOX")
    result = await world.store.write.append(
        world.account,
        "INBOX",
        [AppendMessage(MESSAGE, ("\\Seen",), 1_000), AppendMessage(MESSAGE + b"two\r\n")],
        key=key(),
    )
    assert result.uids == (1, 2)
    assert result.uid_validity == head.uid_validity
    assert result.delta.modseq_before == head.highest_modseq
    changes = await world.store.read.changes(world.account, head.mailbox_id, 0)
    assert list(changes.changed.uids) == [1, 2]
    assert set(changes.changed.modseqs) == {result.delta.modseq_after} == {changes.head.highest_modseq}
    assert list(changes.changed.sizes) == [len(MESSAGE), len(MESSAGE) + 5]
    assert changes.changed.internal_dates[0] == 1_000
    assert (changes.head.messages, changes.head.unseen, changes.head.uid_next) == (2, 1, 3)
    assert changes.head.size == 2 * len(MESSAGE) + 5 == await world.usage()


async def test_content_is_kept_to_the_byte_and_read_by_range(world: World) -> None:
    content = MESSAGE + bytes(range(256)) * 1200
    await world.store.write.append(world.account, "INBOX", [AppendMessage(content), AppendMessage(MESSAGE)], key=key())
    rows = (await world.inbox()).changed
    big, small = rows.body_id(0), rows.body_id(1)
    assert await world.store.read.contents(world.account, [small, big], 1 << 30) == [MESSAGE, content]
    assert await world.store.read.contents(world.account, [big, small], 10) == [content]
    for offset, length in ((0, None), (5, 10), (65530, 20), (len(content) - 3, 100), (len(content) + 5, 1), (0, 0)):
        got = b"".join([c async for c in world.store.read.read(world.account, big, offset, length)])
        assert got == content[offset : None if length is None else offset + length]


async def test_body_infos_are_rendered_and_a_stranger_sees_none(world: World) -> None:
    await world.store.write.append(world.account, "INBOX", [AppendMessage(MESSAGE)], key=key())
    body_id = (await world.inbox()).changed.body_id(0)
    wanted = BodyField.HEADER | BodyField.ENVELOPE | BodyField.BODYSTRUCTURE | BodyField.BODY | BodyField.STRUCTURE
    wanted |= BodyField.SORT_KEYS
    (info,) = await world.store.read.body_infos(world.account, [body_id], wanted)
    assert info is not None
    assert info.size == len(MESSAGE)
    assert info.header == MESSAGE[: info.header_size]
    assert info.envelope is not None
    assert b'"Hello"' in info.envelope
    assert info.bodystructure is not None
    assert info.bodystructure.upper().startswith(b'("TEXT" "PLAIN"')
    assert info.sort_keys == SortKeys.of(info.header).to_bytes()
    assert info.preview is None
    other = await world.new_account()
    assert await world.store.read.body_infos(other, [body_id], BodyField.NONE) == [None]
    assert await world.store.read.contents(other, [body_id], 1000) == [None]
    with pytest.raises(Refused) as refused:
        [c async for c in world.store.read.read(other, body_id)]
    assert refused.value.code is RefusedCode.NO_MESSAGE


async def test_a_conversation_is_one_thread_and_copies_stay_in_it(world: World) -> None:
    reply = MESSAGE.replace(b"Message-ID: <1@", b"Message-ID: <2@").replace(
        b"Subject", b"In-Reply-To: <1@elsewhere.example>\r\nSubject"
    )
    alone = b"Subject: no ids\r\n\r\n"
    messages = [AppendMessage(each) for each in (MESSAGE, reply, alone, alone)]
    await world.store.write.append(world.account, "INBOX", messages, key=key())
    inbox = await world.inbox()
    await world.store.write.copy(world.account, inbox.head.mailbox_id, [2], "INBOX", key=key())
    rows = (await world.inbox()).changed
    ids = [rows.body_id(row) for row in range(5)]
    assert ids[4] == ids[1]
    infos = await world.store.read.body_infos(world.account, ids, BodyField.THREAD | BodyField.PREVIEW)
    first, second, third, fourth, copied = [
        info.thread for info in infos if info is not None and info.preview is not None
    ]
    assert first == second == copied
    assert len({first, third, fourth}) == 3
    assert {len(thread or b"") for thread in (first, third, fourth)} == {16}


async def test_append_is_all_or_nothing_over_quota(world: World) -> None:
    account = await world.new_account(quota=len(MESSAGE) * 2)
    with pytest.raises(Refused) as refused:
        await world.store.write.append(account, "INBOX", [AppendMessage(MESSAGE)] * 3, key=key())
    assert refused.value.code is RefusedCode.OVER_QUOTA
    assert (await world.store.read.head(account, "INBOX")).messages == 0
    await world.store.write.append(account, "INBOX", [AppendMessage(MESSAGE)] * 2, key=key())
    assert (await world.store.read.head(account, "INBOX")).messages == 2


async def test_repeats_have_no_second_effect_and_give_the_first_result(world: World) -> None:
    k1, k2, k3, k4 = key(), key(), key(), key()
    mailbox_id = (await world.store.read.head(world.account, "INBOX")).mailbox_id
    appended = [await world.store.write.append(world.account, "INBOX", [AppendMessage(MESSAGE)], key=k1) for _ in "12"]
    assert appended[0].uids == appended[1].uids == (1,)
    assert appended[1].delta.modseq_before == 0, "no view may apply a repeat's delta"
    await world.store.write.append(world.account, "INBOX", [AppendMessage(MESSAGE)], key=key())
    copies = [await world.store.write.copy(world.account, mailbox_id, [1, 2], "Archive", key=k2) for _ in "12"]
    assert copies[0].target_uids == copies[1].target_uids == (1, 2)
    for _ in "12":
        await world.store.write.store_flags(world.account, mailbox_id, [1], FlagMode.ADD, ["\\Deleted"], key=k3)
    head = (await world.inbox()).head
    for _ in "12":
        await world.store.write.expunge(world.account, mailbox_id, None, key=k4)
    changes = await world.inbox()
    assert list(changes.changed.uids) == [2]
    assert changes.head.highest_modseq == head.highest_modseq + 1
    assert (await world.store.read.head(world.account, "Archive")).messages == 2
    assert await world.usage() == 3 * len(MESSAGE)


async def test_store_adds_removes_replaces_and_counts(world: World) -> None:
    await world.fill("INBOX", 5)
    mailbox_id = (await world.inbox()).head.mailbox_id

    async def store(uids: list[int], mode: FlagMode, *flags: str) -> list[int]:
        result = await world.store.write.store_flags(world.account, mailbox_id, uids, mode, flags, key=key())
        return list(result.delta.changed.uids)

    async def flags(uid: int) -> set[str]:
        changes = await world.inbox()
        return set(changes.head.flag_table.names(changes.changed.words(list(changes.changed.uids).index(uid))))

    assert await store([1, 2, 99], FlagMode.ADD, "\\Seen", "$Work") == [1, 2]
    assert await store([2, 3], FlagMode.ADD, "\\seen", "$work") == [3], (
        "names compare in any case; no change, no modseq"
    )
    assert await store([1], FlagMode.REMOVE, "\\Seen", "NeverSeen") == [1]
    assert await store([2], FlagMode.REPLACE, "\\Flagged", "\\Deleted", "Other") == [2]
    assert [await flags(uid) for uid in (1, 2, 3, 4)] == [
        {"$Work"},
        {"\\Flagged", "\\Deleted", "Other"},
        {"\\Seen", "$Work"},
        set(),
    ]
    head = (await world.inbox()).head
    assert (head.unseen, head.deleted) == (4, 1)
    assert head.flag_table.keywords[0] == "$Work"
    assert "NeverSeen" not in head.flag_table.keywords


async def test_store_unchanged_since_leaves_newer_rows_alone(world: World) -> None:
    await world.fill("INBOX", 3)
    head = (await world.inbox()).head
    await world.store.write.store_flags(world.account, head.mailbox_id, [2], FlagMode.ADD, ["\\Seen"], key=key())
    result = await world.store.write.store_flags(
        world.account,
        head.mailbox_id,
        [1, 2, 3],
        FlagMode.ADD,
        ["\\Flagged"],
        key=key(),
        unchanged_since=head.highest_modseq,
    )
    assert result.modified == (2,)
    assert list(result.delta.changed.uids) == [1, 3]


async def test_keywords_end_at_250_and_never_change_their_bit(world: World) -> None:
    await world.fill("INBOX", 2)
    mailbox_id = (await world.inbox()).head.mailbox_id
    for start in range(0, 250, 50):
        words = [f"k{i}" for i in range(start, start + 50)]
        await world.store.write.store_flags(world.account, mailbox_id, [1], FlagMode.ADD, words, key=key())
    before = await world.inbox()
    assert before.head.flag_table.full
    assert before.head.flag_table.names(before.changed.words(0)) == [f"k{i}" for i in range(250)]
    with pytest.raises(Refused) as refused:
        await world.store.write.store_flags(world.account, mailbox_id, [2], FlagMode.ADD, ["k3", "one-more"], key=key())
    assert refused.value.code is RefusedCode.LIMIT
    await world.store.write.store_flags(world.account, mailbox_id, [1], FlagMode.REPLACE, ["k249"], key=key())
    after = await world.inbox()
    assert after.head.flag_table.keywords == before.head.flag_table.keywords
    assert after.head.flag_table.names(after.changed.words(0)) == ["k249"]
    assert after.head.flag_table.names(after.changed.words(1)) == []


async def test_expunge_takes_only_deleted_of_the_uids_named(world: World) -> None:
    await world.fill("INBOX", 6)
    head = (await world.inbox()).head
    await world.store.write.store_flags(
        world.account, head.mailbox_id, [2, 3, 5], FlagMode.ADD, ["\\Deleted"], key=key()
    )
    synced = (await world.inbox()).head.highest_modseq
    some = await world.store.write.expunge(world.account, head.mailbox_id, [1, 2, 77], key=key())
    assert list(some.vanished) == [2]
    rest = await world.store.write.expunge(world.account, head.mailbox_id, None, key=key())
    assert list(rest.vanished) == [3, 5]
    popped = await world.store.write.expunge(world.account, head.mailbox_id, [1], key=key(), only_deleted=False)
    assert list(popped.vanished) == [1]
    changes = await world.store.read.changes(world.account, head.mailbox_id, synced)
    assert list(changes.vanished) == [1, 2, 3, 5]
    assert len(changes.changed) == 0
    assert (changes.head.messages, changes.head.deleted, changes.head.uid_next) == (2, 0, 7)
    nothing = await world.store.write.expunge(world.account, head.mailbox_id, None, key=key())
    assert nothing.modseq_after == nothing.modseq_before == changes.head.highest_modseq
    assert await world.usage() == 2 * len(MESSAGE)


async def test_changes_since_gives_exactly_what_happened_after(world: World) -> None:
    await world.fill("INBOX", 700)
    head = (await world.inbox()).head
    await world.store.write.store_flags(
        world.account, head.mailbox_id, [1, 300, 700], FlagMode.ADD, ["\\Seen"], key=key()
    )
    await world.store.write.expunge(world.account, head.mailbox_id, [2, 257, 699], key=key(), only_deleted=False)
    await world.fill("INBOX", 2)
    changes = await world.store.read.changes(world.account, head.mailbox_id, head.highest_modseq)
    assert list(changes.changed.uids) == [1, 300, 700, 701, 702]
    assert changes.vanished == array("I", [2, 257, 699])
    assert not changes.floor_reached
    whole = await world.inbox()
    assert list(whole.changed.uids) == [u for u in range(1, 703) if u not in (2, 257, 699)]
    assert len(whole.vanished) == 0
    modseqs = list(whole.changed.modseqs)
    assert max(modseqs) <= whole.head.highest_modseq
    empty = await world.store.read.changes(world.account, head.mailbox_id, whole.head.highest_modseq)
    assert (len(empty.changed), len(empty.vanished)) == (0, 0)


async def test_vanished_since_names_what_was_removed_after(world: World) -> None:
    await world.fill("INBOX", 300)
    head = (await world.inbox()).head
    write = world.store.write
    await write.expunge(world.account, head.mailbox_id, [1, 2, 3, 299], key=key(), only_deleted=False)
    between = (await world.inbox()).head.highest_modseq
    await write.expunge(world.account, head.mailbox_id, [4, 298, 300], key=key(), only_deleted=False)
    last = (await world.inbox()).head.highest_modseq
    everything = await world.store.read.vanished(world.account, head.mailbox_id, head.highest_modseq)
    assert everything == Vanished(last, ((1, 4), (298, 300)))
    later = await world.store.read.vanished(world.account, head.mailbox_id, between)
    assert later == Vanished(last, ((4, 4), (298, 298), (300, 300)))
    for future in (last, last + 5):
        assert await world.store.read.vanished(world.account, head.mailbox_id, future) == Vanished(last, ())
    await write.create(world.account, "Gone", key=key())
    gone = (await world.store.read.head(world.account, "Gone")).mailbox_id
    await write.delete(world.account, "Gone", key=key())
    with pytest.raises(Refused) as refused:
        await world.store.read.vanished(world.account, gone, 1)
    assert refused.value.code is RefusedCode.NO_MAILBOX


async def test_copy_keeps_flags_by_name_and_dates(world: World) -> None:
    await world.store.write.create(world.account, "T", key=key())
    await world.store.write.append(world.account, "T", [AppendMessage(MESSAGE, ("zero", "one"))], key=key())
    await world.store.write.append(
        world.account,
        "INBOX",
        [AppendMessage(MESSAGE, ("one", "\\Answered"), 5_000), AppendMessage(MESSAGE)],
        key=key(),
    )
    inbox = await world.inbox()
    result = await world.store.write.copy(world.account, inbox.head.mailbox_id, [1, 2, 40], "T", key=key())
    assert (result.source_uids, result.target_uids) == ((1, 2), (2, 3))
    head = await world.store.read.head(world.account, "T")
    assert result.uid_validity == head.uid_validity
    rows = (await world.store.read.changes(world.account, head.mailbox_id, 0)).changed
    assert set(head.flag_table.names(rows.words(1))) == {"one", "\\Answered"}
    assert rows.internal_dates[1] == 5_000
    assert rows.body_id(1) == inbox.changed.body_id(0)
    assert await world.usage() == 5 * len(MESSAGE)
    with pytest.raises(Refused) as refused:
        await world.store.write.copy(world.account, inbox.head.mailbox_id, [1], "Nowhere", key=key())
    assert refused.value.code is RefusedCode.NO_MAILBOX


async def test_move_takes_from_one_and_gives_to_the_other_at_once(world: World) -> None:
    await world.fill("INBOX", 300)
    inbox = await world.inbox()
    result = await world.store.write.move(
        world.account, inbox.head.mailbox_id, list(range(10, 290)), "Archive", key=key()
    )
    assert result.source_uids == tuple(range(10, 290))
    assert result.target_uids == tuple(range(1, 281))
    assert result.source is not None
    assert list(result.source.vanished) == list(range(10, 290))
    assert (await world.inbox()).head.messages == 20
    assert (await world.store.read.head(world.account, "Archive")).messages == 280
    assert await world.usage() == 300 * len(MESSAGE)


async def test_copy_and_move_into_the_same_mailbox(world: World) -> None:
    await world.fill("INBOX", 2)
    inbox = await world.inbox()
    copied = await world.store.write.copy(world.account, inbox.head.mailbox_id, [1], "INBOX", key=key())
    assert copied.target_uids == (3,)
    moved = await world.store.write.move(world.account, inbox.head.mailbox_id, [2], "INBOX", key=key())
    assert moved.target_uids == (4,)
    after = await world.store.read.changes(world.account, inbox.head.mailbox_id, inbox.head.highest_modseq)
    assert list(after.changed.uids) == [3, 4]
    assert list(after.vanished) == [2]


async def test_copy_over_quota_changes_nothing(world: World) -> None:
    account = await world.new_account(quota=3 * len(MESSAGE))
    await world.store.write.append(account, "INBOX", [AppendMessage(MESSAGE)] * 2, key=key())
    head = await world.store.read.head(account, "INBOX")
    with pytest.raises(Refused) as refused:
        await world.store.write.copy(account, head.mailbox_id, [1, 2], "Archive", key=key())
    assert refused.value.code is RefusedCode.OVER_QUOTA
    assert (await world.store.read.head(account, "Archive")).messages == 0
    moved = await world.store.write.move(account, head.mailbox_id, [1, 2], "Archive", key=key())
    assert moved.target_uids == (1, 2), "a move needs no room"


async def test_recent_is_claimed_once(world: World) -> None:
    await world.fill("INBOX", 3)
    head = (await world.inbox()).head
    assert head.first_recent == 1
    assert await world.store.write.claim_recent(world.account, head.mailbox_id) == 1
    assert await world.store.write.claim_recent(world.account, head.mailbox_id) == 4
    await world.fill("INBOX", 1)
    after = (await world.inbox()).head
    assert after.first_recent == 4
    assert after.highest_modseq == head.highest_modseq + 1, "claiming changes no modseq"
    assert await world.store.write.claim_recent(world.account, head.mailbox_id) == 4


async def test_poll_names_the_mailboxes_that_moved(world: World) -> None:
    inbox, sent = [await world.store.read.head(world.account, n) for n in ("INBOX", "Sent")]
    await world.fill("INBOX", 1)
    moved = await world.store.read.poll(
        [(world.account, inbox.mailbox_id, inbox.highest_modseq), (world.account, sent.mailbox_id, sent.highest_modseq)]
    )
    assert moved == [(inbox.mailbox_id, inbox.highest_modseq + 1)]


async def test_poll_says_that_an_account_was_disabled(world: World) -> None:
    other = await world.new_account()
    heads = [(each, await world.store.read.head(each, "INBOX")) for each in (world.account, other)]
    wanted = [(account, head.mailbox_id, head.highest_modseq) for account, head in heads]
    assert await world.store.read.poll(wanted) == []
    await world.disable(other)
    assert await world.store.read.poll(wanted) == [(heads[1][1].mailbox_id, -1)]


async def test_news_follow_the_commit(world: World) -> None:
    await world.fill("INBOX", 1)
    head = (await world.inbox()).head
    event = await world.next_event()
    assert (event.account_id, event.mailbox_id, event.modseq) == (world.account, head.mailbox_id, head.highest_modseq)
