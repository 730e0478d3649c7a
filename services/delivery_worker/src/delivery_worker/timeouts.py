"""How long a remote server may take for each step (RFC 5321 4.5.3.2)."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. The defaults are RFC 5321's least where it names one; the others keep a dead host from costing minutes.

    `block` is for each 64 KB of the message to leave us, `done` for the answer after its end.
    """

    connect: float = 30.0
    tls: float = 60.0
    greeting: float = 300.0
    command: float = 300.0  # EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET
    data: float = 120.0
    block: float = 180.0
    done: float = 600.0
    quit: float = 5.0

    def scaled(self, factor: float) -> Timeouts:
        """All of them times `factor`."""
        return Timeouts(**{item.name: getattr(self, item.name) * factor for item in fields(self)})
