"""The server's side of SASL PLAIN and LOGIN, shared by IMAP, POP3 and SMTP.

RFC 4422, RFC 4616 (PLAIN), the expired draft-murchison-sasl-login (LOGIN), RFC 4648 4 (base64, strictly).

Use: `exchange = start(mechanism)`; feed `step()` the initial response (None if the client sent none) and then each
line, always in base64 and without line end; send a Challenge's `encoded()`; at Credentials the exchange is over.
SaslError ends it as well.
Nothing here says whether a password is right.
"""

from __future__ import annotations

import binascii
import enum
import re
from dataclasses import dataclass
from typing import Protocol

MAX_LINE = 4096  # base64 bytes in one response
MAX_FIELD = 1024  # bytes in a user name or password

_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")


class SaslFault(enum.Enum):
    CANCELLED = "cancelled"  # the client sent `*`
    MALFORMED = "malformed"
    TOO_LONG = "too long"


class SaslError(Exception):
    """The exchange failed before there were credentials to check."""

    def __init__(self, fault: SaslFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the server says next, not yet in base64."""

    data: bytes

    def encoded(self) -> bytes:
        return binascii.b2a_base64(self.data, newline=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """`authorization` is the identity to act as, "" for the same as `username`."""

    username: str
    password: str
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, password=..., authorization={self.authorization!r})"


class Exchange(Protocol):
    """A mechanism's state machine."""

    def step(self, response: bytes | None) -> Challenge | Credentials: ...


def decode_base64(line: bytes) -> bytes:
    """Strict base64: whole quartets, padding only at the end, no other byte, no stray bits. SaslError otherwise."""
    if line == b"*":
        raise SaslError(SaslFault.CANCELLED)
    if len(line) > MAX_LINE:
        raise SaslError(SaslFault.TOO_LONG)
    if len(line) % 4 or _BASE64.fullmatch(line) is None:
        raise SaslError(SaslFault.MALFORMED)
    data = binascii.a2b_base64(line)
    if binascii.b2a_base64(data, newline=False) != line:
        raise SaslError(SaslFault.MALFORMED)
    return data


def _text(field: bytes) -> str:
    if len(field) > MAX_FIELD:
        raise SaslError(SaslFault.TOO_LONG)
    if b"\0" in field:
        raise SaslError(SaslFault.MALFORMED)
    try:
        return field.decode("utf-8")
    except UnicodeDecodeError:
        raise SaslError(SaslFault.MALFORMED) from None


def _credentials(username: bytes, password: bytes, authorization: bytes = b"") -> Credentials:
    if not username or not password:
        raise SaslError(SaslFault.MALFORMED)
    return Credentials(_text(username), _text(password), _text(authorization))


class Plain:
    """PLAIN (RFC 4616): one response, authorization NUL user NUL password."""

    __slots__ = ()

    def step(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"")
        fields = decode_base64(response).split(b"\0")
        if len(fields) != 3:
            raise SaslError(SaslFault.MALFORMED)
        authorization, username, password = fields
        return _credentials(username, password, authorization)


class Login:
    """LOGIN: asked for a name, then for a password. An initial response is the name."""

    __slots__ = ("_username",)

    def __init__(self) -> None:
        self._username: bytes | None = None

    def step(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"Username:")
        data = decode_base64(response)
        if self._username is None:
            _text(data)
            self._username = data
            return Challenge(b"Password:")
        return _credentials(self._username, data)


MECHANISMS: dict[bytes, type[Plain] | type[Login]] = {b"PLAIN": Plain, b"LOGIN": Login}


def start(mechanism: bytes) -> Exchange | None:
    """A new exchange for `mechanism` (in any case); None if there is no such mechanism."""
    found = MECHANISMS.get(mechanism.upper())
    return None if found is None else found()
