"""How entries rest in MongoDB: pages, tails and the page directory as bytes. Pure: no database types.

A page holds up to `PAGE_ROWS` entries in two documents: what never changes (uid, body id, internal date, save date,
size) and what does (modseq, flags). Row i is the same entry in both, until compaction rewrites them together. Bit 63 of
flag word 0 is the dead bit: the entry was removed but its row is still there. The tail, inside the mailbox's document,
holds the newest entries, at most `TAIL_ROWS`, as whole rows without dead ones. The directory, beside it, has a record
of each page: number, first UID, rows, dead rows; pages are in UID order and their UID ranges don't overlap.

A page's number is never below those before it, so pages sort by `_id` as by UID. All integers are little-endian but
the page number in an `_id`. Malformed bytes raise ValueError.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailboat_store_client.columns import I64, U32, U64, pack, unpack
from mailboat_store_client.types import DEAD, MAX_FLAG_WORDS, Columns, MailboxId

PAGE_ROWS = 256
TAIL_ROWS = 32
IMMUTABLE = b"i"
MUTABLE = b"m"

_TAIL_VERSION = 1
_TAIL_HEAD = struct.Struct("<BBH")
_DIRECTORY_RECORD = struct.Struct("<IIHH")
_ROW_BYTES = 4 + 8 + 16 + 8 + 8 + 4  # without flag words


@dataclass(frozen=True, slots=True)
class PageRef:
    """One record of the directory. `rows` counts dead ones too."""

    number: int
    first_uid: int
    rows: int
    dead: int


def page_id(mailbox_id: MailboxId, number: int, kind: bytes) -> bytes:
    """The `_id` of a page's document (21 bytes)."""
    return mailbox_id + number.to_bytes(4, "big") + kind


def split_page_id(value: bytes) -> tuple[MailboxId, int, bytes]:
    """(mailbox id, page number, kind) of a page's `_id`."""
    return MailboxId(value[:16]), int.from_bytes(value[16:20], "big"), value[20:]


def page_id_range(mailbox_id: MailboxId) -> tuple[bytes, bytes]:
    """First and last `_id` (inclusive) a page of this mailbox can have.

    Both are as long as an `_id`: MongoDB orders binaries by length first, so a shorter bound lets other mailboxes in.
    """
    return mailbox_id + bytes(5), mailbox_id + b"\xff" * 5


def pack_directory(pages: Sequence[PageRef]) -> bytes:
    """The directory as bytes, 12 a page."""
    return b"".join([_DIRECTORY_RECORD.pack(p.number, p.first_uid, p.rows, p.dead) for p in pages])


def unpack_directory(data: bytes) -> list[PageRef]:
    """The records of a directory."""
    if len(data) % _DIRECTORY_RECORD.size:
        raise ValueError(f"{len(data)} bytes are no page directory")
    return [PageRef(*record) for record in _DIRECTORY_RECORD.iter_unpack(data)]


def pack_tail(columns: Columns) -> bytes:
    """A tail as bytes."""
    rows = len(columns.uids)
    words = len(columns.flags)
    return b"".join(
        [
            _TAIL_HEAD.pack(_TAIL_VERSION, words, rows),
            pack(columns.uids),
            pack(columns.modseqs),
            *[pack(column) for column in columns.flags],
            bytes(columns.body_ids),
            pack(columns.internal_dates),
            pack(columns.save_dates),
            pack(columns.sizes),
        ]
    )


def unpack_tail(data: bytes) -> Columns:
    """The rows of a tail."""
    if len(data) < _TAIL_HEAD.size:
        raise ValueError("a tail without its head")
    version, words, rows = _TAIL_HEAD.unpack_from(data)
    if version != _TAIL_VERSION or not 1 <= words <= MAX_FLAG_WORDS:
        raise ValueError(f"a tail of version {version} with {words} flag words")
    if len(data) != _TAIL_HEAD.size + rows * (_ROW_BYTES + 8 * words):
        raise ValueError(f"a tail of {rows} rows in {len(data)} bytes")
    offset = _TAIL_HEAD.size

    def column(code: str, size: int) -> array[int]:
        nonlocal offset
        start, offset = offset, offset + rows * size
        return unpack(code, data[start:offset])

    uids = column(U32, 4)
    modseqs = column(U64, 8)
    flags = [column(U64, 8) for _ in range(words)]
    start, offset = offset, offset + 16 * rows
    return Columns(uids, modseqs, flags, bytearray(data[start:offset]), column(I64, 8), column(I64, 8), column(U32, 4))


def immutable_fields(columns: Columns) -> dict[str, bytes]:
    """The columns of a page's immutable document."""
    return {
        "u": pack(columns.uids),
        "b": bytes(columns.body_ids),
        "i": pack(columns.internal_dates),
        "s": pack(columns.save_dates),
        "z": pack(columns.sizes),
    }


def mutable_fields(columns: Columns) -> dict[str, Any]:
    """The columns of a page's mutable document; `max_modseq` is the caller's, since it never falls."""
    return {"q": pack(columns.modseqs), "f": [pack(column) for column in columns.flags]}


def unpack_page(immutable: Mapping[str, Any], mutable: Mapping[str, Any]) -> Columns:
    """The rows of a page from its two documents, dead ones included."""
    columns = Columns(
        unpack(U32, immutable["u"]),
        unpack(U64, mutable["q"]),
        [unpack(U64, word) for word in mutable["f"]],
        bytearray(immutable["b"]),
        unpack(I64, immutable["i"]),
        unpack(I64, immutable["s"]),
        unpack(U32, immutable["z"]),
    )
    rows = len(columns.uids)
    lengths = {len(columns.modseqs), len(columns.internal_dates), len(columns.save_dates), len(columns.sizes)}
    lengths.update(len(column) for column in columns.flags)
    if lengths != {rows} or len(columns.body_ids) != 16 * rows or not 1 <= len(columns.flags) <= MAX_FLAG_WORDS:
        raise ValueError(f"a page whose columns differ in length: {sorted(lengths | {rows})}")
    return columns


def living(columns: Columns) -> list[int]:
    """Indexes of the rows that aren't dead."""
    return [row for row, word in enumerate(columns.flags[0]) if word < DEAD]
