"""Flags: RFC 9051 2.3.2. System flags have one case; keywords are kept as the client wrote them, compared without
case."""

from __future__ import annotations

from collections.abc import Iterable

ANSWERED = b"\\Answered"
FLAGGED = b"\\Flagged"
DELETED = b"\\Deleted"
SEEN = b"\\Seen"
DRAFT = b"\\Draft"
RECENT = b"\\Recent"  # a server's to set, never a client's

SYSTEM_FLAGS = (ANSWERED, FLAGGED, DELETED, SEEN, DRAFT)

_CANONICAL = {flag.lower(): flag for flag in (*SYSTEM_FLAGS, RECENT)}


def canonical_flags(flags: Iterable[bytes]) -> tuple[bytes, ...]:
    """Flags a client set: canonical, the first spelling of each, \\Recent (which it can't set) dropped."""
    unique: dict[bytes, bytes] = {}
    for flag in flags:
        folded = flag.lower()
        if folded not in unique:
            unique[folded] = _CANONICAL.get(folded, flag)
    unique.pop(b"\\recent", None)
    return tuple(unique.values())
