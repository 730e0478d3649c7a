"""The few ways a mailbox changes; every mutation is made of these.

Each change of a mailbox happens under a modseq that `next_modseq` gave (store.md, rule 2); counters, directory and
usage are kept in step here and nowhere else.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.columns import U32, pack
from mailboat_store_client.types import (
    DEAD,
    DELETED,
    KEYWORD_BITS_WORD0,
    MAX_KEYWORDS,
    SEEN,
    SYSTEM_FLAGS,
    SYSTEM_MASK,
    Columns,
    keyword_bit,
)

from ..db import schema
from . import rows as columns_of
from .pages import TAIL_ROWS, PageRef, immutable_fields
from .state import AccountState, MailboxState
from .workspace import Found, Workspace

MAX_UID = (1 << 32) - 1
MAX_KEYWORD_BYTES = 255
VANISHED_PART_ROWS = 100_000  # of ~56 bytes: a document stays under 16 MB

_SYSTEM = {name.casefold(): mask for name, mask in SYSTEM_FLAGS.items()}


@dataclass(frozen=True, slots=True)
class MoveTarget:
    """Where moved rows went: kept in the tombstone."""

    mailbox_id: bytes
    uids: array[int]


def next_modseq(ws: Workspace, mailbox: MailboxState) -> int:
    """The modseq of the change that is about to be made."""
    ws.touch(mailbox)
    mailbox.highest_modseq += 1
    return mailbox.highest_modseq


def check_quota(account: AccountState, size: int, messages: int) -> None:
    """Refused OVER_QUOTA when `messages` more, of `size` octets together, don't fit (rule 14)."""
    if not account.quota().admits(size, messages):
        raise Refused(RefusedCode.OVER_QUOTA, "Quota exceeded")


def take_uids(ws: Workspace, mailbox: MailboxState, count: int) -> int:
    """The first of `count` new UIDs. Refused LIMIT when the mailbox has used all of them."""
    if mailbox.uid_next + count > MAX_UID:
        raise Refused(RefusedCode.LIMIT, "This mailbox has used all its UIDs")
    ws.touch(mailbox)
    first = mailbox.uid_next
    mailbox.uid_next += count
    return first


def flag_words(ws: Workspace, mailbox: MailboxState, flags: Iterable[str], *, grow: bool) -> list[int]:
    """The bits of `flags`. Unknown keywords get one (`grow`) or are passed over (rule 11).

    Refused INVALID for an unknown system flag, LIMIT when a keyword finds no bit.
    """
    words = [0]
    index: dict[str, int] | None = None
    for flag in flags:
        fold = flag.casefold()
        if fold in _SYSTEM:
            words[0] |= _SYSTEM[fold]
            continue
        if not flag or flag.startswith("\\") or len(flag.encode()) > MAX_KEYWORD_BYTES:
            raise Refused(RefusedCode.INVALID, "Unknown system flag or impossible keyword")
        if index is None:
            index = {name.casefold(): number for number, name in enumerate(mailbox.keywords)}
        number = index.get(fold)
        if number is None:
            if not grow:
                continue
            number = index[fold] = add_keyword(ws, mailbox, flag)
        set_bit(words, number)
    return words


def add_keyword(ws: Workspace, mailbox: MailboxState, name: str) -> int:
    """A new keyword's number. Refused LIMIT past 250 names ever."""
    if len(mailbox.keywords) >= MAX_KEYWORDS:
        raise Refused(RefusedCode.LIMIT, "Too many keywords in this mailbox")
    ws.touch(mailbox)
    mailbox.keywords.append(name)
    return len(mailbox.keywords) - 1


def set_bit(words: list[int], keyword: int) -> None:
    """Set a keyword's bit in a word list that grows as needed."""
    word, mask = keyword_bit(keyword)
    while len(words) <= word:
        words.append(0)
    words[word] |= mask


def map_keywords(ws: Workspace, source: MailboxState, target: MailboxState, columns: Columns) -> None:
    """Rewrite keyword bits of rows of `source` to those of `target`, by name (rule 11)."""
    if source is target:
        return
    used = [0] * len(columns.flags)
    for word, column in enumerate(columns.flags):
        for value in column:
            used[word] |= value
    used[0] &= ~(SYSTEM_MASK | DEAD)
    if not any(used):
        return
    index = {name.casefold(): number for number, name in enumerate(target.keywords)}
    moves: list[tuple[int, int, int]] = []
    for number, name in enumerate(source.keywords):
        word, mask = keyword_bit(number)
        if word >= len(used) or not used[word] & mask:
            continue
        to = index.get(name.casefold())
        if to is None:
            to = index[name.casefold()] = add_keyword(ws, target, name)
        moves.append((word, mask, to))
    if all(keyword_bit(to) == (word, mask) for word, mask, to in moves):
        return
    count = len(columns.uids)
    words_needed = 1 + max(keyword_bit(to)[0] for _, _, to in moves)
    mapped = [array("Q", [value & SYSTEM_MASK for value in columns.flags[0]])]
    mapped += [array("Q", bytes(8 * count)) for _ in range(words_needed - 1)]
    for word, mask, to in moves:
        to_word, to_mask = keyword_bit(to)
        column, out = columns.flags[word], mapped[to_word]
        for row in range(count):
            if column[row] & mask:
                out[row] |= to_mask
    columns.flags[:] = mapped


def add(ws: Workspace, account: AccountState, mailbox: MailboxState, new: Columns) -> None:
    """Add rows (UIDs and modseqs given): pages, counters and usage."""
    ws.append_rows(mailbox, new)
    count, size = len(new.uids), sum(new.sizes)
    mailbox.messages += count
    mailbox.size += size
    mailbox.unseen += sum(1 for word in new.flags[0] if not word & SEEN)
    mailbox.deleted += sum(1 for word in new.flags[0] if word & DELETED)
    charge(ws, account, size, count)
    ws.tell(mailbox)


def charge(ws: Workspace, account: AccountState, size: int, messages: int) -> None:
    """Change an account's usage; removals (negative) are dated, so that garbage collection looks there."""
    ws.touch(account)
    account.bytes_used += size
    account.messages += messages
    if messages < 0:
        account.removals_at = ws.now


def rows_found(mailbox: MailboxState, found: Sequence[Found]) -> Columns:
    """The rows found, as columns of their own."""
    pieces = [columns_of.pick(f.page.columns if f.page else mailbox.tail, f.rows) for f in found]
    return columns_of.joined(pieces)


def remove(
    ws: Workspace,
    account: AccountState,
    mailbox: MailboxState,
    found: Sequence[Found],
    *,
    reason: str,
    target: MoveTarget | None = None,
) -> Columns:
    """Take rows out under one new modseq: dead bits, counters, tombstone (rule 9). Returns the rows as they were."""
    removed = rows_found(mailbox, found)
    modseq = next_modseq(ws, mailbox)
    numbers = {ref.number: position for position, ref in enumerate(mailbox.directory)}
    for piece in found:
        if piece.page is None:
            gone = set(piece.rows)
            stay = [row for row in range(len(mailbox.tail.uids)) if row not in gone]
            mailbox.tail = columns_of.pick(mailbox.tail, stay)
            continue
        ws.touch(piece.page)
        piece.page.mutable_changed = True
        column = piece.page.columns.flags[0]
        for row in piece.rows:
            column[row] |= DEAD
        position = numbers[piece.page.number]
        ref = mailbox.directory[position]
        dead = ref.dead + len(piece.rows)
        mailbox.directory[position] = PageRef(ref.number, ref.first_uid, ref.rows, dead)
        if dead * 2 > ref.rows and mailbox.compact_at is None:
            mailbox.compact_at = ws.now
    count, size = len(removed.uids), sum(removed.sizes)
    mailbox.messages -= count
    mailbox.size -= size
    mailbox.unseen -= sum(1 for word in removed.flags[0] if not word & SEEN)
    mailbox.deleted -= sum(1 for word in removed.flags[0] if word & DELETED)
    charge(ws, account, -size, -count)
    _bury(ws, mailbox, removed, modseq, reason=reason, target=target)
    ws.tell(mailbox)
    return removed


def _bury(
    ws: Workspace, mailbox: MailboxState, removed: Columns, modseq: int, *, reason: str, target: MoveTarget | None
) -> None:
    """The tombstone; a very large one in parts."""
    for part, start in enumerate(range(0, len(removed.uids), VANISHED_PART_ROWS)):
        piece = columns_of.part(removed, start, start + VANISHED_PART_ROWS)
        document = {
            "_id": mailbox.mailbox_id + modseq.to_bytes(8, "big") + part.to_bytes(2, "big"),
            "a": mailbox.account_id,
            "m": mailbox.mailbox_id,
            "modseq": modseq,
            "at": ws.now,
            "reason": reason,
            **immutable_fields(piece),
            "f": [pack(column) for column in piece.flags],
        }
        if target is not None:
            uids = target.uids[start : start + VANISHED_PART_ROWS]
            document["target"] = {"m": target.mailbox_id, "u": pack(uids)}
        ws.insert(schema.VANISHED, document)


def last_page_if_full(mailbox: MailboxState, coming: int) -> set[int]:
    """The page that the tail would move into if `coming` rows were added; for prefetching."""
    if len(mailbox.tail.uids) + coming <= TAIL_ROWS or not mailbox.directory:
        return set()
    return {mailbox.directory[-1].number}


def sorted_uids(uids: Iterable[int]) -> array[int]:
    """UIDs as `Workspace.find` wants them: ascending, no doubles, none that can't exist."""
    if isinstance(uids, array) and uids.typecode == U32 and _rising(uids):
        return uids
    return array(U32, sorted({uid for uid in uids if 0 < uid <= MAX_UID}))


def _rising(uids: array[int]) -> bool:
    return all(a < b for a, b in pairwise(uids))


assert KEYWORD_BITS_WORD0 + 3 * 64 == MAX_KEYWORDS, "250 keywords are exactly four words"
