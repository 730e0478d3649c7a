"""CAPA (RFC 2449 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mailboat_common.server import TlsMode
from mailboat_wire.pop3.commands import Capa

from ..session import Answer

if TYPE_CHECKING:
    from ..session import Session


def may_login(session: Session) -> bool:
    """Whether a password may be sent now."""
    return bool(session.tls) or not session.gateway.settings.auth_require_tls


def may_start_tls(session: Session) -> bool:
    """Whether STLS can be had."""
    return session.peer.listener.tls is TlsMode.STARTTLS and not session.tls


CAPABILITIES: tuple[tuple[bytes, Callable[[Session], bool]], ...] = (
    (b"USER", may_login),
    (b"UIDL", lambda _: True),
    (b"RESP-CODES", lambda _: True),
    (b"AUTH-RESP-CODE", lambda _: True),
    (b"PIPELINING", lambda _: True),
    (b"STLS", may_start_tls),
    (b"IMPLEMENTATION Mailboat", lambda _: True),
)


async def run(session: Session, _command: Capa) -> Answer:
    """What holds for this session now."""
    lines = [name for name, holds in CAPABILITIES if holds(session)]
    return Answer(b"+OK\r\n" + b"\r\n".join(lines) + b"\r\n.\r\n")
