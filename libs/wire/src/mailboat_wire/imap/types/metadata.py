"""Commands of METADATA (RFC 5464)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.types.base import Command


class Depth(enum.Enum):
    """RFC 5464 4.2.2: how far below an entry others are asked for."""

    ZERO = b"0"
    ONE = b"1"
    INFINITY = b"INFINITY"


@dataclass(frozen=True, slots=True)
class GetMetadata(Command):
    """`mailbox` "" is the server. `entries` as written, each once without regard to case. `max_size` in octets."""

    name: ClassVar[bytes] = b"GETMETADATA"
    mailbox: str
    entries: tuple[str, ...]
    depth: Depth = Depth.ZERO
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class SetMetadata(Command):
    """`mailbox` "" is the server. A value of None (NIL) removes the entry; of an entry given twice the last counts."""

    name: ClassVar[bytes] = b"SETMETADATA"
    mailbox: str
    values: Mapping[str, bytes | None]
