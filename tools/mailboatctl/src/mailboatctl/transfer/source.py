"""What an import reads from: folders and their messages, whatever they are stored in.

A source never holds more than a few messages in memory. What it can't read is raised as `Unreadable` for one message
(the import goes on) or `FolderLost` for the rest of a folder (the other folders go on).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

MAX_MESSAGE = 50 << 20
"""Octets of the largest message the API takes."""


class Unreadable(Exception):
    """One message can't be read; the text says why."""


class FolderLost(Exception):
    """The rest of a folder can't be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the source.

    `levels`: its name, from the outermost level on, decoded; ("INBOX",) is the inbox. `key`: where the source finds
    it. `special_use`: `\\Sent`, ... or None. `subscribed`: None if the source doesn't know.
    """

    levels: tuple[str, ...]
    key: str
    special_use: str | None = None
    subscribed: bool | None = None

    @property
    def shown(self) -> str:
        """The name as people read it, and as the journal knows it."""
        return "/".join(self.levels)


@dataclass(frozen=True, slots=True)
class Item:
    """A message of a folder.

    `id`: the same for the same message in every run. `date`: ms since the epoch, None if the source has none.
    `load`: the bytes as stored there; raises Unreadable. `generation`: what the id begins with, before a ".", where ids
    may all change at once (UIDVALIDITY); "" where they never do.
    """

    id: str
    flags: tuple[str, ...]
    date: int | None
    load: Callable[[], bytes]
    generation: str = ""


Known = Callable[[str], bool]


class Source(Protocol):
    """Something to import from."""

    passed_over: list[str]
    """What wasn't looked into, with the reason."""

    @property
    def identity(self) -> str:
        """What tells this source from others, the same in every run."""

    def folders(self) -> list[Folder]:
        """All folders. Raises WrongUse when there is nothing of the kind."""

    def count(self, folder: Folder) -> int | None:
        """About how many messages it has; None if that would take long."""

    def messages(self, folder: Folder, known: Known) -> Iterator[Item]:
        """Its messages, oldest first, without those whose id is `known`. Raises FolderLost."""

    def close(self) -> None:
        """End connections."""
