"""CAPA (RFC 2449 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Capability:
    """One line of the answer; `arguments` stand behind the name."""

    name: bytes
    holds: Callable[[Session], bool] = lambda _: True
    arguments: bytes = b""

    def line(self) -> bytes:
        """Without its end."""
        return self.name + b" " + self.arguments if self.arguments else self.name


CAPABILITIES: tuple[Capability, ...] = (
    Capability(b"TOP"),
    Capability(b"UIDL"),
    Capability(b"USER", may_login),
    Capability(b"SASL", may_login, b"PLAIN"),
    Capability(b"RESP-CODES"),
    Capability(b"AUTH-RESP-CODE"),
    Capability(b"PIPELINING"),
    Capability(b"UTF8", arguments=b"USER"),
    Capability(b"STLS", may_start_tls),
    Capability(b"IMPLEMENTATION", arguments=b"Mailboat"),
)


async def run(session: Session, _command: Capa) -> Answer:
    """What holds for this session now."""
    lines = [capability.line() for capability in CAPABILITIES if capability.holds(session)]
    return Answer(b"+OK\r\n" + b"\r\n".join(lines) + b"\r\n.\r\n")
