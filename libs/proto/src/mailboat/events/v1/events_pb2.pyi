from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class MailboxChanged(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "modseq", "committed_at", "deleted", "tree_version", "account_closed")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    MODSEQ_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    TREE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_CLOSED_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    modseq: int
    committed_at: int
    deleted: bool
    tree_version: int
    account_closed: bool
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., modseq: _Optional[int] = ..., committed_at: _Optional[int] = ..., deleted: _Optional[bool] = ..., tree_version: _Optional[int] = ..., account_closed: _Optional[bool] = ...) -> None: ...

class DeliveryJob(_message.Message):
    __slots__ = ("queue_id", "attempt", "domain")
    QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    queue_id: bytes
    attempt: int
    domain: str
    def __init__(self, queue_id: _Optional[bytes] = ..., attempt: _Optional[int] = ..., domain: _Optional[str] = ...) -> None: ...
