"""What the sessions of one account share beside views: who they are, and the account's tree once one watches it.

RFC 5465 (NOTIFY).

Rules:
- A tree is read only for accounts whose sessions asked NOTIFY for more than the selected mailbox.
- One request is in flight per account. `refresh` gives a tree that was read after the call: a request under way is
  waited for and followed by one more, which everyone who came meanwhile shares.
- News only says that there is something to ask for; `poll` asks for every watched tree, so a lost event costs latency.
- Nothing is queued for a session: each compares what it told with the newest tree when it may write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from mailboat_common.errors import Failure, Refused
from mailboat_common.log import get_logger
from mailboat_store_client.ports import MailboxRead
from mailboat_store_client.types import AccountId, MailboxChanged, MailboxHead, MailboxId, MailboxTree

POLL_AT_ONCE = 8
POLL_REST_SECONDS = 5.0  # between two rounds, however often `poll` is called: a tree costs more than a modseq

log = get_logger(__name__)


class Member(Protocol):
    """A session of the account."""

    def tree_changed(self) -> None:
        """There is a newer tree: tell of it when that is allowed."""

    def account_closed(self) -> None:
        """The account was disabled or deleted."""


class Snapshot:
    """A tree as it was read, with what every session looks up in it."""

    __slots__ = ("heads", "names", "subscribed", "tree")

    def __init__(self, tree: MailboxTree) -> None:
        self.tree = tree
        self.heads: dict[MailboxId, MailboxHead] = {head.mailbox_id: head for head in tree.mailboxes}
        self.names: dict[str, MailboxHead] = {head.name: head for head in tree.mailboxes}
        self.subscribed = frozenset(tree.subscribed_names)


class Watch:
    """One account with sessions in this process. `snapshot` is set once it was read for a first `listener`."""

    __slots__ = ("account_id", "following", "listeners", "members", "reading", "snapshot")

    def __init__(self, account_id: AccountId) -> None:
        self.account_id = account_id
        self.members: set[Member] = set()
        self.listeners: set[Member] = set()
        self.snapshot: Snapshot | None = None
        self.reading: asyncio.Task[Snapshot] | None = None
        self.following: asyncio.Task[Snapshot] | None = None

    def knows(self, news: MailboxChanged) -> bool:
        """Whether the snapshot was taken after what the news tells of."""
        if self.snapshot is None:
            return False
        if news.tree_version:
            return self.snapshot.tree.version >= news.tree_version
        head = self.snapshot.heads.get(news.mailbox_id)
        if news.deleted:
            return head is None
        return head is not None and head.highest_modseq >= news.modseq


class Watches:
    """The accounts with sessions in this process."""

    def __init__(self, read: MailboxRead, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._read = read
        self._spawn = spawn
        self._watches: dict[AccountId, Watch] = {}
        self._rested = 0.0

    def __len__(self) -> int:
        return len(self._watches)

    def enter(self, account_id: AccountId, member: Member) -> Watch:
        """A session has logged in."""
        watch = self._watches.get(account_id)
        if watch is None:
            watch = self._watches[account_id] = Watch(account_id)
        watch.members.add(member)
        return watch

    def leave(self, watch: Watch, member: Member) -> None:
        """A session is done with the account."""
        self.ignore(watch, member)
        watch.members.discard(member)
        if not watch.members and self._watches.get(watch.account_id) is watch:
            del self._watches[watch.account_id]

    async def listen(self, watch: Watch, member: Member) -> Snapshot:
        """The tree as it is now; from here on the member hears when it changes."""
        watch.listeners.add(member)
        return await self.refresh(watch)

    def ignore(self, watch: Watch, member: Member) -> None:
        """The member doesn't want to hear of the tree any more."""
        watch.listeners.discard(member)
        if not watch.listeners:
            watch.snapshot = None

    # --- staying current ---

    async def refresh(self, watch: Watch) -> Snapshot:
        """A snapshot that was taken after this call began."""
        if watch.reading is None:
            return await asyncio.shield(self._read_soon(watch))
        if watch.following is None:
            watch.following = asyncio.create_task(self._read_after(watch.reading, watch))
            watch.following.add_done_callback(_seen)
        return await asyncio.shield(watch.following)

    def _read_soon(self, watch: Watch) -> asyncio.Task[Snapshot]:
        task = watch.reading = asyncio.create_task(self._read_tree(watch))
        task.add_done_callback(_seen)
        return task

    async def _read_after(self, reading: asyncio.Task[Snapshot], watch: Watch) -> Snapshot:
        await asyncio.wait((reading,))
        watch.following = None
        return await self._read_soon(watch)

    async def _read_tree(self, watch: Watch) -> Snapshot:
        try:
            tree = await self._read.tree(watch.account_id)
        finally:
            watch.reading = None
        if watch.snapshot is not None and watch.snapshot.tree == tree:
            return watch.snapshot
        snapshot = Snapshot(tree)
        if watch.listeners:
            watch.snapshot = snapshot
        for member in list(watch.listeners):
            member.tree_changed()
        return snapshot

    def on_news(self, news: MailboxChanged) -> None:
        """Something happened in an account, perhaps in one with sessions here."""
        watch = self._watches.get(news.account_id)
        if watch is None:
            return
        if news.account_closed:
            for member in list(watch.members):
                member.account_closed()
        elif watch.listeners and watch.following is None and not watch.knows(news):
            self._spawn(self._follow(watch))

    async def _follow(self, watch: Watch) -> None:
        if watch.following is not None or not watch.listeners:
            return  # a request that is still to begin will see it
        try:
            await self.refresh(watch)
        except (Failure, Refused) as error:
            log.warning("a tree could not be read, left to the next poll", cause=repr(error))

    async def poll(self, *, hurry: bool) -> None:
        """Read every watched tree, a few at a time. `hurry`: even if that was done just now."""
        now = asyncio.get_running_loop().time()
        if now < self._rested and not hurry:
            return
        waiting = [watch for watch in self._watches.values() if watch.listeners]

        async def work() -> None:
            while waiting:
                await self._follow(waiting.pop())

        await asyncio.gather(*(work() for _ in range(min(POLL_AT_ONCE, len(waiting)))))
        self._rested = asyncio.get_running_loop().time() + POLL_REST_SECONDS


def _seen(task: asyncio.Task[Snapshot]) -> None:
    """Whoever waits for a request deals with its failure; nobody waiting is no error."""
    if not task.cancelled():
        task.exception()
