"""The shared view: changes and deltas applied in any order lead to what the store holds, and watchers hear of it."""

from __future__ import annotations

import os
import random
from array import array
from collections.abc import Sequence

import pytest
from imap_gateway.blocks import BLOCK_ROWS, BlockCache
from imap_gateway.flagbits import rows_with
from imap_gateway.view import View, words_of
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import (
    DELETED,
    SEEN,
    AccountId,
    AppendMessage,
    Delta,
    FlagMode,
    FlagTable,
    MailboxId,
)


class Ear:
    """A watcher that notes what it hears."""

    def __init__(self) -> None:
        self.gone: list[int] = []
        self.news = 0
        self.ended = False

    def vanished(self, uids: Sequence[int]) -> None:
        self.gone.extend(uids)

    def changed(self) -> None:
        self.news += 1

    def deleted(self) -> None:
        self.ended = True


async def opened(count: int = 5) -> tuple[MemoryStore, AccountId, MailboxId, View]:
    store = MemoryStore()
    account = store.add_account("a@example.test", "password")
    head = await store.read.head(account, "INBOX")
    if count:
        await store.write.append(account, "INBOX", [AppendMessage(b"x: y\r\n\r\n")] * count, key=os.urandom(16))
    view = View(account, head.mailbox_id, BlockCache(1 << 20))
    view.load(await store.read.changes(account, head.mailbox_id, 0))
    return store, account, head.mailbox_id, view


async def same(store: MemoryStore, view: View) -> None:
    """The view equals what the store would load now."""
    fresh = View(view.account_id, view.mailbox_id, BlockCache(1 << 20))
    fresh.load(await store.read.changes(view.account_id, view.mailbox_id, 0))
    for name in ("uids", "modseqs", "flags", "body_ids", "internal_dates", "save_dates", "sizes", "uid_next", "sync"):
        assert getattr(view, name) == getattr(fresh, name), name


@pytest.mark.parametrize("seed", range(6))
async def test_any_history_leads_to_the_stores_state(seed: int) -> None:
    chance = random.Random(seed)
    store, account, mailbox, view = await opened(300)
    for _ in range(40):
        uids = sorted(chance.sample(range(1, view.uid_next), min(view.uid_next - 1, chance.choice([1, 5, 120]))))
        delta: Delta
        match chance.randrange(4):
            case 0:
                delta = (
                    await store.write.append(account, "INBOX", [AppendMessage(b"\r\n", ("K1",))], key=os.urandom(16))
                ).delta
            case 1:
                keyword = f"Key{chance.randrange(80)}"
                delta = (
                    await store.write.store_flags(
                        account, mailbox, uids, FlagMode.ADD, [keyword, "\\Seen"], key=os.urandom(16)
                    )
                ).delta
            case 2:
                delta = (
                    await store.write.store_flags(
                        account, mailbox, range(1, 200), FlagMode.REPLACE, ["\\Draft"], key=os.urandom(16)
                    )
                ).delta
            case _:
                delta = await store.write.expunge(account, mailbox, uids, key=os.urandom(16), only_deleted=False)
        if chance.random() < 0.6:
            joined = view.apply_delta(delta, None)
            assert joined is (delta.modseq_after <= view.sync)
        if chance.random() < 0.3:
            view.apply_changes(await store.read.changes(account, mailbox, view.sync))
    view.apply_changes(await store.read.changes(account, mailbox, view.sync))
    await same(store, view)


async def test_a_delta_that_does_not_join_on_is_refused_and_changes_do_it() -> None:
    store, account, mailbox, view = await opened()
    first = await store.write.store_flags(account, mailbox, [1], FlagMode.ADD, ["\\Seen"], key=os.urandom(16))
    second = await store.write.store_flags(account, mailbox, [2], FlagMode.ADD, ["\\Seen"], key=os.urandom(16))
    assert not view.apply_delta(second.delta, None)
    assert view.apply_delta(first.delta, None)
    assert view.apply_delta(second.delta, None)
    assert view.apply_delta(first.delta, None), "one that is known already needs no question"
    await same(store, view)


async def test_an_answer_overtaken_by_a_delta_is_dropped() -> None:
    store, account, mailbox, view = await opened()
    old = await store.read.changes(account, mailbox, view.sync)
    delta = await store.write.expunge(account, mailbox, [3], key=os.urandom(16), only_deleted=False)
    view.apply_delta(delta, None)
    view.apply_changes(old)
    await same(store, view)


async def test_watchers_hear_of_what_vanished_before_of_news() -> None:
    store, account, mailbox, view = await opened()
    ear = Ear()
    view.watch(ear)
    view.apply_delta(await store.write.expunge(account, mailbox, [2, 4], key=os.urandom(16), only_deleted=False), None)
    assert (ear.gone, ear.news) == ([2, 4], 1)
    view.mark_deleted()
    view.mark_deleted()
    assert ear.ended


async def test_changed_since_leaves_out_ones_own_and_falls_back_to_the_modseqs() -> None:
    store, account, mailbox, view = await opened(10)
    mine, start = Ear(), view.sync

    async def flag(uid: int, origin: Ear | None, number: int) -> None:
        mode = FlagMode.ADD if number % 2 else FlagMode.REMOVE
        result = await store.write.store_flags(account, mailbox, [uid], mode, ["\\Seen"], key=os.urandom(16))
        view.apply_delta(result.delta, origin)

    await flag(1, mine, 1)
    await flag(2, None, 1)
    assert list(view.changed_since(start, mine)) == [2]
    assert list(view.changed_since(start)) == [1, 2]
    assert list(view.changed_since(view.sync)) == []
    for number in range(200):
        await flag(3, mine, number + 1)
    assert list(view.changed_since(start, mine)) == [1, 2, 3], "past the log's end everything newer is told"


async def test_blocks_are_dropped_when_their_rows_change_or_move() -> None:
    store, account, mailbox, view = await opened(3 * BLOCK_ROWS)
    for number in range(3):
        view.blocks.put(number, b"flags", b"rendered")
    result = await store.write.store_flags(
        account, mailbox, [BLOCK_ROWS + 5], FlagMode.ADD, ["\\Seen"], key=os.urandom(16)
    )
    view.apply_delta(result.delta, None)
    assert [view.blocks.get(number, b"flags") for number in range(3)] == [b"rendered", None, b"rendered"]
    view.blocks.put(1, b"flags", b"rendered")
    delta = await store.write.expunge(account, mailbox, [BLOCK_ROWS + 1], key=os.urandom(16), only_deleted=False)
    view.apply_delta(delta, None)
    assert [view.blocks.get(number, b"flags") for number in range(3)] == [b"rendered", None, None]


async def test_the_block_cache_keeps_its_bound_and_forgets_everywhere() -> None:
    cache = BlockCache(2000)
    one, other = cache.of_view(), cache.of_view()
    for number in range(10):
        one.put(number, b"x", bytes(300))
        other.put(number, b"x", bytes(300))
    assert cache.bytes <= 2000
    kept = [number for number in range(10) if one.get(number, b"x") or other.get(number, b"x")]
    assert kept == [8, 9]
    one.drop_from(0)
    other.drop_from(0)
    assert cache.bytes == 0


def test_flag_words_grow_with_the_keywords() -> None:
    for keywords, words in [(0, 1), (58, 1), (59, 2), (122, 2), (123, 3), (250, 4)]:
        assert words_of(FlagTable(tuple(f"k{i}" for i in range(keywords)))) == words


@pytest.mark.parametrize("mask", [SEEN, DELETED, 1, 1 << 7, 1 << 8, 1 << 57])
def test_rows_with_a_flag(mask: int) -> None:
    chance = random.Random(mask)
    column = array("Q", [chance.getrandbits(63) for _ in range(100)])
    assert rows_with(column, mask) == bytes(bool(word & mask) for word in column)
    assert rows_with(column, mask, present=False) == bytes(not word & mask for word in column)
