"""What an import or an export has done so far: counts, and why messages were left behind. Threads share it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_LISTED = 10_000

Tell = Callable[[str, int], None]
"""Told of each folder how many more of its messages are dealt with."""


@dataclass(slots=True)
class Report:
    """`counts`: imported (exported), already, skipped, failed, bytes and so on; each problem says where and why."""

    tell: Tell = lambda folder, count: None
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)
    folders: list[dict[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, folder: str, what: str, number: int = 1, size: int = 0) -> None:
        """`number` messages of a folder are done with."""
        with self._lock:
            self.counts[what] += number
            self.counts["bytes"] += size
        self.tell(folder, number)

    def failed(self, folder: str, message: str, why: str) -> None:
        """A message couldn't be moved."""
        with self._lock:
            self.counts["failed"] += 1
            if len(self.failures) < MAX_LISTED:
                self.failures.append({"folder": folder, "message": message, "why": why})
        self.tell(folder, 1)

    def lost(self, folder: str, why: str) -> None:
        """A folder, or the rest of it, couldn't be moved."""
        with self._lock:
            self.folders.append({"folder": folder, "why": why})

    def note(self, folder: str, message: str, text: str) -> None:
        """A message was moved, and isn't quite what it was."""
        with self._lock:
            self.counts["noted"] += 1
            if len(self.notes) < MAX_LISTED:
                self.notes.append({"folder": folder, "message": message, "note": text})

    @property
    def complete(self) -> bool:
        """Whether nothing was left behind."""
        return not self.counts["failed"] and not self.folders

    def as_json(self) -> dict[str, Any]:
        """The whole, for programs."""
        names = ("imported", "exported", "changed", "removed", "already", "skipped", "failed", "noted", "bytes")
        return {
            "counts": {name: self.counts[name] for name in names if name in self.counts},
            "failures": self.failures,
            "folders_lost": self.folders,
            "notes": self.notes,
        }
