"""An import: every message of a source once into the account's mailboxes, however often it is killed and run again.

Folders are read side by side, the messages of one in order and in batches: while one is sent the next is read. What
can't be imported is reported and passed over. A message's idempotency key is made of the account, the folder, the
source's id and the bytes, so a repeat within a day is harmless even without the journal; the journal (which see)
makes it so for good, and quick.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from mailboatctl.errors import ApiRefused, CommandError
from mailboatctl.transfer.api import AccountApi, Upload
from mailboatctl.transfer.content import date_of, normalise, too_large
from mailboatctl.transfer.flags import cleaned
from mailboatctl.transfer.journal import Doubt, Entry, Journal
from mailboatctl.transfer.names import legal
from mailboatctl.transfer.report import Report
from mailboatctl.transfer.source import MAX_MESSAGE, Folder, FolderLost, Item, Source, Unreadable

BATCH_MESSAGES = 64
BATCH_BYTES = 4 << 20
FRESH_MS = 12 * 3600 * 1000  # the API knows a key for 24 hours; a run may take its time
_VIRTUAL = ("\\All", "\\Flagged")
_FULL = ("over_quota", "storage_full")


@dataclass(frozen=True, slots=True)
class Options:
    """`folders`, `exclude`: globs of folders' names. `since`: ms, older messages stay behind. `header_dates`: when a
    message came is what its header says. `special_uses`: "Sent Items" goes to the mailbox for sent mail.
    """

    address: str
    folders: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since: int | None = None
    header_dates: bool = False
    special_uses: bool = True
    deleted: bool = True
    concurrency: int = 4
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a folder goes."""

    folder: Folder
    mailbox: str


@dataclass(slots=True)
class _Batch:
    entries: list[Entry] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    size: int = 0

    def holds(self, more: int) -> bool:
        return len(self.entries) < BATCH_MESSAGES and (not self.entries or self.size + more <= BATCH_BYTES)


class Importer:
    """One run. `now`: ms since the epoch."""

    def __init__(
        self,
        source: Source,
        api: AccountApi,
        journal: Journal,
        options: Options,
        report: Report,
        *,
        now: Callable[[], int],
    ) -> None:
        self._source = source
        self._api = api
        self._journal = journal
        self._options = options
        self._report = report
        self._now = now
        self._stop = threading.Event()
        self._ended: CommandError | None = None

    def plan(self) -> list[Target]:
        """Where each folder goes that was asked for. Raises WrongUse, ApiRefused, Unreachable."""
        existing = self._api.mailboxes()
        uses = {item["special_use"]: item["name"] for item in existing if item["special_use"]}
        targets = []
        for folder in self._source.folders():
            if not self._wanted(folder):
                continue
            use = folder.special_use if self._options.special_uses else None
            targets.append(Target(folder, uses.get(use) or legal(folder.levels)))
        self._existing = {item["name"]: bool(item["subscribed"]) for item in existing}
        return targets

    def run(self, targets: list[Target]) -> None:
        """Imports. Raises CommandError when it can't go on; what was done until then is in the report and journal."""
        if not self._options.dry_run:
            for doubt in self._journal.doubts:
                if self._now() - doubt.at > FRESH_MS:
                    self._resolve(doubt)
        doubts = self._journal.doubts
        with (
            ThreadPoolExecutor(self._options.concurrency, "read") as readers,
            ThreadPoolExecutor(self._options.concurrency, "send") as self._senders,
        ):
            running = [readers.submit(self._guarded, target) for target in targets]
            try:
                for future in running:
                    future.result()
            except BaseException:
                self._stop.set()
                raise
        if self._ended is not None:
            raise self._ended
        if not self._options.dry_run:
            self._close(doubts, {target.folder.key for target in targets})

    def _wanted(self, folder: Folder) -> bool:
        options = self._options
        named = any(fnmatchcase(folder.shown, pattern) for pattern in options.folders)
        if any(fnmatchcase(folder.shown, pattern) for pattern in options.exclude) or (options.folders and not named):
            return False
        if folder.special_use in _VIRTUAL and not named:
            self._source.passed_over.append(f"{folder.shown} shows messages of other folders ({folder.special_use})")
            return False
        return True

    def _guarded(self, target: Target) -> None:
        if self._stop.is_set():
            return
        try:
            self._prepare(target)
            self._folder(target)
        except FolderLost as lost:
            self._report.lost(target.folder.shown, str(lost))
        except ApiRefused as refused:
            if refused.code in (401, 403):
                self._end(refused)
            else:
                self._report.lost(target.folder.shown, str(refused))
        except CommandError as error:
            self._end(error)

    def _end(self, error: CommandError) -> None:
        """Nothing of the rest can succeed."""
        self._ended = self._ended or error
        self._stop.set()

    def _prepare(self, target: Target) -> None:
        """The mailbox is there, and subscribed unless its owner wanted otherwise."""
        if self._options.dry_run:
            return
        subscribed = self._existing.get(target.mailbox)
        if subscribed is None:
            self._api.create(target.mailbox)  # which subscribes it
        wanted = target.folder.subscribed
        if wanted is False and subscribed is None:
            self._api.subscribe(target.mailbox, False)
        elif wanted and subscribed is False:
            self._api.subscribe(target.mailbox, True)

    def _folder(self, target: Target) -> None:
        sending: Future[None] | None = None
        batches = self._batches(target)
        try:
            for batch in batches:
                if sending is not None:
                    sending.result()
                if self._stop.is_set():
                    return
                sending = self._senders.submit(self._send, target, batch)
        finally:
            if sending is not None:
                sending.result()

    def _batches(self, target: Target) -> Iterator[_Batch]:
        folder = target.folder
        strays: Counter[str] | None = None
        batch = _Batch()
        lost: FolderLost | None = None

        def known(identifier: str) -> bool:
            found = self._journal.has(folder.key, identifier)
            if found:
                self._report.count(folder.shown, "already")
            return found

        try:
            for item in self._source.messages(folder, known):
                made = self._made(folder, item)
                if made is None:
                    continue
                entry, upload = made
                if item.generation:
                    strays = self._journal.strays(folder.key, item.generation) if strays is None else strays
                    if strays[entry.sha256] > 0:
                        strays[entry.sha256] -= 1
                        self._journal.same(folder.key, entry)
                        self._report.count(folder.shown, "already")
                        continue
                if not batch.holds(len(upload.content)):
                    yield batch
                    batch = _Batch()
                batch.entries.append(entry)
                batch.uploads.append(upload)
                batch.size += len(upload.content)
        except FolderLost as error:  # what was read before it was lost is imported all the same
            lost = error
        if batch.entries:
            yield batch
        if lost is not None:
            raise lost

    def _made(self, folder: Folder, item: Item) -> tuple[Entry, Upload] | None:
        """A message as it is sent; None if it isn't, and the report says why."""
        options = self._options
        if not options.header_dates and self._too_old(folder, item.date):
            return None
        if not options.deleted and "\\Deleted" in item.flags:
            self._report.count(folder.shown, "skipped")
            return None
        try:
            content, notes = normalise(item.load())
        except Unreadable as error:
            self._report.failed(folder.shown, item.id, str(error))
            return None
        if not content or len(content) > MAX_MESSAGE:
            why = too_large(len(content)) if content else "it is empty"
            self._report.failed(folder.shown, item.id, why)
            return None
        date = (date_of(content) if options.header_dates else None) or item.date
        if options.header_dates and self._too_old(folder, date):
            return None
        flags, left = cleaned(item.flags)
        if left:
            notes = (*notes, f"without flags that IMAP can't have: {' '.join(left)[:200]}")
        for note in notes:
            self._report.note(folder.shown, item.id, note)
        digest = hashlib.sha256(content).hexdigest()
        parts = (options.address.lower(), folder.key, item.id, digest)
        key = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
        return Entry(item.id, len(content), date, digest), Upload(key, content, flags, date)

    def _too_old(self, folder: Folder, date: int | None) -> bool:
        old = self._options.since is not None and date is not None and date < self._options.since
        if old:
            self._report.count(folder.shown, "skipped")
        return old

    def _send(self, target: Target, batch: _Batch) -> None:
        shown, key = target.folder.shown, target.folder.key
        if self._options.dry_run:
            self._report.count(shown, "imported", len(batch.entries), batch.size)
            return
        number = self._journal.sending(key, target.mailbox, self._now(), batch.entries)
        try:
            results = self._api.append(target.mailbox, batch.uploads)
        except ApiRefused as refused:
            self._journal.sent(number, [None] * len(batch.entries))
            if refused.code not in (400, 413, 422):
                raise
            self._refused(target, batch, str(refused))
            return
        self._journal.sent(number, [result["uid"] for result in results])
        full: str | None = None
        for entry, result in zip(batch.entries, results, strict=True):
            if result["uid"] is not None:
                self._report.count(shown, "imported", 1, entry.size)
            elif result["code"] in _FULL:
                full = str(result["error"])
            else:
                self._report.failed(shown, entry.id, str(result["error"]))
        if full is not None:
            raise CommandError(f"{full}. What was imported until now stays; make room and run it again.")

    def _refused(self, target: Target, batch: _Batch, why: str) -> None:
        """A batch was refused as a whole: the message it was refused for must not take the others along."""
        if len(batch.entries) == 1:
            self._report.failed(target.folder.shown, batch.entries[0].id, why)
            return
        for entry, upload in zip(batch.entries, batch.uploads, strict=True):
            self._send(target, _Batch([entry], [upload], entry.size))

    def _resolve(self, doubt: Doubt) -> None:
        """Look in the mailbox for a batch of long ago, which the API would not know any more."""
        open_entries = [entry for entry in doubt.entries if not self._journal.has(doubt.folder, entry.id)]
        uids: dict[str, int] = {}
        if open_entries:
            taken = self._journal.uids(doubt.folder)
            try:
                for message in self._api.messages(doubt.mailbox):
                    self._compare(message, open_entries, uids, taken)
            except ApiRefused as refused:
                if refused.code == 403:
                    why = "An import was interrupted over 12 hours ago: to see what it had done,"
                    raise CommandError(f"{why} the token needs the scope read-mail.") from refused
                if refused.code != 404:  # the mailbox is gone, and with it what was imported
                    raise
        self._journal.sent(doubt.number, [uids.get(entry.id) for entry in doubt.entries])

    def _compare(self, message: dict[str, object], entries: list[Entry], uids: dict[str, int], taken: set[int]) -> None:
        """Whether a message of the mailbox is one of the entries that aren't found yet."""
        if message["uid"] in taken:
            return
        similar = [
            entry
            for entry in entries
            if entry.id not in uids and entry.size == message["size"] and entry.date in (None, message["internal_date"])
        ]
        if not similar:
            return
        digest = hashlib.sha256(self._api.raw(str(message["id"]))).hexdigest()
        for entry in similar:
            if entry.sha256 == digest:
                uids[entry.id] = int(str(message["uid"]))
                return

    def _close(self, doubts: list[Doubt], folders: set[str]) -> None:
        """What was in doubt has been sent again, and is known."""
        for doubt in doubts:
            if doubt.folder in folders:
                self._journal.sent(doubt.number, [None] * len(doubt.entries))
