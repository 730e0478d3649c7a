"""The commands of POP3, parsed.

RFC 1939 5-7, CAPA (RFC 2449), STLS (RFC 2595 4), AUTH (RFC 5034), UTF8 (RFC 6856).

Rules: only BadCommand leaves `parse_command`; its text is public. A word nobody knows is an UnknownCommand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

MAX_NUMBER = 0xFFFFFFFF

_WORD = re.compile(rb"([A-Za-z][A-Za-z0-9]{0,15})(?: (.*))?\Z", re.DOTALL)
_NUMBER = re.compile(rb"[0-9]{1,10}")
_MECHANISM = re.compile(rb"[A-Za-z0-9_\-]{1,20}")


class BadCommand(Exception):
    """The peer's command can't be understood. `text` is public, without `-ERR`."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text.decode("ascii"))
        self.text = text

    def response(self) -> bytes:
        return b"-ERR %b\r\n" % self.text


@dataclass(frozen=True, slots=True)
class Command:
    """Base of all commands. `name` is its word: the key of a registry or a metric."""

    name: ClassVar[bytes] = b""


@dataclass(frozen=True, slots=True)
class UnknownCommand(Command):
    name: ClassVar[bytes] = b"UNKNOWN"


@dataclass(frozen=True, slots=True)
class User(Command):
    name: ClassVar[bytes] = b"USER"
    username: bytes


@dataclass(frozen=True, slots=True)
class Pass(Command):
    """The password is the whole rest of the line, spaces included (RFC 1939 7)."""

    name: ClassVar[bytes] = b"PASS"
    password: bytes

    def __repr__(self) -> str:
        return "Pass(password=...)"


@dataclass(frozen=True, slots=True)
class Quit(Command):
    name: ClassVar[bytes] = b"QUIT"


@dataclass(frozen=True, slots=True)
class Stat(Command):
    name: ClassVar[bytes] = b"STAT"


@dataclass(frozen=True, slots=True)
class List(Command):
    """`message` is None for all."""

    name: ClassVar[bytes] = b"LIST"
    message: int | None


@dataclass(frozen=True, slots=True)
class Uidl(Command):
    """`message` is None for all."""

    name: ClassVar[bytes] = b"UIDL"
    message: int | None


@dataclass(frozen=True, slots=True)
class Retr(Command):
    name: ClassVar[bytes] = b"RETR"
    message: int


@dataclass(frozen=True, slots=True)
class Dele(Command):
    name: ClassVar[bytes] = b"DELE"
    message: int


@dataclass(frozen=True, slots=True)
class Top(Command):
    """The header and `lines` lines of the body."""

    name: ClassVar[bytes] = b"TOP"
    message: int
    lines: int


@dataclass(frozen=True, slots=True)
class Noop(Command):
    name: ClassVar[bytes] = b"NOOP"


@dataclass(frozen=True, slots=True)
class Rset(Command):
    name: ClassVar[bytes] = b"RSET"


@dataclass(frozen=True, slots=True)
class Capa(Command):
    name: ClassVar[bytes] = b"CAPA"


@dataclass(frozen=True, slots=True)
class Stls(Command):
    name: ClassVar[bytes] = b"STLS"


@dataclass(frozen=True, slots=True)
class Utf8(Command):
    name: ClassVar[bytes] = b"UTF8"


@dataclass(frozen=True, slots=True)
class Auth(Command):
    """`mechanism` upper case, None for a bare AUTH (list them). `initial` in base64, b"" for `=`, None if absent."""

    name: ClassVar[bytes] = b"AUTH"
    mechanism: bytes | None
    initial: bytes | None


def parse_command(line: bytes) -> Command:
    """The command of a line (without CRLF). BadCommand if it isn't one."""
    if b"\0" in line or b"\r" in line:
        raise BadCommand(b"Invalid character")
    found = _WORD.match(line)
    if found is None:
        raise BadCommand(b"Invalid command")
    parse = _COMMANDS.get(found[1].upper())
    return UnknownCommand() if parse is None else parse(found[2])


_Parse = Callable[[bytes | None], Command]


def _bare(command: Callable[[], Command]) -> _Parse:
    def parse(argument: bytes | None) -> Command:
        if argument is not None and argument.strip(b" "):
            raise BadCommand(b"Unexpected argument")
        return command()

    return parse


def _user(argument: bytes | None) -> Command:
    username = (argument or b"").strip(b" ")
    if not username:
        raise BadCommand(b"Missing user name")
    return User(username)


def _pass(argument: bytes | None) -> Command:
    if not argument:
        raise BadCommand(b"Missing password")
    return Pass(argument)


def _numbers(argument: bytes | None, least: int, most: int) -> list[int]:
    words = (argument or b"").split()
    if not least <= len(words) <= most:
        raise BadCommand(b"Wrong number of arguments")
    if not all(_NUMBER.fullmatch(word) and int(word) <= MAX_NUMBER for word in words):
        raise BadCommand(b"Invalid number")
    return [int(word) for word in words]


def _maybe_message(command: Callable[[int | None], Command]) -> _Parse:
    def parse(argument: bytes | None) -> Command:
        numbers = _numbers(argument, 0, 1)
        return command(numbers[0] if numbers else None)

    return parse


def _message(command: Callable[[int], Command]) -> _Parse:
    return lambda argument: command(*_numbers(argument, 1, 1))


def _auth(argument: bytes | None) -> Command:
    words = (argument or b"").split()
    if not words:
        return Auth(None, None)
    if len(words) > 2 or _MECHANISM.fullmatch(words[0]) is None:
        raise BadCommand(b"Invalid argument")
    initial = None if len(words) == 1 else b"" if words[1] == b"=" else words[1]
    return Auth(words[0].upper(), initial)


_COMMANDS: dict[bytes, _Parse] = {
    b"USER": _user,
    b"PASS": _pass,
    b"QUIT": _bare(Quit),
    b"STAT": _bare(Stat),
    b"LIST": _maybe_message(List),
    b"UIDL": _maybe_message(Uidl),
    b"RETR": _message(Retr),
    b"DELE": _message(Dele),
    b"TOP": lambda argument: Top(*_numbers(argument, 2, 2)),
    b"NOOP": _bare(Noop),
    b"RSET": _bare(Rset),
    b"CAPA": _bare(Capa),
    b"STLS": _bare(Stls),
    b"UTF8": _bare(Utf8),
    b"AUTH": _auth,
}
