"""The Trace port's types as protobuf messages and back; the rules are `codec`'s."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat.storage.v1 import trace_pb2 as trace

from .columns import I64, U32, pack_ids, pack_numbers, unpack, unpack_ids
from .types import AccountId, Announcement, BodyId, MailboxId


def to_announced(announcements: Sequence[Announcement], by: str) -> trace.AnnouncedRequest:
    """Question of Announced."""
    return trace.AnnouncedRequest(
        account_ids=pack_ids([one.account_id for one in announcements]),
        mailbox_ids=pack_ids([one.mailbox_id for one in announcements]),
        body_ids=pack_ids([one.body_id for one in announcements]),
        uids=pack_numbers(U32, [one.uid for one in announcements]),
        at=pack_numbers(I64, [one.at for one in announcements]),
        sessions=pack_numbers(U32, [one.sessions for one in announcements]),
        by=by,
    )


def from_announced(message: trace.AnnouncedRequest) -> list[Announcement]:
    """Question of Announced. ValueError if its columns differ in length."""
    columns = zip(
        unpack_ids(message.account_ids),
        unpack_ids(message.mailbox_ids),
        unpack(U32, message.uids),
        unpack_ids(message.body_ids),
        unpack(I64, message.at),
        unpack(U32, message.sessions),
        strict=True,
    )
    return [
        Announcement(AccountId(account), MailboxId(mailbox), uid, BodyId(body), at, sessions)
        for account, mailbox, uid, body, at, sessions in columns
    ]
