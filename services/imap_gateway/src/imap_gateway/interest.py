"""What a client asked NOTIFY for: which events of which mailboxes.

RFC 5465 sections 3.1, 5, 6, 8.

Rules:
- Only `selected` and `selected-delayed` are about the selected mailbox's messages; every other group is about the
  messages of all others, and about names and subscriptions of all.
- A mailbox may be in several groups: it gets the events of all of them, up to the first group that says NONE.
- `inboxes` is `personal`: a message to `user+name` is delivered to the mailbox `name`, so mail may arrive in any
  (RFC 5465 6.3).
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass

from mailboat_store_client.names import parents
from mailboat_wire.imap import types as t
from mailboat_wire.imap.types import EventGroup, MailboxFilter

from .replies import bad, no

MAX_GROUPS = 100
MAX_MAILBOXES = 1000


class Event(enum.Flag):
    """The events we can tell of."""

    NONE = 0
    MESSAGE_NEW = enum.auto()
    MESSAGE_EXPUNGE = enum.auto()
    FLAG_CHANGE = enum.auto()
    MAILBOX_NAME = enum.auto()
    SUBSCRIPTION_CHANGE = enum.auto()


_NAMES = {
    "MessageNew": Event.MESSAGE_NEW,
    "MessageExpunge": Event.MESSAGE_EXPUNGE,
    "FlagChange": Event.FLAG_CHANGE,
    "MailboxName": Event.MAILBOX_NAME,
    "SubscriptionChange": Event.SUBSCRIPTION_CHANGE,
}
_EVENTS = {name.upper().encode("ascii"): event for name, event in _NAMES.items()}
_BAD_EVENT = b"BADEVENT (%b)" % " ".join(_NAMES).encode("ascii")

COMING_AND_GOING = Event.MESSAGE_NEW | Event.MESSAGE_EXPUNGE
OF_MESSAGES = COMING_AND_GOING | Event.FLAG_CHANGE
EVERYTHING_SELECTED = OF_MESSAGES
"""What a client that didn't ask NOTIFY is told of the selected mailbox."""


@dataclass(frozen=True, slots=True)
class Group:
    """One event group that isn't about the selected mailbox."""

    filter: MailboxFilter
    mailboxes: frozenset[str]
    events: Event

    def holds(self, name: str, subscribed: Collection[str]) -> bool:
        """Whether the mailbox is one of the group's."""
        match self.filter:
            case MailboxFilter.SUBSCRIBED:
                return name in subscribed
            case MailboxFilter.MAILBOXES:
                return name in self.mailboxes
            case MailboxFilter.SUBTREE:
                return name in self.mailboxes or any(parent in self.mailboxes for parent in parents(name))
            case _:
                return True


@dataclass(frozen=True, slots=True)
class Interest:
    """All that one NOTIFY command asked for. NOTIFY NONE is the one that asks for nothing.

    `selected`: events of the selected mailbox; `delayed`: its EXPUNGEs wait for a command; `fetch`: what is shown of
    its new messages.
    """

    selected: Event = Event.NONE
    delayed: bool = False
    fetch: tuple[t.FetchItem, ...] = ()
    groups: tuple[Group, ...] = ()

    @property
    def beyond_selected(self) -> bool:
        """Whether anything but the selected mailbox matters."""
        return any(group.events for group in self.groups)

    def events(self, name: str, subscribed: Collection[str]) -> Event:
        """What the client wants to hear of a mailbox while it isn't selected."""
        found = Event.NONE
        for group in self.groups:
            if group.holds(name, subscribed):
                if not group.events:
                    break
                found |= group.events
        return found


def interest_of(command: t.Notify) -> Interest:
    """BAD for what makes no sense together, NO [BADEVENT] for events we don't have, NO [NOTIFICATIONOVERFLOW] for too
    much.
    """
    names = sum(len(group.mailboxes) for group in command.groups)
    if len(command.groups) > MAX_GROUPS or names > MAX_MAILBOXES:
        raise no(b"Too many mailboxes to watch", b"NOTIFICATIONOVERFLOW")
    if not all(event in _EVENTS for group in command.groups for event in group.events):
        raise no(b"Unknown event", _BAD_EVENT)
    about_selected = [group for group in command.groups if group.filter.selected]
    if len(about_selected) > 1:
        raise bad(b"The selected mailbox is named twice")
    groups = tuple(
        Group(group.filter, frozenset(group.mailboxes), _events(group))
        for group in command.groups
        if not group.filter.selected
    )
    if not about_selected:
        return Interest(groups=groups)
    (group,) = about_selected
    delayed = group.filter is MailboxFilter.SELECTED_DELAYED
    return Interest(_events(group), delayed, group.fetch, groups)


def _events(group: EventGroup) -> Event:
    """RFC 5465 5, 8: which events need which."""
    events = Event.NONE
    for name in group.events:
        events |= _EVENTS[name]
    if events & OF_MESSAGES and events & COMING_AND_GOING != COMING_AND_GOING:
        raise bad(b"MessageNew and MessageExpunge come together, FlagChange with both")
    if group.filter.selected and events & ~OF_MESSAGES:
        raise bad(b"Only events of messages can be had of the selected mailbox")
    if group.fetch and not group.filter.selected:
        raise bad(b"Messages are shown of the selected mailbox only")
    return events
