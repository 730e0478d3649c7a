"""The registry of commands: what may run when, and what may be told meanwhile.

A command is one file of this package with one `@command(...)` handler. The handler writes its untagged responses and
returns the tagged reply; it raises `replies.no`/`replies.bad`, or lets what the store refuses pass through.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mailboat_wire.imap import types as t

from ..replies import Reply
from ..states import State

if TYPE_CHECKING:
    from ..session import Session

C = TypeVar("C", bound=t.Command)


class Expunge(enum.Enum):
    """Whether EXPUNGE may be sent during the command (RFC 9051 7.5.1): never during FETCH, STORE, SEARCH by number."""

    ALLOWED = enum.auto()
    WITH_UID = enum.auto()
    NEVER = enum.auto()

    def allows(self, command: t.Command) -> bool:
        """For this command as the client gave it."""
        return self is Expunge.ALLOWED or (self is Expunge.WITH_UID and bool(getattr(command, "uid", False)))


@dataclass(frozen=True, slots=True)
class Entry:
    """One command. `pipelined`: the client may have sent more behind it; False where that would be an attack
    (STARTTLS, COMPRESS).
    """

    name: bytes
    handler: Callable[[Session, Any], Awaitable[Reply]]
    states: State
    expunge: Expunge
    pipelined: bool
    capabilities: tuple[bytes, ...]


_entries: dict[bytes, Entry] = {}


def command(
    kind: type[C],
    states: State,
    *,
    expunge: Expunge = Expunge.ALLOWED,
    pipelined: bool = True,
    capabilities: tuple[bytes, ...] = (),
) -> Callable[[Callable[[Session, C], Awaitable[Reply]]], Callable[[Session, C], Awaitable[Reply]]]:
    """Register the handler of a command; `capabilities`: what advertising its existence is called."""

    def register(handler: Callable[[Session, C], Awaitable[Reply]]) -> Callable[[Session, C], Awaitable[Reply]]:
        assert kind.name not in _entries, f"{kind.name!r} is registered twice"
        _entries[kind.name] = Entry(kind.name, handler, states, expunge, pipelined, capabilities)
        return handler

    return register


def find(name: bytes) -> Entry | None:
    """The entry of a command's word."""
    return _entries.get(name)


def entries() -> tuple[Entry, ...]:
    """All commands."""
    return tuple(_entries.values())
