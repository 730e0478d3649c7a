"""Telling one session what it asked NOTIFY for.

RFC 5465 sections 3.1, 5; LIST's OLDNAME and \\NonExistent also RFC 9051 6.3.9.7, 7.3.1.

Rules:
- What is owed is computed from (what was told, newest tree) when it may be said, never queued: a slow client costs
  references to one old tree.
- What the client did itself isn't told (RFC 5465 3.1): `own` holds heads ahead of the tree that was told, and `absorb`
  passes over changes of the names a command named.
- Over MAX_LINES at once the client is told that it missed something (NOTIFICATIONOVERFLOW) and hears no more, as after
  NOTIFY NONE: it has to look anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mailboat_common.errors import Failure, Refused
from mailboat_common.log import get_logger
from mailboat_store_client.names import is_child
from mailboat_store_client.types import Delta, MailboxHead, MailboxId
from mailboat_wire.imap import response

from .fetch import Fetcher, Plan
from .interest import COMING_AND_GOING, OF_MESSAGES, Event, Interest
from .listing import attributes, parents_of
from .render import Item
from .selected import Selected
from .status_items import HEAD_ITEMS
from .watches import Snapshot

if TYPE_CHECKING:
    from .session import Session

MAX_LINES = 1000
OVERFLOW = b"* OK [NOTIFICATIONOVERFLOW] Too much has changed, nothing more will be told\r\n"

log = get_logger(__name__)


class Notifier:
    """What one session asked for and was told. `items`: what is shown of new messages in the selected mailbox."""

    __slots__ = ("interest", "items", "own", "session", "told", "unseen")

    def __init__(self, session: Session, interest: Interest, items: Sequence[Item]) -> None:
        self.session = session
        self.interest = interest
        self.items = items
        self.told: Snapshot | None = None  # None: nothing beyond the selected mailbox was asked for
        self.own: dict[MailboxId, MailboxHead] = {}
        self.unseen: tuple[int, int] | None = None  # UIDs that were announced and are still to be shown

    # --- the selected mailbox ---

    def announced(self, first: int, last: int) -> None:
        """EXISTS was sent for messages with these UIDs."""
        if self.items:
            self.unseen = (first if self.unseen is None else self.unseen[0], last)

    async def show_new(self) -> None:
        """The FETCH responses that MessageNew asks for (RFC 5465 5.2). They don't mark as read."""
        unseen, self.unseen = self.unseen, None
        if unseen is None or self.session.selected is None:
            return
        plan = Plan(self.items)
        plan.sets_seen = False
        try:
            await Fetcher(self.session, plan, (unseen,)).run()
        except (Failure, Refused) as error:
            log.warning("new messages could not be shown", login=self.session.login, cause=repr(error))

    def left(self, selected: Selected) -> None:
        """The mailbox isn't selected any more: the client knows of it what it was told there."""
        self.unseen = None
        view = selected.view
        head = None if self.told is None else self.told.heads.get(view.mailbox_id)
        if head is not None:
            whole = selected.told == view.sync
            uid_next = view.uid_next if whole else min(view.uid_next, selected.tracker.ceiling + 1)
            self.own[view.mailbox_id] = replace(
                head, messages=selected.exists(), uid_next=uid_next, highest_modseq=selected.told
            )

    # --- all others ---

    def caused(self, delta: Delta) -> None:
        """The session itself changed a mailbox."""
        head = self.own.get(delta.mailbox_id)
        if head is None and self.told is not None:
            head = self.told.heads.get(delta.mailbox_id)
        if head is None or head.highest_modseq != delta.modseq_before:
            return
        new = sum(uid >= head.uid_next for uid in delta.changed.uids)
        self.own[delta.mailbox_id] = replace(
            head,
            messages=head.messages + new - len(delta.vanished),
            uid_next=delta.uid_next,
            highest_modseq=delta.modseq_after,
        )

    def statuses(self, snapshot: Snapshot) -> Iterator[bytes]:
        """The STATUS responses that NOTIFY SET STATUS begins with."""
        for head in snapshot.tree.mailboxes:
            events = self.interest.events(head.name, snapshot.subscribed)
            if events & OF_MESSAGES and not self._is_selected(head.mailbox_id):
                yield self._status(head, events)

    def tell(self, snapshot: Snapshot | None, quiet: Callable[[str], bool] = lambda _name: False) -> None:
        """Write what happened between what was told and `snapshot`, but for names that `quiet` names."""
        told = self.told
        if told is None or snapshot is None or snapshot is told:
            return
        lines: list[bytes] = []
        for line in self._changes(told, snapshot, quiet):
            if len(lines) == MAX_LINES:
                self.session.write(OVERFLOW)
                self.session.stop_notifying(Interest())
                return
            lines.append(line)
        self.told = snapshot
        ahead = snapshot.heads
        self.own = {
            key: head
            for key, head in self.own.items()
            if key in ahead and ahead[key].highest_modseq < head.highest_modseq
        }
        if lines:
            self.session.write(b"".join(lines))

    def _changes(self, told: Snapshot, now: Snapshot, quiet: Callable[[str], bool]) -> Iterator[bytes]:
        if told.tree.version != now.tree.version:
            yield from self._names(told, now, quiet)
        for head in now.tree.mailboxes:  # whoever made a mailbox: it began empty
            before = self.own.get(head.mailbox_id) or told.heads.get(head.mailbox_id)
            if before is None:
                before = replace(head, messages=0, uid_next=1, highest_modseq=0)
                if not head.messages:
                    continue
            if head.highest_modseq <= before.highest_modseq or self._is_selected(head.mailbox_id):
                continue
            line = self._moved(before, head, now)
            if line:
                yield line

    def _names(self, told: Snapshot, now: Snapshot, quiet: Callable[[str], bool]) -> Iterator[bytes]:
        """LIST responses (RFC 5465 5.4, 5.5), one for each name: deleted, then renamed and new ones, then
        subscriptions.
        """
        either = told.subscribed | now.subscribed
        parents = parents_of(now.names)
        said: set[str] = set()

        def wanted(name: str, event: Event) -> bool:
            return event in self.interest.events(name, either) and not quiet(name)

        def line(name: str, old_name: str | None = None) -> bytes:
            said.add(name)
            shown = attributes(name, now.names.get(name), parents, now.subscribed)
            return response.list_line(shown, name, utf8=self.session.utf8, old_name=old_name)

        for head in told.tree.mailboxes:
            if head.mailbox_id not in now.heads and wanted(head.name, Event.MAILBOX_NAME):
                if head.name in now.names:  # made anew: say that the old one is gone
                    yield response.list_line((b"\\NonExistent",), head.name, utf8=self.session.utf8)
                else:
                    yield line(head.name)
        for head in now.tree.mailboxes:
            before = told.heads.get(head.mailbox_id)
            old_name = None if before is None or before.name == head.name else before.name
            if (before is None or old_name is not None) and (
                wanted(head.name, Event.MAILBOX_NAME)
                or (old_name is not None and wanted(old_name, Event.MAILBOX_NAME) and not quiet(head.name))
            ):
                yield line(head.name, old_name)
        for name in sorted(told.subscribed ^ now.subscribed):
            if name not in said and wanted(name, Event.SUBSCRIPTION_CHANGE):
                yield line(name)

    def _moved(self, before: MailboxHead, head: MailboxHead, now: Snapshot) -> bytes:
        """The STATUS of a mailbox in which something happened (RFC 5465 5.1-5.3), if the client wants to hear of it."""
        events = self.interest.events(head.name, now.subscribed)
        if not events & OF_MESSAGES:
            return b""
        came = head.uid_next - before.uid_next
        if came > 0 or head.messages != before.messages:
            return self._status(head, events)
        if Event.FLAG_CHANGE in events:
            return self._status(head, Event.FLAG_CHANGE)
        return b""

    def _status(self, head: MailboxHead, events: Event) -> bytes:
        items: list[bytes] = []
        if events & COMING_AND_GOING:
            items += (b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY")
        if Event.FLAG_CHANGE in events:
            items += (b"UIDVALIDITY", b"UNSEEN", b"HIGHESTMODSEQ")
        elif self.session.condstore:
            items += (b"HIGHESTMODSEQ",)
        values = [(item, HEAD_ITEMS[item](head)) for item in dict.fromkeys(items)]
        return response.status_line(head.name, values, utf8=self.session.utf8)

    def _is_selected(self, mailbox_id: MailboxId) -> bool:
        selected = self.session.selected
        return selected is not None and selected.view.mailbox_id == mailbox_id


def touching(*named: str) -> Callable[[str], bool]:
    """Whether a name is one of a command's, above one (parents are made with it) or below one (children move along)."""
    return lambda name: any(name == each or is_child(name, each) or is_child(each, name) for each in named)
