"""What ENABLE may switch on (RFC 5161): one entry each, with what it does to the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Session

CONDSTORE = b"CONDSTORE"


def enable_condstore(session: Session) -> None:
    """RFC 7162 3.1.8: unsolicited FETCH responses carry MODSEQ from now on."""
    session.enabled.add(CONDSTORE)


FEATURES: Mapping[bytes, Callable[[Session], None]] = {CONDSTORE: enable_condstore}
