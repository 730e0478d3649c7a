"""All views of the process: opened from the store, kept current, kept warm for a while after their last session.

Rules:
- One request is in flight per view. `refresh` gives a snapshot taken after the call: a request that was already under
  way is
  waited for and followed by one more, which everyone who came meanwhile shares.
- News (`on_news`) only says that there is something to ask for: a lost event costs latency, never truth. Every
  POLL_SECONDS, every second while the news channel is down and at once when it is back, one call asks for all watched
  views.
- A mailbox whose history is another one than the view's (a backup of the store was put back) is gone for its sessions,
  and opened anew for the next.
- A view without sessions stays in an LRU bounded by bytes; on SELECT it still asks for changes since its sync point.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.log import get_logger
from mailboat_store_client.ports import MailboxRead
from mailboat_store_client.types import AccountId, Delta, MailboxChanged, MailboxId

from . import metrics
from .blocks import BlockCache
from .policy import Policy
from .selected import Selected
from .view import View
from .watches import Watches

POLL_SECONDS = 15.0
POLL_SECONDS_WITHOUT_NEWS = 1.0
POLL_BATCH = 1000

log = get_logger(__name__)


class Views:
    """The views of this process, by mailbox."""

    def __init__(self, read: MailboxRead, policy: Policy) -> None:
        self._read = read
        self._blocks = BlockCache(policy.block_cache)
        self._warm_bytes = policy.warm_views
        self._views: dict[MailboxId, View] = {}
        self._warm: OrderedDict[MailboxId, tuple[View, int]] = OrderedDict()  # with the bytes it is counted for
        self._warm_total = 0
        self._names: dict[tuple[AccountId, str], MailboxId] = {}
        self._opening: dict[MailboxId, asyncio.Task[View]] = {}
        self._asking: dict[MailboxId, asyncio.Task[None]] = {}
        self._next: dict[MailboxId, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._polled = asyncio.Event()
        self.watches = Watches(read, self.spawn)

    def __len__(self) -> int:
        return len(self._views)

    # --- opening and leaving ---

    async def open(self, account_id: AccountId, name: str) -> tuple[View, int]:
        """The view of the mailbox with this name, as it is now, and the first UID that may be \\Recent.

        Call `enter` before anything else is awaited, `leave` in the end. Refused NO_MAILBOX if there is none.
        """
        while True:
            found = await self._open_warm(account_id, name) or await self._open_cold(account_id, name)
            if self._views.get(found[0].mailbox_id) is found[0]:
                return found  # else it was pushed out of the cache in the instant between: once more

    async def _open_cold(self, account_id: AccountId, name: str) -> tuple[View, int]:
        head = await self._read.head(account_id, name)
        view = await self._get(account_id, head.mailbox_id)
        if view.sync < head.highest_modseq:
            await self.refresh(view)
        return view, head.first_recent

    async def _open_warm(self, account_id: AccountId, name: str) -> tuple[View, int] | None:
        """One call instead of two where we know the mailbox by this name: its changes say if it still has it."""
        view = self._views.get(self._names.get((account_id, name), MailboxId(b"")))
        if view is None or view.gone:
            return None
        await self.refresh(view)
        if view.gone or view.name != name:
            self._names.pop((account_id, name), None)
            return None
        return view, view.first_recent

    async def _get(self, account_id: AccountId, mailbox_id: MailboxId) -> View:
        view = self._views.get(mailbox_id)
        if view is not None:
            return view
        opening = self._opening.get(mailbox_id)
        if opening is None:
            opening = self._opening[mailbox_id] = asyncio.create_task(self._load(account_id, mailbox_id))
            opening.add_done_callback(lambda _task: self._opening.pop(mailbox_id))
        return await asyncio.shield(opening)

    async def _load(self, account_id: AccountId, mailbox_id: MailboxId) -> View:
        changes = await self._read.changes(account_id, mailbox_id, 0)
        view = View(account_id, mailbox_id, self._blocks)
        view.load(changes)
        self._views[mailbox_id] = view
        metrics.views.set(len(self._views))
        self._names[account_id, view.name] = mailbox_id
        self._keep_warm(view)
        return view

    def enter(self, view: View, selected: Selected) -> None:
        """A session has selected the view."""
        view.watch(selected)
        self._uncount(view)

    def leave(self, view: View, selected: Selected) -> None:
        """A session is done with the view."""
        view.unwatch(selected)
        if not view.watchers:
            self._keep_warm(view)

    def _keep_warm(self, view: View) -> None:
        if view.gone:
            self._forget(view)
            return
        self._uncount(view)
        self._warm[view.mailbox_id] = view, view.bytes
        self._warm_total += view.bytes
        while self._warm_total > self._warm_bytes and len(self._warm) > 1:
            self._forget(next(iter(self._warm.values()))[0])

    def _uncount(self, view: View) -> None:
        warm = self._warm.pop(view.mailbox_id, None)
        if warm is not None:
            self._warm_total -= warm[1]

    def _forget(self, view: View) -> None:
        view.blocks.drop_from(0)
        self._uncount(view)
        if self._views.get(view.mailbox_id) is view:
            del self._views[view.mailbox_id]
        self._names.pop((view.account_id, view.name), None)
        metrics.views.set(len(self._views))

    def _end(self, view: View) -> None:
        """The mailbox is gone, or not what its sessions believe: they are told, and who opens it now gets another."""
        view.mark_deleted()
        self._forget(view)

    # --- staying current ---

    async def refresh(self, view: View) -> None:
        """Bring the view to a snapshot that was taken after this call began. It may be `gone` afterwards."""
        mailbox_id = view.mailbox_id
        asking = self._asking.get(mailbox_id)
        if asking is None:
            await asyncio.shield(self._ask_soon(view))
            return
        following = self._next.get(mailbox_id)
        if following is None:
            following = self._next[mailbox_id] = asyncio.create_task(self._ask_after(asking, view))
        await asyncio.shield(following)

    def _ask_soon(self, view: View) -> asyncio.Task[None]:
        task = asyncio.create_task(self._ask(view))
        self._asking[view.mailbox_id] = task
        task.add_done_callback(lambda done: self._asked(view.mailbox_id, done))
        return task

    def _asked(self, mailbox_id: MailboxId, task: asyncio.Task[None]) -> None:
        if self._asking.get(mailbox_id) is task:
            del self._asking[mailbox_id]
        if not task.cancelled():
            task.exception()  # whoever waits for it deals with it; nobody waiting is no error

    async def _ask_after(self, asking: asyncio.Task[None], view: View) -> None:
        await asyncio.wait((asking,))
        self._next.pop(view.mailbox_id, None)
        await self._ask_soon(view)

    async def _ask(self, view: View) -> None:
        while True:
            since = view.sync
            try:
                changes = await self._read.changes(view.account_id, view.mailbox_id, since)
            except Refused as refused:
                if refused.code not in (RefusedCode.NO_MAILBOX, RefusedCode.NO_ACCOUNT):
                    raise
                self._end(view)
                return
            if view.sync == since:
                if view.contradicted(changes.head):
                    log.warning("a mailbox isn't what it was: a backup of the store was put back")
                    self._end(view)
                    return
                self._names.pop((view.account_id, view.name), None)
                view.apply_changes(changes)
                self._names[view.account_id, view.name] = view.mailbox_id
                return
            if changes.head.highest_modseq <= view.sync:
                return  # deltas came in meanwhile and say more

    async def settle(self, delta: Delta, origin: Selected | None) -> None:
        """Show a mutation of ours to whoever has the mailbox open here, at once if it joins on to what the view
        knows.
        """
        view = self._views.get(delta.mailbox_id)
        if view is not None and not view.apply_delta(delta, origin):
            await self.refresh(view)

    def on_news(self, news: MailboxChanged) -> None:
        """Something changed in a mailbox, perhaps one that is open here, or in an account."""
        self.watches.on_news(news)
        view = self._views.get(news.mailbox_id)
        if view is None:
            return
        if news.deleted:
            self._end(view)
        elif view.watchers and news.modseq > view.sync:
            self.spawn(self._follow(view, news))

    async def _follow(self, view: View, news: MailboxChanged) -> None:
        asking = self._asking.get(view.mailbox_id)
        if asking is not None:
            await asyncio.wait((asking,))
        if view.sync < news.modseq:
            try:
                await self.refresh(view)
            except (Failure, Refused) as error:
                log.warning("changes could not be read, left to the next poll", cause=repr(error))
                return
            metrics.notify_delay.observe(max(0.0, time.time() - news.committed_at / 1000))

    async def poll(self, *, hurry: bool = False) -> None:
        """Ask once for all watched views, and for the watched trees (unless that was just done, but in a `hurry`)."""
        watched = [view for view in self._views.values() if view.watchers and not view.gone]
        for start in range(0, len(watched), POLL_BATCH):
            batch = watched[start : start + POLL_BATCH]
            answers = await self._read.poll([(view.account_id, view.mailbox_id, view.sync) for view in batch])
            for mailbox_id, modseq in answers:
                view = self._views.get(mailbox_id)
                if view is None:
                    continue
                if modseq < 0:
                    self._end(view)
                elif modseq > view.sync:
                    await self.refresh(view)
        await self.watches.poll(hurry=hurry)

    def poll_now(self) -> None:
        """The news channel was away and is back: what was said meanwhile is lost."""
        self._polled.set()

    async def keep_polling(self, connected: Callable[[], bool]) -> None:
        """For the life of the process."""
        due = time.monotonic() + POLL_SECONDS
        while True:
            polled = asyncio.ensure_future(self._polled.wait())
            await asyncio.wait((polled,), timeout=POLL_SECONDS_WITHOUT_NEWS)
            polled.cancel()
            # Looked at every second: a channel that is lost in the middle of the long pause must not wait for its end.
            if connected() and not self._polled.is_set() and time.monotonic() < due:
                continue
            hurry = self._polled.is_set()
            self._polled.clear()
            due = time.monotonic() + POLL_SECONDS
            try:
                await self.poll(hurry=hurry)
            except (Failure, Refused) as error:
                log.warning("poll failed", cause=repr(error))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that no session waits for; it deals with its own failures."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
