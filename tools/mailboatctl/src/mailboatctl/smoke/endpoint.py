"""Where a listener is: ``host:port``, with an IPv6 address in brackets (RFC 3986 3.2.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailboatctl.errors import WrongUse

FORM = re.compile(r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s\[\]:@/]+)):(?P<port>[0-9]{1,5})", re.ASCII)
PORTS = range(1, 65_536)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (name or address, without brackets) and a port. The server's certificate must be good for the host."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(option: str, text: str) -> Endpoint:
    """The endpoint an option's value names. Raises WrongUse."""
    found = FORM.fullmatch(text)
    if found is None or int(found["port"]) not in PORTS or not _can_be_resolved(found["literal"] or found["name"]):
        raise WrongUse(f"{option} {text!r}: HOST:PORT is needed, such as localhost:2025 or [::1]:2025.")
    return Endpoint(found["literal"] or found["name"], int(found["port"]))


def _can_be_resolved(host: str) -> bool:
    """Whether a resolver can be asked at all: socket takes names in this encoding."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
