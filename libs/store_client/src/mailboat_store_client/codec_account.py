"""What belongs to an account and not to its messages, as protobuf messages and back; the rules are `codec`'s."""

from __future__ import annotations

from collections.abc import Mapping

from mailboat.storage.v1 import directory_pb2 as directory
from mailboat.storage.v1 import mailbox_read_pb2 as read
from mailboat.storage.v1 import mailbox_write_pb2 as write

from .codec import known, reverse
from .types import AccountId, AuthResult, AuthStatus, Quota

AUTH_STATUSES = {
    AuthStatus.OK: directory.AUTH_STATUS_OK,
    AuthStatus.BAD_CREDENTIALS: directory.AUTH_STATUS_BAD_CREDENTIALS,
    AuthStatus.DISABLED: directory.AUTH_STATUS_DISABLED,
    AuthStatus.THROTTLED: directory.AUTH_STATUS_THROTTLED,
}
_AUTH_STATUSES_BACK = reverse(AUTH_STATUSES)


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


def to_annotations(annotations: Mapping[str, bytes]) -> read.AnnotationsResponse:
    """Answer of Annotations."""
    pairs = [read.AnnotationsResponse.Annotation(entry=entry, value=value) for entry, value in annotations.items()]
    return read.AnnotationsResponse(annotations=pairs)


def from_annotations(message: read.AnnotationsResponse) -> dict[str, bytes]:
    """Answer of Annotations."""
    return {one.entry: one.value for one in message.annotations}


def to_annotate(
    account_id: AccountId, name: str, values: Mapping[str, bytes | None], key: bytes
) -> write.AnnotateRequest:
    """Question of Annotate."""
    changes = [write.AnnotateRequest.Change(entry=entry, value=value) for entry, value in values.items()]
    return write.AnnotateRequest(account_id=account_id, name=name, changes=changes, key=key)


def from_annotate(message: write.AnnotateRequest) -> dict[str, bytes | None]:
    """The changes in a question of Annotate."""
    return {one.entry: one.value if one.HasField("value") else None for one in message.changes}


def to_auth_result(result: AuthResult) -> directory.AuthenticateResponse:
    """Answer of Authenticate."""
    return directory.AuthenticateResponse(
        status=AUTH_STATUSES[result.status],
        account_id=result.account_id or b"",
        login=result.login,
        imap_masked_capabilities=result.imap_masked_capabilities,
    )


def from_auth_result(message: directory.AuthenticateResponse) -> AuthResult:
    """Answer of Authenticate."""
    account_id = AccountId(message.account_id) if message.account_id else None
    masked = tuple(message.imap_masked_capabilities)
    return AuthResult(known(_AUTH_STATUSES_BACK, message.status), account_id, message.login, masked)
