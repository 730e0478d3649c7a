"""What belongs to an account and not to its messages, as protobuf messages and back; the rules are `codec`'s."""

from __future__ import annotations

from mailboat.storage.v1 import mailbox_read_pb2 as read

from .types import Quota


def to_quota(quota: Quota) -> read.QuotaResponse:
    """Answer of Quota."""
    return read.QuotaResponse(
        bytes_used=quota.bytes_used,
        bytes_limit=quota.bytes_limit,
        messages_used=quota.messages_used,
        messages_limit=quota.messages_limit,
    )


def from_quota(message: read.QuotaResponse) -> Quota:
    """Answer of Quota."""
    return Quota(message.bytes_used, message.bytes_limit, message.messages_used, message.messages_limit)
