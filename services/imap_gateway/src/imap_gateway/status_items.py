"""The items of STATUS (RFC 9051 6.3.11; RFC 7162 HIGHESTMODSEQ; RFC 8438 SIZE; RFC 9208 DELETED-STORAGE; RFC 7889
APPENDLIMIT): one entry each.

Most are in the mailbox's head, which is read anyway. What isn't is asked of the session.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from itertools import compress
from typing import TYPE_CHECKING

from mailboat_common.errors import Refused
from mailboat_store_client.types import DELETED, MailboxHead

from .flagbits import rows_with
from .objectid import mailbox_id

if TYPE_CHECKING:
    from .session import Session


async def _recent(session: Session, head: MailboxHead) -> int:
    """Exactly as many as the next SELECT will say: a client that finds STATUS wrong asks again and again.

    The mailbox is read only where something was expunged, so that the UIDs alone don't tell.
    """
    if head.first_recent >= head.uid_next or not head.messages:
        return 0
    if head.messages == head.uid_next - 1:
        return head.uid_next - head.first_recent
    try:
        view, first_recent = await session.gateway.views.open(session.account, head.name)
    except Refused:  # deleted since the head was read
        return 0
    return len(view) - bisect_left(view.uids, first_recent)


async def _deleted_storage(session: Session, head: MailboxHead) -> int:
    """RFC 9208 4.1.4: the octets that EXPUNGE would free. The mailbox is read only if it has something to expunge."""
    if not head.deleted:
        return 0
    try:
        view, _first_recent = await session.gateway.views.open(session.account, head.name)
    except Refused:  # deleted since the head was read
        return 0
    return sum(compress(view.sizes, rows_with(view.flags[0], DELETED)))


async def _append_limit(session: Session, _head: MailboxHead) -> int:
    """RFC 7889 3.1: the same for all mailboxes; quota has no part in it (3.3)."""
    return session.gateway.policy.message_limit


ASKED_ITEMS: Mapping[bytes, Callable[[Session, MailboxHead], Awaitable[int]]] = {
    b"APPENDLIMIT": _append_limit,
    b"DELETED-STORAGE": _deleted_storage,
    b"RECENT": _recent,
}
HEAD_ITEMS: Mapping[bytes, Callable[[MailboxHead], int | bytes]] = {
    b"MESSAGES": lambda head: head.messages,
    b"UIDNEXT": lambda head: head.uid_next,
    b"UIDVALIDITY": lambda head: head.uid_validity,
    b"UNSEEN": lambda head: head.unseen,
    b"DELETED": lambda head: head.deleted,
    b"HIGHESTMODSEQ": lambda head: head.highest_modseq,
    b"SIZE": lambda head: head.size,
    b"MAILBOXID": lambda head: b"(%b)" % mailbox_id(head),
}
STATUS_ITEMS = frozenset(HEAD_ITEMS) | frozenset(ASKED_ITEMS)


async def status_value(session: Session, head: MailboxHead, item: bytes) -> int | bytes:
    """The value of an item of STATUS_ITEMS."""
    asked = ASKED_ITEMS.get(item)
    return HEAD_ITEMS[item](head) if asked is None else await asked(session, head)
