"""The store's values as protobuf messages and back; with the other `codec_*` modules and `events` the only
place where the two meet.

`to_x` makes a message of a value, `from_x` a value of a message. Records are columns (`columns.py`). A number this
version doesn't know (an enum of a newer peer) raises ValueError, which both sides treat as a broken call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from mailboat.common.v1 import common_pb2 as common
from mailboat.storage.v1 import directory_pb2 as directory
from mailboat.storage.v1 import mailbox_read_pb2 as read
from mailboat.storage.v1 import mailbox_write_pb2 as write
from mailboat_common.errors import Failure, Internal, Refused, RefusedCode, Unavailable

from .columns import (
    I64,
    U32,
    U64,
    join,
    pack,
    pack_ids,
    pack_numbers,
    pack_ranges,
    split,
    unpack,
    unpack_ids,
    unpack_ranges,
)
from .framing import cut, frame, unframe
from .types import (
    AccountId,
    BodyField,
    BodyId,
    BodyInfo,
    Columns,
    CopyResult,
    Delta,
    FlagMode,
    FlagTable,
    MailboxChanges,
    MailboxHead,
    MailboxId,
    MailboxTree,
    MaildropLease,
    RecipientStatus,
    Resolution,
    SpecialUse,
    StoreResult,
    Vanished,
)

E = TypeVar("E")
N = TypeVar("N", bound=int)


def reverse(table: dict[E, N]) -> dict[int, E]:
    """A table of enum numbers, to read them."""
    return {int(number): value for value, number in table.items()}


FLAG_MODES = {
    FlagMode.ADD: write.FLAG_MODE_ADD,
    FlagMode.REMOVE: write.FLAG_MODE_REMOVE,
    FlagMode.REPLACE: write.FLAG_MODE_REPLACE,
}
RECIPIENT_STATUSES = {
    RecipientStatus.LOCAL: directory.RECIPIENT_STATUS_LOCAL,
    RecipientStatus.UNKNOWN: directory.RECIPIENT_STATUS_UNKNOWN,
    RecipientStatus.DISABLED: directory.RECIPIENT_STATUS_DISABLED,
    RecipientStatus.OVER_QUOTA: directory.RECIPIENT_STATUS_OVER_QUOTA,
    RecipientStatus.NOT_LOCAL: directory.RECIPIENT_STATUS_NOT_LOCAL,
    RecipientStatus.NOT_PERMITTED: directory.RECIPIENT_STATUS_NOT_PERMITTED,
}
_FLAG_MODES_BACK = reverse(FLAG_MODES)
_RECIPIENT_STATUSES_BACK = reverse(RECIPIENT_STATUSES)


# Errors


def to_error(error: Refused | Failure) -> common.ErrorDetail:
    """The body of an answer that isn't 200."""
    detail = common.ErrorDetail(public_text=error.public, private_text=error.private)
    if isinstance(error, Refused):
        detail.code = cast("common.ErrorCode", int(error.code))
    elif isinstance(error, Unavailable):
        detail.code = common.ERROR_CODE_UNAVAILABLE
    else:
        detail.code = common.ERROR_CODE_INTERNAL
    return detail


def from_error(detail: common.ErrorDetail) -> Refused | Failure:
    """The error a peer answered with; a code this version doesn't know is Internal."""
    code = detail.code
    if code in (common.ERROR_CODE_UNAVAILABLE, common.ERROR_CODE_DEADLINE):
        return Unavailable(detail.private_text)
    try:
        return Refused(RefusedCode(code), detail.public_text, detail.private_text)
    except ValueError:
        return Internal(f"storage answered error {code}: {detail.private_text}")


# Columns, mailboxes


def to_columns(columns: Columns, out: common.Columns) -> None:
    """Fills `out`."""
    if not columns.uids:
        return
    out.uids = pack(columns.uids)
    out.modseqs = pack(columns.modseqs)
    out.flags.extend([pack(words) for words in columns.flags])
    out.body_ids = bytes(columns.body_ids)
    out.internal_dates = pack(columns.internal_dates)
    out.save_dates = pack(columns.save_dates)
    out.sizes = pack(columns.sizes)


def from_columns(message: common.Columns) -> Columns:
    """The rows; columns of unequal length raise ValueError."""
    uids = unpack(U32, message.uids)
    if not uids:
        return Columns()
    columns = Columns(
        uids,
        unpack(U64, message.modseqs),
        [unpack(U64, words) for words in message.flags],
        message.body_ids,
        unpack(I64, message.internal_dates),
        unpack(I64, message.save_dates),
        unpack(U32, message.sizes),
    )
    rows = len(uids)
    lengths = {len(columns.modseqs), len(columns.internal_dates), len(columns.save_dates), len(columns.sizes)}
    lengths.update(len(words) for words in columns.flags)
    if lengths != {rows} or len(columns.body_ids) != 16 * rows or not columns.flags:
        raise ValueError("columns of unequal length")
    return columns


def to_head(head: MailboxHead, out: common.MailboxHead) -> None:
    """Fills `out`."""
    out.mailbox_id = head.mailbox_id
    out.name = head.name
    out.uid_validity = head.uid_validity
    out.uid_next = head.uid_next
    out.highest_modseq = head.highest_modseq
    out.messages = head.messages
    out.unseen = head.unseen
    out.deleted = head.deleted
    out.size = head.size
    _to_flag_table(head.flag_table, out.flag_table)
    out.special_use = head.special_use.value if head.special_use else ""
    out.subscribed = head.subscribed
    out.first_recent = head.first_recent
    out.first_uid_validity = head.first_uid_validity


def from_head(message: common.MailboxHead) -> MailboxHead:
    """One mailbox."""
    return MailboxHead(
        MailboxId(message.mailbox_id),
        message.name,
        message.uid_validity,
        message.uid_next,
        message.highest_modseq,
        message.messages,
        message.unseen,
        message.deleted,
        message.size,
        _from_flag_table(message.flag_table),
        SpecialUse(message.special_use) if message.special_use else None,
        message.subscribed,
        message.first_recent,
        message.first_uid_validity,
    )


def to_delta(delta: Delta, out: common.Delta) -> None:
    """Fills `out`."""
    out.mailbox_id = delta.mailbox_id
    out.modseq_before = delta.modseq_before
    out.modseq_after = delta.modseq_after
    out.uid_next = delta.uid_next
    _to_flag_table(delta.flag_table, out.flag_table)
    to_columns(delta.changed, out.changed)
    out.vanished = pack(delta.vanished)


def from_delta(message: common.Delta) -> Delta:
    """What one mutation did."""
    return Delta(
        MailboxId(message.mailbox_id),
        message.modseq_before,
        message.modseq_after,
        message.uid_next,
        _from_flag_table(message.flag_table),
        from_columns(message.changed),
        unpack(U32, message.vanished),
    )


def _to_flag_table(table: FlagTable, out: common.FlagTable) -> None:
    out.keywords.extend(table.keywords)
    out.version = table.version


def _from_flag_table(message: common.FlagTable) -> FlagTable:
    return FlagTable(tuple(message.keywords), message.version)


# MailboxRead


def to_tree(tree: MailboxTree) -> read.TreeResponse:
    """Answer of Tree."""
    out = read.TreeResponse(version=tree.version, subscribed_names=tree.subscribed_names)
    for head in tree.mailboxes:
        to_head(head, out.mailboxes.add())
    return out


def from_tree(message: read.TreeResponse) -> MailboxTree:
    """Answer of Tree."""
    return MailboxTree(message.version, tuple(map(from_head, message.mailboxes)), tuple(message.subscribed_names))


def to_changes(changes: MailboxChanges) -> read.ChangesResponse:
    """Answer of Changes."""
    out = read.ChangesResponse(
        since=changes.since, vanished=pack(changes.vanished), floor_reached=changes.floor_reached
    )
    to_head(changes.head, out.head)
    to_columns(changes.changed, out.changed)
    return out


def from_changes(message: read.ChangesResponse) -> MailboxChanges:
    """Answer of Changes."""
    return MailboxChanges(
        from_head(message.head),
        message.since,
        from_columns(message.changed),
        unpack(U32, message.vanished),
        message.floor_reached,
    )


def to_vanished(vanished: Vanished) -> read.VanishedResponse:
    """Answer of Vanished."""
    return read.VanishedResponse(
        modseq=vanished.modseq, ranges=pack_ranges(vanished.ranges), floor_reached=vanished.floor_reached
    )


def from_vanished(message: read.VanishedResponse) -> Vanished:
    """Answer of Vanished."""
    return Vanished(message.modseq, unpack_ranges(message.ranges), message.floor_reached)


def to_poll(wanted: Sequence[tuple[AccountId, MailboxId, int]]) -> read.PollRequest:
    """Question of Poll."""
    return read.PollRequest(
        account_ids=pack_ids([account for account, _, _ in wanted]),
        mailbox_ids=pack_ids([mailbox for _, mailbox, _ in wanted]),
        modseqs=pack_numbers(U64, [modseq for _, _, modseq in wanted]),
    )


def from_poll(message: read.PollRequest) -> list[tuple[AccountId, MailboxId, int]]:
    """Question of Poll."""
    accounts, mailboxes = unpack_ids(message.account_ids), unpack_ids(message.mailbox_ids)
    rows = zip(accounts, mailboxes, unpack(U64, message.modseqs), strict=True)
    return [(AccountId(account), MailboxId(mailbox), modseq) for account, mailbox, modseq in rows]


def to_retention(days: int | None) -> read.MaildropRetentionResponse:
    """Answer of MaildropRetention."""
    return read.MaildropRetentionResponse(days=days)


def from_retention(message: read.MaildropRetentionResponse) -> int | None:
    """Answer of MaildropRetention."""
    return message.days if message.HasField("days") else None


def to_moved(moved: Sequence[tuple[MailboxId, int]]) -> read.PollResponse:
    """Answer of Poll."""
    return read.PollResponse(
        mailbox_ids=pack_ids([mailbox for mailbox, _ in moved]),
        modseqs=pack_numbers(I64, [modseq for _, modseq in moved]),
    )


def from_moved(message: read.PollResponse) -> list[tuple[MailboxId, int]]:
    """Answer of Poll."""
    rows = zip(unpack_ids(message.mailbox_ids), unpack(I64, message.modseqs), strict=True)
    return [(MailboxId(mailbox), modseq) for mailbox, modseq in rows]


def to_body_infos(infos: Sequence[BodyInfo | None], fields: BodyField) -> read.BodyInfosResponse:
    """Answer of BodyInfos: a column for each field asked for, a row for each body that is there."""
    there = [info for info in infos if info is not None]
    out = read.BodyInfosResponse(
        found=bytes(info is not None for info in infos),
        sizes=pack_numbers(U32, [info.size for info in there]),
        header_sizes=pack_numbers(U32, [info.header_size for info in there]),
    )
    if BodyField.HEADER in fields:
        _to_blobs([info.header for info in there], out.headers)
    if BodyField.STRUCTURE in fields:
        _to_blobs([info.structure for info in there], out.structures)
    if BodyField.ENVELOPE in fields:
        _to_blobs([info.envelope for info in there], out.envelopes)
    if BodyField.BODYSTRUCTURE in fields:
        _to_blobs([info.bodystructure for info in there], out.bodystructures)
    if BodyField.BODY in fields:
        _to_blobs([info.body for info in there], out.bodies)
    if BodyField.PREVIEW in fields:
        _to_blobs([None if info.preview is None else info.preview.encode() for info in there], out.previews)
    if BodyField.THREAD in fields:
        _to_blobs([info.thread for info in there], out.threads)
    if BodyField.SORT_KEYS in fields:
        _to_blobs([info.sort_keys for info in there], out.sort_keys)
    return out


def from_body_infos(message: read.BodyInfosResponse, body_ids: Sequence[BodyId]) -> list[BodyInfo | None]:
    """Answer of BodyInfos for these ids, in order."""
    if len(message.found) != len(body_ids):
        raise ValueError("an answer for another number of bodies")
    rows = message.found.count(1)
    columns = zip(
        unpack(U32, message.sizes),
        unpack(U32, message.header_sizes),
        _from_blobs(message.headers, rows),
        _from_blobs(message.structures, rows),
        _from_blobs(message.envelopes, rows),
        _from_blobs(message.bodystructures, rows),
        _from_blobs(message.bodies, rows),
        _from_blobs(message.previews, rows),
        _from_blobs(message.threads, rows),
        _from_blobs(message.sort_keys, rows),
        strict=True,
    )
    infos: list[BodyInfo | None] = []
    for body_id, found in zip(body_ids, message.found, strict=True):
        if not found:
            infos.append(None)
            continue
        size, header_size, header, structure, envelope, bodystructure, body, preview, thread, keys = next(columns)
        text = None if preview is None else preview.decode()
        infos.append(
            BodyInfo(body_id, size, header_size, header, structure, envelope, bodystructure, body, text, thread, keys)
        )
    return infos


def _to_blobs(values: Sequence[bytes | None], out: read.BodyInfosResponse.Blobs) -> None:
    out.ends, out.data, out.absent = join(values)


def _from_blobs(message: read.BodyInfosResponse.Blobs, rows: int) -> Sequence[bytes | None]:
    if not message.ends:
        return [None] * rows
    return split(message.ends, message.data, message.absent)


def to_contents(contents: Sequence[bytes | None]) -> list[bytes]:
    """Answer of Contents, framed, in pieces."""
    sizes = pack_numbers(I64, [-1 if content is None else len(content) for content in contents])
    head = read.ContentsResponse(sizes=sizes).SerializeToString()
    return frame(head, [content for content in contents if content])


def from_contents(body: bytes) -> list[bytes | None]:
    """Answer of Contents."""
    head, offset = unframe(body)
    return cut(body, offset, unpack(I64, read.ContentsResponse.FromString(head).sizes))


# MailboxWrite


def from_flag_mode(number: int) -> FlagMode:
    """How StoreFlags changes flags."""
    return known(_FLAG_MODES_BACK, number)


def to_store_result(result: StoreResult) -> write.StoreFlagsResponse:
    """Answer of StoreFlags."""
    out = write.StoreFlagsResponse(modified=pack_numbers(U32, result.modified))
    to_delta(result.delta, out.delta)
    return out


def from_store_result(message: write.StoreFlagsResponse) -> StoreResult:
    """Answer of StoreFlags."""
    return StoreResult(from_delta(message.delta), tuple(unpack(U32, message.modified)))


def to_copy_result(result: CopyResult) -> write.CopyResponse:
    """Answer of Copy."""
    out = write.CopyResponse(
        uid_validity=result.uid_validity,
        source_uids=pack_numbers(U32, result.source_uids),
        target_uids=pack_numbers(U32, result.target_uids),
    )
    to_delta(result.target, out.target)
    return out


def to_move_result(result: CopyResult) -> write.MoveResponse:
    """Answer of Move."""
    out = write.MoveResponse(
        uid_validity=result.uid_validity,
        source_uids=pack_numbers(U32, result.source_uids),
        target_uids=pack_numbers(U32, result.target_uids),
    )
    to_delta(result.target, out.target)
    if result.source is not None:
        to_delta(result.source, out.source)
    return out


def from_copy_result(message: write.CopyResponse | write.MoveResponse) -> CopyResult:
    """Answer of Copy or Move."""
    source = None
    if isinstance(message, write.MoveResponse) and message.HasField("source"):
        source = from_delta(message.source)
    return CopyResult(
        message.uid_validity,
        tuple(unpack(U32, message.source_uids)),
        tuple(unpack(U32, message.target_uids)),
        from_delta(message.target),
        source,
    )


def from_lease(message: write.LeaseMaildropResponse | write.RenewMaildropResponse) -> MaildropLease:
    """Answer of LeaseMaildrop and RenewMaildrop."""
    return MaildropLease(message.token, message.expires_at)


# Directory


def to_resolutions(resolutions: Sequence[Resolution]) -> directory.ResolveResponse:
    """Answer of Resolve."""
    out = directory.ResolveResponse()
    for one in resolutions:
        out.resolutions.add(
            address=one.address,
            status=RECIPIENT_STATUSES[one.status],
            account_id=one.account_id or b"",
            mailbox=one.mailbox or "",
            suppressed=one.suppressed,
            restricted=one.restricted,
        )
    return out


def from_resolutions(message: directory.ResolveResponse) -> list[Resolution]:
    """Answer of Resolve."""
    return [
        Resolution(
            one.address,
            known(_RECIPIENT_STATUSES_BACK, one.status),
            AccountId(one.account_id) if one.account_id else None,
            one.mailbox or None,
            suppressed=one.suppressed,
            restricted=one.restricted,
        )
        for one in message.resolutions
    ]


def known(table: dict[int, E], number: int) -> E:
    """The value of an enum's number; ValueError for one of a newer peer."""
    value = table.get(number)
    if value is None:
        raise ValueError(f"enum value {number} is unknown to this version")
    return value
