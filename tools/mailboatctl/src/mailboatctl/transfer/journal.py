"""The file in which an import writes down what it does, so that it may be killed at any moment and run again.

One JSON document a line, each batch twice: before it is sent what will be (`sending`), afterwards what became of it
(`sent`); both are on disk before the import goes on. So after a crash at most one batch of a folder is in doubt. Within
a day the API itself knows whether it has it, by the messages' keys; later the import looks for it in the mailbox
(`Doubt`). A line that a crash cut short is dropped. Two imports never use a file at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mailboatctl.errors import WrongUse

VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A message on its way: the source's id, octets, ms since the epoch (None: as it arrives), SHA-256 of the bytes."""

    id: str
    size: int
    date: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A batch that was sent, and nobody wrote down what became of it. `at`: when, ms since the epoch."""

    number: int
    folder: str
    mailbox: str
    at: int
    entries: tuple[Entry, ...]


@dataclass(slots=True)
class _Folder:
    done: dict[str, tuple[str, int | None]] = field(default_factory=dict)  # id → (SHA-256, UID)


class Journal:
    """What one source has given to one account."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._folders: dict[str, _Folder] = {}
        self._doubts: dict[int, Doubt] = {}
        self._number = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
        except OSError as error:
            raise WrongUse(f"The state file {path} can't be used: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise WrongUse(f"Another import uses the state file {path}.") from None
        self._load(identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def doubts(self) -> list[Doubt]:
        """The batches in doubt, oldest first."""
        return [self._doubts[number] for number in sorted(self._doubts)]

    def has(self, folder: str, identifier: str) -> bool:
        """Whether this message is imported."""
        found = self._folders.get(folder)
        return found is not None and identifier in found.done

    def count(self, folder: str) -> int:
        """How many of the folder's messages are imported."""
        return len(self._folders[folder].done) if folder in self._folders else 0

    def uids(self, folder: str) -> set[int]:
        """The UIDs that the folder's messages got."""
        found = self._folders.get(folder, _Folder())
        return {uid for _, uid in found.done.values() if uid is not None}

    def strays(self, folder: str, generation: str) -> Counter[str]:
        """SHA-256 of what was imported under ids of another generation (a UIDVALIDITY that is no more), and how often,
        less what was found again meanwhile.
        """
        found = self._folders.get(folder, _Folder())
        count: Counter[str] = Counter()
        for identifier, (sha256, _) in found.done.items():
            count[sha256] += 1 if identifier.partition(".")[0] != generation else -1
        return +count

    def sending(self, folder: str, mailbox: str, at: int, entries: list[Entry]) -> int:
        """Written down before a batch is sent; its number."""
        with self._lock:
            self._number += 1
            number = self._number
            items = [[entry.id, entry.size, entry.date, entry.sha256] for entry in entries]
            self._write({"sending": number, "folder": folder, "mailbox": mailbox, "at": at, "items": items})
            self._doubts[number] = Doubt(number, folder, mailbox, at, tuple(entries))
        return number

    def sent(self, number: int, uids: list[int | None]) -> None:
        """What became of a batch: the UID of each message, None for one that isn't there."""
        with self._lock:
            self._write({"sent": number, "uids": uids})
            self._settle(number, uids)

    def same(self, folder: str, entry: Entry) -> None:
        """A message that was imported under another id."""
        with self._lock:
            self._write({"same": entry.id, "folder": folder, "sha256": entry.sha256})
            self._folders.setdefault(folder, _Folder()).done[entry.id] = (entry.sha256, None)

    def _settle(self, number: int, uids: list[int | None]) -> None:
        doubt = self._doubts.pop(number, None)
        if doubt is None:
            return
        done = self._folders.setdefault(doubt.folder, _Folder()).done
        for entry, uid in zip(doubt.entries, uids, strict=False):
            if uid is not None:
                done[entry.id] = (entry.sha256, uid)

    def _write(self, document: dict[str, Any]) -> None:
        self._file.write(json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _load(self, identity: str) -> None:
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                self._replay(json.loads(line), identity, first=whole == 0)
            except (ValueError, KeyError, TypeError) as error:
                raise WrongUse(f"{self._path} is no state file of an import (byte {whole}).") from error
            whole += len(line)
        self._file.seek(whole)
        self._file.truncate()
        if whole == 0:
            self._write({"journal": VERSION, "import": identity})

    def _replay(self, document: dict[str, Any], identity: str, *, first: bool) -> None:
        if first:
            if document["journal"] != VERSION:
                raise WrongUse(f"{self._path} was written by another version of mailboatctl.")
            if document["import"] != identity:
                raise WrongUse(f"{self._path} belongs to another import ({document['import']}).")
        elif "sending" in document:
            entries = tuple(Entry(*item) for item in document["items"])
            self._number = int(document["sending"])
            self._doubts[self._number] = Doubt(
                self._number, document["folder"], document["mailbox"], document["at"], entries
            )
        elif "sent" in document:
            self._settle(document["sent"], document["uids"])
        else:
            self._folders.setdefault(document["folder"], _Folder()).done[document["same"]] = (document["sha256"], None)


def default_path(environ: dict[str, str], identity: str) -> Path:
    """Where the state of an import is if nothing else is said: below XDG_STATE_HOME."""
    base = Path(environ["XDG_STATE_HOME"]) if environ.get("XDG_STATE_HOME") else Path.home() / ".local/state"
    return base / "mailboatctl" / "imports" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.jsonl"
