"""What one transaction read and what it will write: mutations are judged and applied here, purely in memory.

Rules: nothing here awaits. A mutation changes a state only after `touch`ing it, and records anything else it does
through `insert`, `operate` or `on_rollback`; so `rollback` takes back exactly one mutation, while what its siblings did
before stays. A document that was not read raises `Missing`: the committer reads it in the same transaction and judges
that mutation again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mailboat_common.errors import Internal, Refused, RefusedCode
from mailboat_store_client import names
from mailboat_store_client.queue import Job
from mailboat_store_client.types import DEAD, AccountId, Columns, MailboxId

from ..db import schema
from ..db.driver import Document, UpdateOne, WriteOperation
from ..queue.policy import QueuePolicy
from . import rows as columns_of
from .hooks import TraceEvent
from .outbox import Kind, event
from .pages import PAGE_ROWS, TAIL_ROWS, PageRef
from .state import AccountState, MailboxState, Page

DedupeId = tuple[bytes, bytes]
_DEFAULT_POLICY = QueuePolicy()


@dataclass(slots=True)
class Needs:
    """What a mutation reads for sure; the committer reads it for the whole batch at once."""

    keys: list[DedupeId] = field(default_factory=list)
    """Receipts and duplicate keys beside the mutation's own; only those named before the first read are looked for."""
    accounts: set[AccountId] = field(default_factory=set)
    inboxes: set[AccountId] = field(default_factory=set)
    mailboxes: set[MailboxId] = field(default_factory=set)
    named: set[tuple[AccountId, str]] = field(default_factory=set)
    trees: set[AccountId] = field(default_factory=set)
    pages: dict[MailboxId, set[int]] = field(default_factory=dict)
    marked: set[AccountId] = field(default_factory=set)
    """Accounts whose bodies marked for deletion are needed, because a body may be used again (rule 10)."""
    documents: dict[str, set[Any]] = field(default_factory=dict)
    """Other documents by collection and `_id`."""

    def name(self, account_id: AccountId, name: str) -> None:
        """A mailbox by name; INBOX is known by the account."""
        if name == "INBOX":
            self.inboxes.add(account_id)
        else:
            self.named.add((account_id, name))

    def merge(self, other: Needs) -> None:
        """Take in what `other` needs."""
        self.accounts |= other.accounts
        self.inboxes |= other.inboxes
        self.mailboxes |= other.mailboxes
        self.named |= other.named
        self.trees |= other.trees
        self.marked |= other.marked
        for mailbox_id, numbers in other.pages.items():
            self.pages.setdefault(mailbox_id, set()).update(numbers)
        for collection, ids in other.documents.items():
            self.documents.setdefault(collection, set()).update(ids)


class Missing(Exception):
    """A mutation met something that wasn't read."""

    def __init__(self, needs: Needs) -> None:
        super().__init__()
        self.needs = needs


class TreeEntry(NamedTuple):
    """What the tree says of one living mailbox."""

    mailbox_id: MailboxId
    special_use: str | None


@dataclass(slots=True)
class Found:
    """Living rows of one page, or of the tail (`page` None), by index."""

    page: Page | None
    rows: list[int]


class Workspace:
    """The documents of one transaction."""

    def __init__(self, now: int, policy: QueuePolicy = _DEFAULT_POLICY, *, with_events: bool = True) -> None:
        self.now = now
        self.policy = policy
        self.with_events = with_events
        self.events: list[Document] = []
        self.accounts: dict[AccountId, AccountState | None] = {}
        self.mailboxes: dict[MailboxId, MailboxState | None] = {}
        self.names: dict[tuple[AccountId, str], MailboxId | None] = {}
        self.trees: dict[AccountId, dict[str, TreeEntry]] = {}
        self.marked: dict[AccountId, set[bytes]] = {}
        self.dedupe: dict[DedupeId, Document] = {}
        self.documents: dict[tuple[str, Any], Document | None] = {}
        self.inserts: dict[str, list[Document]] = {}
        self.operations: dict[str, list[tuple[Any, WriteOperation]]] = {}
        self.news: dict[MailboxId, tuple[tuple[AccountId, MailboxId, int], bool]] = {}
        self.changed_trees: dict[AccountId, AccountState] = {}
        self.trace: list[TraceEvent] = []
        self.jobs: list[Job] = []
        self._undo: list[Callable[[], object]] = []
        self._round = 0

    # One mutation after the other

    def keep(self) -> None:
        """The mutation just applied stays."""
        self._undo.clear()
        self._round += 1

    def rollback(self) -> None:
        """Take back everything since the last `keep`."""
        for undo in reversed(self._undo):
            undo()
        self.keep()

    def on_rollback(self, undo: Callable[[], object]) -> None:
        """Call `undo` if the running mutation is taken back."""
        self._undo.append(undo)

    def touch(self, state: AccountState | MailboxState | Page) -> None:
        """Call before changing a state."""
        if state.touched == self._round:
            return
        saved, before = state.save(), state.touched
        state.touched = self._round

        def undo() -> None:
            state.restore(saved)
            state.touched = before

        self._undo.append(undo)

    # Reading

    def account(self, account_id: AccountId) -> AccountState:
        """An account that exists. Refused NO_ACCOUNT otherwise."""
        if account_id not in self.accounts:
            raise Missing(Needs(accounts={account_id}))
        account = self.accounts[account_id]
        if account is None or account.deleted:
            raise Refused(RefusedCode.NO_ACCOUNT, "No such account")
        return account

    def mailbox(self, account_id: AccountId, mailbox_id: MailboxId) -> MailboxState:
        """A living mailbox of the account. Refused NO_MAILBOX otherwise."""
        if mailbox_id not in self.mailboxes:
            raise Missing(Needs(mailboxes={mailbox_id}))
        mailbox = self.mailboxes[mailbox_id]
        if mailbox is None or not mailbox.alive or mailbox.account_id != account_id:
            raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
        return mailbox

    def by_name(self, account_id: AccountId, name: str) -> MailboxState:
        """A living mailbox by its canonical name. Refused NO_MAILBOX if there is none."""
        if name == "INBOX":
            return self.mailbox(account_id, self.account(account_id).inbox)
        if (account_id, name) not in self.names:
            raise Missing(Needs(named={(account_id, name)}))
        mailbox_id = self.names[account_id, name]
        if mailbox_id is None:
            raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
        return self.mailbox(account_id, mailbox_id)

    def tree(self, account_id: AccountId) -> dict[str, TreeEntry]:
        """All living mailboxes of the account by name."""
        if account_id not in self.trees:
            raise Missing(Needs(trees={account_id}))
        return self.trees[account_id]

    def marked_of(self, account_id: AccountId) -> set[bytes]:
        """Bodies of the account that garbage collection has marked."""
        if account_id not in self.marked:
            raise Missing(Needs(marked={account_id}))
        return self.marked[account_id]

    def document(self, collection: str, document_id: Any) -> Document | None:
        """Any other document by its `_id`."""
        if (collection, document_id) not in self.documents:
            raise Missing(Needs(documents={collection: {document_id}}))
        return self.documents[collection, document_id]

    def need_mailboxes(self, mailbox_ids: Iterable[MailboxId]) -> None:
        """Raise Missing for those of the mailboxes that aren't loaded."""
        missing = {mailbox_id for mailbox_id in mailbox_ids if mailbox_id not in self.mailboxes}
        if missing:
            raise Missing(Needs(mailboxes=missing))

    def need_pages(self, mailbox: MailboxState, numbers: Iterable[int]) -> None:
        """Raise Missing for those of the pages that aren't loaded."""
        missing = {number for number in numbers if number not in mailbox.pages}
        if missing:
            raise Missing(Needs(pages={mailbox.mailbox_id: missing}))

    # Names

    def set_name(self, mailbox: MailboxState, name: str | None) -> None:
        """Give a mailbox a name, or take it away; keeps the look-ups in step."""
        self.touch(mailbox)
        account_id, old = mailbox.account_id, mailbox.name
        tree = self.tree(account_id)
        before_tree, before_names = dict(tree), dict(self.names)

        def undo() -> None:
            self.trees[account_id] = before_tree
            self.names = before_names

        self.on_rollback(undo)
        if old is not None and old in tree and tree[old].mailbox_id == mailbox.mailbox_id:
            del tree[old]
            self.names[account_id, old] = None
        mailbox.name = name
        if name is not None:
            tree[name] = TreeEntry(mailbox.mailbox_id, mailbox.special_use)
            self.names[account_id, name] = mailbox.mailbox_id

    def add_mailbox(self, mailbox: MailboxState) -> None:
        """Add a mailbox made by this transaction, under its name."""
        name = mailbox.name
        assert name is not None
        self.mailboxes[mailbox.mailbox_id] = mailbox
        self.on_rollback(lambda: self.mailboxes.pop(mailbox.mailbox_id, None))
        self.documents[schema.ANNOTATIONS, mailbox.mailbox_id] = None  # of a new mailbox there are none to read
        mailbox.name = None
        self.set_name(mailbox, names.canonical(name))

    # Writing other documents

    def insert(self, collection: str, document: Document) -> None:
        """Insert a document with the transaction."""
        target = self.inserts.setdefault(collection, [])
        target.append(document)
        self.on_rollback(target.pop)

    def change(self, collection: str, document: Document, fields: Document, gone: Iterable[str] = ()) -> Document:
        """Set and remove fields of a document that was read; mutations after this one see it so. Returns it."""
        document_id = document["_id"]
        gone = [name for name in gone if name in document]
        changed = {name: value for name, value in document.items() if name not in gone} | fields
        update: Document = {"$set": fields} | ({"$unset": dict.fromkeys(gone, "")} if gone else {})
        self.operate(collection, document_id, UpdateOne({"_id": document_id}, update))
        self.documents[collection, document_id] = changed
        self.on_rollback(lambda: self.documents.__setitem__((collection, document_id), document))
        return changed

    def remember(self, key: DedupeId, document: Document) -> None:
        """A receipt or duplicate key made by this transaction, for the mutations after this one."""
        before = self.dedupe.get(key)

        def undo() -> None:
            if before is None:
                self.dedupe.pop(key, None)
            else:
                self.dedupe[key] = before

        self.on_rollback(undo)
        self.dedupe[key] = document

    def operate(self, collection: str, document_id: Any, operation: WriteOperation) -> None:
        """Any other write; operations are done in order of `document_id`."""
        target = self.operations.setdefault(collection, [])
        target.append((document_id, operation))
        self.on_rollback(target.pop)

    def tell(self, mailbox: MailboxState, *, deleted: bool = False) -> None:
        """News of this mailbox after the commit."""
        before = self.news.get(mailbox.mailbox_id)

        def undo() -> None:
            if before is None:
                self.news.pop(mailbox.mailbox_id, None)
            else:
                self.news[mailbox.mailbox_id] = before

        self.on_rollback(undo)
        self.news[mailbox.mailbox_id] = (mailbox.account_id, mailbox.mailbox_id, mailbox.highest_modseq), deleted

    def tell_tree(self, account: AccountState) -> None:
        """News of the account's tree after the commit."""
        if account.account_id not in self.changed_trees:
            self.changed_trees[account.account_id] = account
            self.on_rollback(lambda: self.changed_trees.pop(account.account_id))

    def tell_trace(self, event: TraceEvent) -> None:
        """A trace event after the commit."""
        self.trace.append(event)
        self.on_rollback(self.trace.pop)

    def tell_job(self, job: Job) -> None:
        """A queue document that can be tried at once after the commit."""
        self.jobs.append(job)
        self.on_rollback(self.jobs.pop)

    def emit(self, account: AccountState, kind: Kind, data: Document) -> None:
        """An event for other systems, committed with the transaction (see `outbox`)."""
        if not self.with_events:
            return
        self.touch(account)
        account.seq += 1
        self.events.append(
            event(kind, self.now, data, account_id=account.account_id, seq=account.seq, address=account.address)
        )
        self.on_rollback(self.events.pop)

    def emit_unowned(self, kind: Kind, data: Document, domain: str) -> None:
        """An event of mail that is no account's, such as a relayed bounce; it has no `seq`."""
        if self.with_events:
            self.events.append(event(kind, self.now, data, domain=domain))
            self.on_rollback(self.events.pop)

    # Rows

    def find(self, mailbox: MailboxState, uids: array[int] | None) -> list[Found]:
        """The living rows with these UIDs (ascending, no doubles; None: all), in UID order."""
        wanted = pages_of(mailbox, uids)
        self.need_pages(mailbox, [ref.number for ref, _, _ in wanted])
        found = []
        for ref, start, end in wanted:
            page = mailbox.pages[ref.number]
            rows = match(page.columns.uids, uids, start, end)
            flags = page.columns.flags[0]
            if ref.dead:
                rows = [row for row in rows if flags[row] < DEAD]
            if rows:
                found.append(Found(page, rows))
        start = bisect_left(uids, mailbox.tail.uids[0]) if uids is not None and mailbox.tail.uids else 0
        rows = match(mailbox.tail.uids, uids, start, len(uids) if uids is not None else 0)
        if rows:
            found.append(Found(None, rows))
        return found

    def append_rows(self, mailbox: MailboxState, new: Columns) -> None:
        """Add rows whose UIDs follow all others; full groups of the tail go into pages. Counters are the caller's."""
        self.touch(mailbox)
        columns_of.extend(mailbox.tail, new)
        total = len(mailbox.tail.uids)
        if total <= TAIL_ROWS:
            return
        cut = total - total % TAIL_ROWS
        flushed = columns_of.part(mailbox.tail, 0, cut)
        mailbox.tail = columns_of.part(mailbox.tail, cut, total)
        self._fill_pages(mailbox, flushed)

    def _fill_pages(self, mailbox: MailboxState, new: Columns) -> None:
        done, total = 0, len(new.uids)
        last = mailbox.directory[-1] if mailbox.directory else None
        if last is not None and last.rows < PAGE_ROWS:
            self.need_pages(mailbox, [last.number])
            page = mailbox.pages[last.number]
            self.touch(page)
            done = min(PAGE_ROWS - last.rows, total)
            more = columns_of.part(new, 0, done)
            columns_of.extend(page.columns, more)
            page.max_modseq = max(page.max_modseq, *more.modseqs)
            page.immutable_changed = page.mutable_changed = True
            mailbox.directory[-1] = PageRef(last.number, last.first_uid, last.rows + done, last.dead)
        number = last.number if last is not None else -1
        while done < total:
            number += 1
            piece = columns_of.part(new, done, min(done + PAGE_ROWS, total))
            done += len(piece.uids)
            mailbox.pages[number] = Page(number, piece, max(piece.modseqs), is_new=True)
            mailbox.directory.append(PageRef(number, piece.uids[0], len(piece.uids), 0))


def pages_of(mailbox: MailboxState, uids: Sequence[int] | None) -> list[tuple[PageRef, int, int]]:
    """The pages that may hold some of the UIDs, each with the slice [start, end) of `uids` in its range."""
    if uids is None:
        return [(ref, 0, 0) for ref in mailbox.directory]
    out = []
    directory = mailbox.directory
    start = bisect_left(uids, directory[0].first_uid) if directory else 0
    for index, ref in enumerate(directory):
        if start >= len(uids):
            break
        following = directory[index + 1].first_uid if index + 1 < len(directory) else None
        end = len(uids) if following is None else bisect_left(uids, following, start)
        if end > start:
            out.append((ref, start, end))
        start = end
    return out


def match(column: array[int], uids: array[int] | None, start: int, end: int) -> list[int]:
    """Indexes in `column` (ascending) of the UIDs `uids[start:end]` (ascending); all of them for None."""
    if uids is None:
        return list(range(len(column)))
    if not column or start >= end:
        return []
    if end - start == len(column) and uids[start:end] == column:
        return list(range(len(column)))
    if end - start > 16:
        wanted = set(uids[start:end])
        return [row for row, uid in enumerate(column) if uid in wanted]
    found = []
    for uid in uids[start:end]:
        row = bisect_left(column, uid)
        if row < len(column) and column[row] == uid:
            found.append(row)
    return found


def check_page(mailbox: MailboxState, page: Page) -> None:
    """A page whose rows don't fit the directory's record is a broken invariant."""
    for ref in mailbox.directory:
        if ref.number == page.number and (ref.rows != len(page.columns.uids) or ref.first_uid != page.columns.uids[0]):
            raise Internal(f"page {page.number} of mailbox {mailbox.mailbox_id.hex()} doesn't fit its directory")
