"""The items of STATUS (RFC 9051 6.3.11; RFC 7162 HIGHESTMODSEQ; RFC 8438 SIZE): one entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mailboat_store_client.types import MailboxHead


def _recent(head: MailboxHead) -> int:
    """At most this many: those between that are gone aren't told apart here."""
    return min(head.messages, max(0, head.uid_next - head.first_recent))


STATUS_ITEMS: Mapping[bytes, Callable[[MailboxHead], int]] = {
    b"MESSAGES": lambda head: head.messages,
    b"RECENT": _recent,
    b"UIDNEXT": lambda head: head.uid_next,
    b"UIDVALIDITY": lambda head: head.uid_validity,
    b"UNSEEN": lambda head: head.unseen,
    b"DELETED": lambda head: head.deleted,
    b"HIGHESTMODSEQ": lambda head: head.highest_modseq,
    b"SIZE": lambda head: head.size,
}
