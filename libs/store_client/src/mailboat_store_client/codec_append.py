"""APPEND and REPLACE as protobuf messages and back: the requests that have mail behind them."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat.storage.v1 import mailbox_write_pb2 as write

from .codec import from_delta, to_delta
from .columns import U32, pack_numbers, unpack
from .framing import cut, frame, unframe
from .types import AccountId, AppendMessage, AppendResult, MailboxId, ReplaceResult


def to_append(account_id: AccountId, name: str, messages: Sequence[AppendMessage], key: bytes) -> list[bytes]:
    """Question of Append, framed, in pieces."""
    out = write.AppendRequest(account_id=account_id, name=name, key=key)
    for message in messages:
        _to_message(message, out.messages.add())
    return frame(out.SerializeToString(), [message.content for message in messages])


def from_append(body: bytes) -> tuple[write.AppendRequest, list[AppendMessage]]:
    """Question of Append."""
    head, offset = unframe(body)
    request = write.AppendRequest.FromString(head)
    contents = cut(body, offset, [message.size for message in request.messages])
    messages = [_from_message(message, content) for message, content in zip(request.messages, contents, strict=True)]
    return request, messages


def _to_message(message: AppendMessage, out: write.AppendRequest.Message) -> None:
    """Fills `out` with all but the content."""
    out.size = len(message.content)
    out.flags.extend(message.flags)
    if message.internal_date is not None:
        out.internal_date = message.internal_date


def _from_message(message: write.AppendRequest.Message, content: bytes | None) -> AppendMessage:
    date = message.internal_date if message.HasField("internal_date") else None
    return AppendMessage(content or b"", tuple(message.flags), date)


def to_append_result(result: AppendResult) -> write.AppendResponse:
    """Answer of Append."""
    out = write.AppendResponse(uid_validity=result.uid_validity, uids=pack_numbers(U32, result.uids))
    to_delta(result.delta, out.delta)
    return out


def from_append_result(message: write.AppendResponse) -> AppendResult:
    """Answer of Append."""
    return AppendResult(message.uid_validity, tuple(unpack(U32, message.uids)), from_delta(message.delta))


def to_replace(
    account_id: AccountId, mailbox_id: MailboxId, uid: int, target: str, message: AppendMessage, *, key: bytes
) -> list[bytes]:
    """Question of Replace, framed, in pieces."""
    out = write.ReplaceRequest(account_id=account_id, mailbox_id=mailbox_id, uid=uid, target=target, key=key)
    _to_message(message, out.message)
    return frame(out.SerializeToString(), [message.content])


def from_replace(body: bytes) -> tuple[write.ReplaceRequest, AppendMessage]:
    """Question of Replace."""
    head, offset = unframe(body)
    request = write.ReplaceRequest.FromString(head)
    (content,) = cut(body, offset, [request.message.size])
    return request, _from_message(request.message, content)


def to_replace_result(result: ReplaceResult) -> write.ReplaceResponse:
    """Answer of Replace."""
    out = write.ReplaceResponse(uid_validity=result.uid_validity, uid=result.uid)
    to_delta(result.target, out.target)
    if result.source is not None:
        to_delta(result.source, out.source)
    return out


def from_replace_result(message: write.ReplaceResponse) -> ReplaceResult:
    """Answer of Replace."""
    source = from_delta(message.source) if message.HasField("source") else None
    return ReplaceResult(message.uid_validity, message.uid, from_delta(message.target), source)
