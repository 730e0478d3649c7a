"""What a mutation is to the committer.

A mutation is judged and applied in memory, against what the transaction read; it either returns a result, or raises
`Refused` and leaves no trace while the others in its transaction go on. Its result is kept as a receipt under its
caller's key (store.md, rule 6), in the same transaction; `repeat` turns the receipt into the answer to a repeat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from typing import ClassVar, Generic, TypeVar

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.types import AccountId, Columns, Delta, MailboxId

from ..db.driver import Document
from .state import MailboxState
from .workspace import Needs, Workspace

R = TypeVar("R")

OVERHEAD_BYTES = 1024  # of a mutation in a transaction, beside its bodies


class Mutation(ABC, Generic[R]):
    """One item of a transaction. `size` estimates what it adds to the transaction, in octets."""

    kind: ClassVar[str]

    def __init__(self, account_id: AccountId, key: bytes | None, size: int = 0) -> None:
        self.account_id = account_id
        self.key = key
        self.size = size + OVERHEAD_BYTES

    @property
    def accounts(self) -> set[AccountId]:
        """Accounts whose documents it may change: no two transactions of this process work on one at a time."""
        return {self.account_id}

    @abstractmethod
    def needs(self) -> Needs:
        """What it reads in any case."""

    def prefetch(self, ws: Workspace) -> Needs | None:
        """What it will read next, as far as the first documents show; what is forgotten here is read when missed."""
        return None

    @abstractmethod
    def apply(self, ws: Workspace) -> R:
        """Judge and do it. Raises Refused; raises Missing for what wasn't read."""

    @abstractmethod
    def receipt(self, result: R) -> Document:
        """The result as a document."""

    @abstractmethod
    def repeat(self, ws: Workspace, receipt: Document) -> R:
        """The answer to a repeat."""


def blind_delta(ws: Workspace, account_id: AccountId, mailbox_id: MailboxId) -> Delta:
    """The delta of a repeat: no view's sync point equals 0, so every view asks for changes."""
    try:
        mailbox = ws.mailbox(account_id, mailbox_id)
    except Refused as refused:
        if refused.code is not RefusedCode.NO_MAILBOX:
            raise
        return Delta(mailbox_id, 0, 0, 0, MailboxState.no_table(), Columns(), array("I"))
    ws.tell(mailbox)  # the first commit's news may have died with its process
    return delta_of(mailbox, 0)


def delta_of(
    mailbox: MailboxState, before: int, changed: Columns | None = None, vanished: array[int] | None = None
) -> Delta:
    """What a mutation did to a mailbox since its modseq was `before`."""
    return Delta(
        mailbox.mailbox_id,
        before,
        mailbox.highest_modseq,
        mailbox.uid_next,
        mailbox.table(),
        changed if changed is not None else Columns(),
        vanished if vanished is not None else array("I"),
    )
