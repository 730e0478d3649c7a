"""Judging one mailbox from its documents, page by page. Pure: no database.

Checked are the invariants of `pages` and of store.md, rules 2, 9 and 11: both halves of every page in the directory and
no others, UIDs strictly ascending below uid_next, modseqs up to highest_modseq, `max_modseq` not below its rows,
counters equal to the sums, flags within the keyword table, every removal under a tombstone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from mailboat_store_client.columns import U32, unpack
from mailboat_store_client.types import (
    DEAD,
    DELETED,
    KEYWORD_BITS_WORD0,
    MAX_KEYWORDS,
    SEEN,
    SYSTEM_MASK,
    Columns,
)

from ..db.driver import Document
from .audit_findings import Finding, FindingKind
from .pages import TAIL_ROWS, PageRef, living, unpack_directory, unpack_page, unpack_tail

_SHOWN = 5  # examples in a detail


@dataclass(slots=True)
class MailboxAudit:
    """Feed it tombstones and pages in `_id` order, then `finish`; then it knows which UIDs live and which left."""

    document: Document
    recent_after: int
    """Entries saved after this (ms) are collected in `recent`."""
    findings: list[Finding] = field(default_factory=list)
    uids: array[int] = field(default_factory=lambda: array(U32))
    vanished: set[int] = field(default_factory=set)
    recent: list[int] = field(default_factory=list)
    entries: list[tuple[bytes, int]] = field(default_factory=list)
    """(body id, size) of the rows since the last `take_entries`."""
    _directory: dict[int, PageRef] = field(default_factory=dict)
    _tail: Columns = field(default_factory=Columns)
    _last_uid: int = 0
    _dead: list[int] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("messages", "unseen", "deleted", "size"), 0))
    _used_flags: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            refs = unpack_directory(self.document["pages"])
            self._tail = unpack_tail(self.document["tail"])
        except ValueError as error:
            self.find(FindingKind.DAMAGED_MAILBOX, str(error))
            return
        self._directory = {ref.number: ref for ref in refs}
        numbers, firsts = [ref.number for ref in refs], [ref.first_uid for ref in refs]
        if numbers != sorted(set(numbers)) or firsts != sorted(set(firsts)):
            self.find(FindingKind.WRONG_DIRECTORY, "its pages aren't in ascending order")

    @property
    def alive(self) -> bool:
        """False for a deleted mailbox, which is in no sum of its account."""
        return self.document.get("deleted_at") is None

    def find(self, kind: FindingKind, detail: str) -> None:
        """Note a finding in this mailbox."""
        self.findings.append(Finding(kind, self.document["a"], self.document["_id"], detail))

    def tombstone(self, document: Document) -> None:
        """One `vanished` document of the mailbox."""
        if document["modseq"] > self.document["highest_modseq"]:
            self.find(FindingKind.MODSEQ_TOO_HIGH, f"a tombstone has modseq {document['modseq']}")
        uids = unpack(U32, document["u"])
        if twice := [uid for uid in uids if uid in self.vanished]:
            self.find(FindingKind.VANISHED_TWICE, f"UIDs {_some(twice)}")
        self.vanished.update(uids)

    def page(self, number: int, halves: Mapping[bytes, Document]) -> None:
        """The documents of one page number, by kind."""
        ref = self._directory.pop(number, None)
        if ref is None:
            self.find(FindingKind.ORPHAN_PAGE, f"page {number} isn't in the directory")
            return
        if len(halves) != 2:
            self.find(FindingKind.MISSING_PAGE, f"page {number} has only one of its documents")
            return
        immutable, mutable = halves[b"i"], halves[b"m"]
        try:
            columns = unpack_page(immutable, mutable)
        except ValueError as error:
            self.find(FindingKind.DAMAGED_PAGE, f"page {number}: {error}")
            return
        dead = len(columns) - len(living(columns))
        actual = (columns.uids[0] if columns.uids else 0, len(columns), dead)
        if actual != (ref.first_uid, ref.rows, ref.dead):
            said = (ref.first_uid, ref.rows, ref.dead)
            self.find(FindingKind.WRONG_DIRECTORY, f"page {number} has (first UID, rows, dead) {actual}, not {said}")
        highest = max(columns.modseqs, default=0)
        if not highest <= mutable["max_modseq"] <= self.document["highest_modseq"]:
            detail = f"page {number} says {mutable['max_modseq']}, its rows have up to {highest}"
            self.find(FindingKind.WRONG_MAX_MODSEQ, detail)
        self._rows(columns, f"page {number}")

    def _rows(self, columns: Columns, where: str) -> None:
        uids = columns.uids
        if any(b <= a for a, b in zip([self._last_uid, *uids], uids, strict=False)):
            self.find(FindingKind.UIDS_OUT_OF_ORDER, f"{where} after UID {self._last_uid}")
        self._last_uid = max(self._last_uid, max(uids, default=0))
        if self._last_uid >= self.document["uid_next"]:
            self.find(FindingKind.UID_TOO_HIGH, f"{where} holds UID {self._last_uid}")
        if (modseq := max(columns.modseqs, default=0)) > self.document["highest_modseq"]:
            self.find(FindingKind.MODSEQ_TOO_HIGH, f"{where} has modseq {modseq}")
        counts, word0 = self._counts, columns.flags[0] if columns.flags else array("Q")
        ids = columns.body_ids
        for row, word in enumerate(word0):
            uid = uids[row]
            if word >= DEAD:
                self._dead.append(uid)
                continue
            counts["messages"] += 1
            counts["unseen"] += not word & SEEN
            counts["deleted"] += bool(word & DELETED)
            counts["size"] += columns.sizes[row]
            self.uids.append(uid)
            self.entries.append((bytes(ids[16 * row : 16 * row + 16]), columns.sizes[row]))
            if columns.save_dates[row] > self.recent_after:
                self.recent.append(uid)
        self._keywords(columns)

    def _keywords(self, columns: Columns) -> None:
        while len(self._used_flags) < len(columns.flags):
            self._used_flags.append(0)
        for number, column in enumerate(columns.flags):
            self._used_flags[number] |= reduce(or_, column, 0)

    def take_entries(self) -> list[tuple[bytes, int]]:
        """(body id, size) of the living rows seen since the last call."""
        taken, self.entries = self.entries, []
        return taken

    def finish(self) -> None:
        """All pages were fed: judge the tail and the sums."""
        for number in self._directory:
            self.find(FindingKind.MISSING_PAGE, f"page {number} of the directory isn't there")
        if len(self._tail) > TAIL_ROWS or len(living(self._tail)) != len(self._tail):
            self.find(FindingKind.BAD_TAIL, f"{len(self._tail)} rows, {len(living(self._tail))} of them living")
        self._rows(self._tail, "the tail")
        for name, actual in self._counts.items():
            if self.document[name] != actual:
                self.find(FindingKind.WRONG_COUNTER, f"{name} is {self.document[name]}, its entries make {actual}")
        self._judge_keywords()
        self.uids = array(U32, sorted(self.uids))  # in order already unless that was a finding
        if present := [uid for uid in self.uids if uid in self.vanished]:
            self.find(FindingKind.VANISHED_AND_PRESENT, f"UIDs {_some(present)}")
        if not self.document["vanished_floor"]:  # above it, tombstones may have been pruned
            untold = [uid for uid in self._dead if uid not in self.vanished]
            if untold:
                self.find(FindingKind.REMOVED_WITHOUT_TOMBSTONE, f"UIDs {_some(untold)}")
        if max(self.vanished, default=0) >= self.document["uid_next"]:
            self.find(FindingKind.UID_TOO_HIGH, f"a tombstone names UID {max(self.vanished)}")

    def _judge_keywords(self) -> None:
        names = self.document["keywords"]
        if len({name.casefold() for name in names}) != len(names) or len(names) > MAX_KEYWORDS:
            self.find(FindingKind.BAD_KEYWORD_TABLE, f"{len(names)} names, some of them equal or too many")
        for word, used in enumerate(self._used_flags):
            first = 0 if word == 0 else KEYWORD_BITS_WORD0 + 64 * (word - 1)
            width = KEYWORD_BITS_WORD0 if word == 0 else 64
            known = (1 << max(0, min(width, len(names) - first))) - 1
            if word == 0:
                known |= SYSTEM_MASK | DEAD
            if used & ~known:
                self.find(FindingKind.UNKNOWN_KEYWORD, f"word {word} uses bits {used & ~known:#x} of no keyword")

    def holds(self, uid: int) -> bool:
        """Whether a living row has this UID."""
        at = bisect_left(self.uids, uid)
        return at < len(self.uids) and self.uids[at] == uid


def _some(uids: list[int]) -> str:
    shown = ", ".join(str(uid) for uid in uids[:_SHOWN])
    return shown if len(uids) <= _SHOWN else f"{shown} and {len(uids) - _SHOWN} more"
