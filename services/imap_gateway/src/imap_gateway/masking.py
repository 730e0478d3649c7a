"""Capabilities hidden from an account whose client can't cope with them.

A hidden name isn't announced after login and can't be enabled; a client that uses the extension all the same is served.
What makes no sense without it goes with it, so that no capability is announced without what its RFC builds on.
"""

from __future__ import annotations

from collections.abc import Iterable

_ALSO: dict[bytes, tuple[bytes, ...]] = {
    b"CONDSTORE": (b"QRESYNC",),
    b"ENABLE": (b"IMAP4REV2", b"QRESYNC", b"UTF8=ACCEPT"),
    b"ESEARCH": (b"ESORT", b"PARTIAL", b"SEARCHRES"),
    b"LIST-EXTENDED": (b"LIST-STATUS",),
    b"QUOTA": (b"QUOTA=RES-MESSAGE", b"QUOTA=RES-STORAGE"),
    b"SORT": (b"ESORT", b"SORT=DISPLAY"),
}


def hidden(names: Iterable[str]) -> frozenset[bytes]:
    """The names, upper case, with those that go with them. IMAP4rev1 is never hidden."""
    masked = {name.upper().encode("ascii", "replace") for name in names}
    for name in tuple(masked):
        masked.update(_ALSO.get(name, ()))
    return frozenset(masked - {b"IMAP4REV1"})
