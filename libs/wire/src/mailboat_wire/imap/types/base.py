"""What every command is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Command:
    """Base of all commands. `name` is the command's word, without UID: the key of a registry or a metric."""

    name: ClassVar[bytes] = b""
    tag: bytes
