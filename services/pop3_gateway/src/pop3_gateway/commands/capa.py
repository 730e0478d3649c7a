"""CAPA (RFC 2449 5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailboat_common.server import TlsMode
from mailboat_wire.pop3.commands import Capa

from ..expire import own_days
from ..replies import Answer

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
    """One line of the answer; `arguments` stand behind the name, and if there are none to tell it is left out."""

    name: bytes
    holds: Callable[[Session], bool] = lambda _: True
    arguments: bytes | Callable[[Session], Awaitable[bytes | None]] = b""

    async def line(self, session: Session) -> bytes | None:
        """Without its end; None if it doesn't hold now."""
        if not self.holds(session):
            return None
        arguments = self.arguments if isinstance(self.arguments, bytes) else await self.arguments(session)
        if arguments is None:
            return None
        return self.name + b" " + arguments if arguments else self.name


async def _expire(session: Session) -> bytes | None:
    if session.drop is not None:
        return own_days(session.drop.days)
    return await session.gateway.platform_days.argument()


CAPABILITIES: tuple[Capability, ...] = (
    Capability(b"TOP"),
    Capability(b"UIDL"),
    Capability(b"USER", may_login),
    Capability(b"SASL", may_login, b"PLAIN"),
    Capability(b"RESP-CODES"),
    Capability(b"AUTH-RESP-CODE"),
    Capability(b"PIPELINING"),
    Capability(b"EXPIRE", arguments=_expire),
    Capability(b"UTF8", arguments=b"USER"),
    Capability(b"STLS", may_start_tls),
    Capability(b"IMPLEMENTATION", arguments=b"Mailboat"),
)


async def run(session: Session, _command: Capa) -> Answer:
    """What holds for this session now."""
    lines = [await capability.line(session) for capability in CAPABILITIES]
    return Answer(b"+OK\r\n" + b"".join([line + b"\r\n" for line in lines if line is not None]) + b".\r\n")
