"""NOTIFY (RFC 5465): of which mailboxes a client wants to hear what."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.types.base import Command
from mailboat_wire.imap.types.messages import FetchItem


class MailboxFilter(enum.Enum):
    """filter-mailboxes of RFC 5465 section 8; the value is the wire form."""

    SELECTED = b"SELECTED"
    SELECTED_DELAYED = b"SELECTED-DELAYED"
    INBOXES = b"INBOXES"
    PERSONAL = b"PERSONAL"
    SUBSCRIBED = b"SUBSCRIBED"
    SUBTREE = b"SUBTREE"
    MAILBOXES = b"MAILBOXES"

    @property
    def selected(self) -> bool:
        """Whether it is the selected mailbox that is meant."""
        return self in (MailboxFilter.SELECTED, MailboxFilter.SELECTED_DELAYED)


@dataclass(frozen=True, slots=True)
class EventGroup:
    """Mailboxes and events. `mailboxes` only for SUBTREE and MAILBOXES. `events` upper case, known or not, empty for
    NONE. `fetch`: what MessageNew is to show of a new message.
    """

    filter: MailboxFilter
    mailboxes: tuple[str, ...] = ()
    events: tuple[bytes, ...] = ()
    fetch: tuple[FetchItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Notify(Command):
    """NOTIFY SET, or NONE (`groups` is empty). `status`: begin with a STATUS of each mailbox."""

    name: ClassVar[bytes] = b"NOTIFY"
    groups: tuple[EventGroup, ...] = ()
    status: bool = False
