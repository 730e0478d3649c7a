from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class AnnouncedRequest(_message.Message):
    __slots__ = ("account_ids", "mailbox_ids", "body_ids", "uids", "at", "sessions", "by")
    ACCOUNT_IDS_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_IDS_FIELD_NUMBER: _ClassVar[int]
    BODY_IDS_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    account_ids: bytes
    mailbox_ids: bytes
    body_ids: bytes
    uids: bytes
    at: bytes
    sessions: bytes
    by: str
    def __init__(self, account_ids: _Optional[bytes] = ..., mailbox_ids: _Optional[bytes] = ..., body_ids: _Optional[bytes] = ..., uids: _Optional[bytes] = ..., at: _Optional[bytes] = ..., sessions: _Optional[bytes] = ..., by: _Optional[str] = ...) -> None: ...

class AnnouncedResponse(_message.Message):
    __slots__ = ("traced",)
    TRACED_FIELD_NUMBER: _ClassVar[int]
    traced: int
    def __init__(self, traced: _Optional[int] = ...) -> None: ...
