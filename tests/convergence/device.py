"""A mail client that keeps a copy of one mailbox, and believes only what the server tells it.

It holds the server to the rules copies depend on (RFC 9051 5.2, 7.5.1; RFC 7162 3): numbers and UIDs agree, EXPUNGE is
never told while a number is being used, nothing is told twice. `resync` is what an offline client does when it is back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.imap import Client

_FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)", re.DOTALL)
_UID = re.compile(rb"\bUID (\d+)")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_MODSEQ = re.compile(rb"MODSEQ \((\d+)\)")
_SUBJECT = re.compile(rb"Subject: ([^\r]+)")
_VANISHED = re.compile(rb"\* VANISHED (\(EARLIER\) )?([\d:,]+)")

Flags = frozenset[str]
Rows = dict[int, Flags]


@dataclass
class Device:
    """One connection and the copy it keeps. `uids[n]` is the UID of message n + 1, 0 while it isn't known yet."""

    client: Client
    box: str = ""
    uid_validity: int = 0
    modseq: int = 0
    """Everything up to here is in the copy: what a client may go on from when it comes back."""
    flags: Rows = field(default_factory=dict)
    uids: list[int] = field(default_factory=list)
    highest: int = 0
    uid_next: int = 0  # when the mailbox was selected
    qresync: bool = False

    # --- reading ---

    async def command(self, text: str, literal: bytes | None = None) -> tuple[bytes, list[bytes]]:
        """Run a command; its tagged answer without the tag, and the untagged lines (all taken in already)."""
        line = text.encode()
        if literal is not None:
            line += b" {%d+}\r\n%b" % (len(literal), literal)
        *lines, last = await self.client.command(line)
        word = text.split(" ", 1)[0]
        for each in lines:
            assert word not in ("STORE", "FETCH", "SEARCH") or not each.endswith(b" EXPUNGE"), (text, each)
            assert word not in ("STORE", "FETCH", "SEARCH") or not each.startswith(b"* VANISHED "), (text, each)
            self.take(each)
        assert last, f"the connection ended in {text}"
        return last.split(b" ", 1)[1], lines

    async def ok(self, text: str) -> list[bytes]:
        """The untagged lines of a command that must succeed."""
        answer, lines = await self.command(text)
        assert answer.startswith(b"OK"), (text, answer)
        return lines

    def take(self, line: bytes) -> None:
        """One untagged response."""
        if found := _FETCH.fullmatch(line):
            self._take_fetch(int(found[1]), found[2])
        elif found := re.fullmatch(rb"\* (\d+) EXISTS", line):
            assert int(found[1]) >= len(self.uids), "EXISTS never shrinks a mailbox"
            self.uids += [0] * (int(found[1]) - len(self.uids))
        elif found := re.fullmatch(rb"\* (\d+) EXPUNGE", line):
            assert not self.qresync, "QRESYNC: removals are told as VANISHED"
            self.flags.pop(self.uids.pop(int(found[1]) - 1), None)
        elif found := _VANISHED.fullmatch(line):
            assert self.qresync
            self._take_vanished(_numbers(found[2]), earlier=found[1] is not None)
        elif found := re.match(rb"\* OK \[HIGHESTMODSEQ (\d+)\]", line):
            self.highest = int(found[1])

    def _take_fetch(self, number: int, items: bytes) -> None:
        uid, flags, modseq = _UID.search(items), _FLAGS.search(items), _MODSEQ.search(items)
        assert 1 <= number <= len(self.uids), f"FETCH of message {number} of {len(self.uids)}"
        if uid is not None:
            known = self.uids[number - 1]
            assert known in (0, int(uid[1])), f"message {number} was UID {known} and is {uid[1]!r}"
            self.uids[number - 1] = int(uid[1])
        if flags is not None and self.uids[number - 1]:
            names = flags[1].decode().split()
            self.flags[self.uids[number - 1]] = frozenset(names) - {"\\Recent"}
        if modseq is not None:
            self.highest = max(self.highest, int(modseq[1]))

    def _take_vanished(self, uids: Sequence[int], *, earlier: bool) -> None:
        for uid in uids:
            self.flags.pop(uid, None)
            if earlier:
                continue
            if uid in self.uids:
                self.uids.remove(uid)
                continue
            # It was counted by EXISTS and its UID not asked for yet: one of the unknown before the next UID above it.
            above = next((at for at, known in enumerate(self.uids) if known > uid), len(self.uids))
            assert self.uids[above - 1 : above] == [0], f"VANISHED {uid}, which no EXISTS has told of"
            del self.uids[above - 1]

    # --- the copy ---

    @property
    def known(self) -> list[int]:
        """UIDs it knows."""
        return [uid for uid in self.uids if uid]

    async def look(self) -> None:
        """NOOP, and fetch what is new: after it the copy is as the server's view was."""
        await self.ok("NOOP")
        await self.complete()
        if not any(uid == 0 for uid in self.uids):
            self.modseq = max(self.modseq, self.highest)

    async def complete(self) -> None:
        """Ask for UID and flags of messages that EXISTS alone has told."""
        while 0 in self.uids:
            first = self.uids.index(0) + 1
            await self.ok(f"FETCH {first}:* (UID FLAGS)")
            if 0 in self.uids:  # gone meanwhile: the next command that may tell it does
                await self.ok("NOOP")

    async def open(self, box: str) -> None:
        """SELECT a mailbox for the first time and copy it."""
        self.box = box
        await self._select("")
        self.flags.clear()
        await self.complete()
        self.modseq = self.highest

    async def resync(self, box: str, known: str = "") -> None:
        """SELECT a mailbox it has a copy of, and bring the copy up to date by RFC 7162: with QRESYNC if that is
        enabled (`known` is the rest of its parameter), else with CONDSTORE and a SEARCH.
        """
        self.box = box
        before, since = self.uid_validity, self.modseq
        await self._select(f" (QRESYNC ({before} {since}{known}))" if self.qresync else " (CONDSTORE)")
        if before != self.uid_validity:
            self.flags.clear()
            self.modseq = 0
        elif not self.qresync:
            await self.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {since})")
        await self._compare_uids()
        if before == self.uid_validity:
            # What the client didn't name as known is new to it, and not the server's to tell (RFC 7162 3.2.5.1).
            end = min(self.uid_next, int(known.split(" ")[1].rpartition(":")[2]) + 1) if known else self.uid_next
            untold = [uid for uid in self.known if uid not in self.flags and uid < end]
            assert not untold, f"UIDs {untold} weren't told"
        for uid in [uid for uid in self.known if uid not in self.flags]:  # a new mailbox, or new since SELECT
            await self.ok(f"UID FETCH {uid} (FLAGS)")
        await self.look()

    async def _compare_uids(self) -> None:
        """Which UIDs there are, and their numbers (RFC 7162 6): the rest of the copy is gone."""
        _, lines = await self.command("UID SEARCH RETURN (ALL) ALL")
        at = next(number for number, line in enumerate(lines) if line.startswith(b"* ESEARCH"))
        there = _found(lines[at])
        gone = set(self.flags) - set(there)
        await self.complete_numbers()
        gone |= self.flags.keys() - set(self.known)  # told as the EXPUNGE of a number whose UID it didn't know yet
        assert not (gone and self.qresync), f"UIDs {gone} are gone and that wasn't told"
        for uid in gone:
            self.flags.pop(uid, None)

    async def complete_numbers(self) -> None:
        """The UID behind every number."""
        while 0 in self.uids:
            await self.ok("FETCH 1:* (UID)")
            if 0 in self.uids:
                await self.ok("NOOP")

    async def _select(self, parameters: str) -> None:
        self.uids, self.highest = [], 0
        lines = await self.ok(f"SELECT {self.box}{parameters}")
        said = b"\n".join(lines)
        found, following = re.search(rb"\[UIDVALIDITY (\d+)\]", said), re.search(rb"\[UIDNEXT (\d+)\]", said)
        assert found is not None
        assert following is not None
        self.uid_validity, self.uid_next = int(found[1]), int(following[1])

    def copy(self) -> Rows:
        """UID → flags; only what the server still has."""
        return {uid: self.flags.get(uid, frozenset({"?"})) for uid in self.uids}

    # --- IDLE ---

    async def idle_until(self, rows: Rows, seconds: float) -> None:
        """IDLE until the server has told enough to know these rows; TimeoutError after `seconds`."""
        self.client.send(b"i IDLE\r\n")
        async with asyncio.timeout(seconds):
            while not (line := await self.client.response()).startswith(b"+"):
                self.take(line)
            while not self._told(rows):
                line = await self.client.response()
                assert line, "the connection ended in IDLE"
                self.take(line)
        self.client.send(b"DONE\r\n")
        *lines, last = await self.client.until(b"i ")
        assert last.startswith(b"i OK"), last
        for line in lines:
            self.take(line)
        await self.complete()

    def _told(self, rows: Rows) -> bool:
        told = {uid: self.flags.get(uid) for uid in self.known}
        return len(self.uids) == len(rows) and all(rows.get(uid) == flags for uid, flags in told.items())


async def truth(client: Client, box: str) -> dict[int, tuple[str, Flags]]:
    """The mailbox as a session that has only just come sees it: UID → subject and flags."""
    await client.ok(f"EXAMINE {box}")
    rows: dict[int, tuple[str, Flags]] = {}
    for line in await client.ok("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])"):
        uid, flags, subject = _UID.search(line), _FLAGS.search(line), _SUBJECT.search(line)
        if uid is not None and flags is not None and subject is not None:
            rows[int(uid[1])] = subject[1].decode(), frozenset(flags[1].decode().split()) - {"\\Recent"}
    return rows


def _found(line: bytes) -> list[int]:
    """The numbers of an ESEARCH response."""
    found = re.search(rb" ALL ([\d:,]+)", line)
    return [] if found is None else _numbers(found[1])


def _numbers(text: bytes) -> list[int]:
    """`1:3,7` as numbers, ascending."""
    numbers: list[int] = []
    for piece in text.split(b","):
        low, _, high = piece.partition(b":")
        numbers += range(int(low), int(high or low) + 1)
    return numbers
