"""What an audit can find. The values of `FindingKind` are read by operators and scripts: append only."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields


class FindingKind(enum.Enum):
    """Kinds of faults, the gravest first."""

    LOST_MESSAGE = "lost_message"  # a receipt says filed; it is neither there nor removed by a tombstone
    DOUBLE_MESSAGE = "double_message"  # filed twice under one transaction, or one place claimed twice
    UNCLAIMED_ENTRY = "unclaimed_entry"  # a new entry no receipt or move accounts for: filed twice, or from nowhere
    REMOVED_WITHOUT_TOMBSTONE = "removed_without_tombstone"
    MISSING_BODY = "missing_body"
    DAMAGED_BODY = "damaged_body"  # wrong size, missing or wrong segments
    QUEUED_WITHOUT_CONTENT = "queued_without_content"  # mail out whose message is missing or not whole
    QUEUE_STUCK = "queue_stuck"  # due for an hour: no worker runs the scheduler, or no delivery worker claims
    UNTOLD_FAILURE = "untold_failure"  # mail out failed without the notice its sender is owed
    DAMAGED_QUEUE = "damaged_queue"  # done, though a recipient waits
    ACCEPTED_WITHOUT_CONTENT = "accepted_without_content"
    ACCEPTED_STUCK = "accepted_stuck"  # no attempt for an hour: no worker does the sweep
    NOTICE_STUCK = "notice_stuck"  # a sender isn't told of a failure: no attempt for an hour
    DAMAGED_MAILBOX = "damaged_mailbox"  # its tail or directory can't be read
    DAMAGED_PAGE = "damaged_page"  # unreadable, or its two documents differ in rows
    MISSING_PAGE = "missing_page"
    ORPHAN_PAGE = "orphan_page"  # in no directory, or of no mailbox
    ORPHAN_MAILBOX = "orphan_mailbox"  # of no account
    WRONG_DIRECTORY = "wrong_directory"
    UIDS_OUT_OF_ORDER = "uids_out_of_order"  # also overlapping pages
    UID_TOO_HIGH = "uid_too_high"
    MODSEQ_TOO_HIGH = "modseq_too_high"
    WRONG_MAX_MODSEQ = "wrong_max_modseq"
    BAD_TAIL = "bad_tail"  # too long, or with dead rows
    UNKNOWN_KEYWORD = "unknown_keyword"
    BAD_KEYWORD_TABLE = "bad_keyword_table"
    VANISHED_AND_PRESENT = "vanished_and_present"
    VANISHED_TWICE = "vanished_twice"
    WRONG_COUNTER = "wrong_counter"
    WRONG_USAGE = "wrong_usage"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `account` and `mailbox` are ids (16 bytes) where it has one; `detail` is for operators."""

    kind: FindingKind
    account: bytes | None
    mailbox: bytes | None
    detail: str

    def line(self) -> dict[str, str]:
        """As a line of the report."""
        where = {name: value.hex() for name, value in (("account", self.account), ("mailbox", self.mailbox)) if value}
        return {"finding": self.kind.value, **where, "detail": self.detail}


@dataclass(slots=True)
class Summary:
    """What was looked at. An accepted message is one of visible, removed, duplicate, queued, delivered
    and bounced, or a finding."""

    accounts: int = 0
    mailboxes: int = 0
    entries: int = 0
    tombstones: int = 0
    bodies: int = 0
    receipts: int = 0
    visible: int = 0
    removed: int = 0
    duplicates: int = 0
    queued: int = 0
    delivered: int = 0
    bounced: int = 0
    findings: int = 0

    def line(self) -> dict[str, dict[str, int]]:
        """As the last line of the report."""
        return {"summary": {f.name: getattr(self, f.name) for f in fields(self)}}
