"""What ENABLE may switch on (RFC 5161): one entry each, with what it does to the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Session

CONDSTORE = b"CONDSTORE"
QRESYNC = b"QRESYNC"
REV2 = b"IMAP4REV2"
UTF8 = b"UTF8=ACCEPT"


def enable_condstore(session: Session) -> None:
    """RFC 7162 3.1.8: unsolicited FETCH responses carry MODSEQ from now on."""
    session.enabled.add(CONDSTORE)


def enable_qresync(session: Session) -> None:
    """RFC 7162 3.2.3: removals are told as VANISHED; implies CONDSTORE."""
    session.enabled |= {QRESYNC, CONDSTORE}


def enable_rev2(session: Session) -> None:
    """RFC 9051 6.3.1, Appendix E: no RECENT, ESEARCH for SEARCH, names in UTF-8."""
    session.enabled.add(REV2)


def enable_utf8(session: Session) -> None:
    """RFC 6855 3: names and quoted strings are UTF-8, both ways."""
    session.enabled.add(UTF8)


FEATURES: Mapping[bytes, Callable[[Session], None]] = {
    CONDSTORE: enable_condstore,
    QRESYNC: enable_qresync,
    REV2: enable_rev2,
    UTF8: enable_utf8,
}

NAMES = {REV2: b"IMAP4rev2"}
"""How ENABLED writes what isn't all capitals."""

ONLY_BEFORE_SELECT = frozenset({REV2, UTF8})
"""RFC 6855 3, RFC 9051 6.3.1: not while a mailbox is selected."""
