"""Commands of any state and of sessions that are not logged in.

RFC 9051 6.1, 6.2; ID (RFC 2971), SASL-IR (RFC 4959), COMPRESS (RFC 4978), UNAUTHENTICATE (RFC 8437).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.types.base import Command


@dataclass(frozen=True, slots=True)
class Capability(Command):
    name: ClassVar[bytes] = b"CAPABILITY"


@dataclass(frozen=True, slots=True)
class Noop(Command):
    name: ClassVar[bytes] = b"NOOP"


@dataclass(frozen=True, slots=True)
class Logout(Command):
    name: ClassVar[bytes] = b"LOGOUT"


@dataclass(frozen=True, slots=True)
class Id(Command):
    """RFC 2971. `params` is None for NIL; names and values as sent, a value may be NIL (None)."""

    name: ClassVar[bytes] = b"ID"
    params: tuple[tuple[bytes, bytes | None], ...] | None


@dataclass(frozen=True, slots=True)
class UnknownCommand(Command):
    """A well-formed tag with a word nobody knows (upper case, at most 64 bytes): answered BAD with the tag."""

    name: ClassVar[bytes] = b"UNKNOWN"
    word: bytes


@dataclass(frozen=True, slots=True)
class StartTls(Command):
    name: ClassVar[bytes] = b"STARTTLS"


@dataclass(frozen=True, slots=True)
class Unauthenticate(Command):
    """RFC 8437."""

    name: ClassVar[bytes] = b"UNAUTHENTICATE"


@dataclass(frozen=True, slots=True)
class Compress(Command):
    """RFC 4978. `mechanism` upper case."""

    name: ClassVar[bytes] = b"COMPRESS"
    mechanism: bytes


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """`mechanism` upper case. `initial` is the initial response still in base64 (SASL-IR), b"=" being empty; None if
    absent."""

    name: ClassVar[bytes] = b"AUTHENTICATE"
    mechanism: bytes
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class Login(Command):
    name: ClassVar[bytes] = b"LOGIN"
    username: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Login(tag={self.tag!r}, username={self.username!r}, password=...)"
