from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_CODE_UNSPECIFIED: _ClassVar[ErrorCode]
    ERROR_CODE_INTERNAL: _ClassVar[ErrorCode]
    ERROR_CODE_UNAVAILABLE: _ClassVar[ErrorCode]
    ERROR_CODE_DEADLINE: _ClassVar[ErrorCode]
    ERROR_CODE_UNAUTHENTICATED: _ClassVar[ErrorCode]
    ERROR_CODE_FORBIDDEN: _ClassVar[ErrorCode]
    ERROR_CODE_BAD_REQUEST: _ClassVar[ErrorCode]
    ERROR_CODE_NO_MAILBOX: _ClassVar[ErrorCode]
    ERROR_CODE_MAILBOX_EXISTS: _ClassVar[ErrorCode]
    ERROR_CODE_BAD_NAME: _ClassVar[ErrorCode]
    ERROR_CODE_INBOX_FIXED: _ClassVar[ErrorCode]
    ERROR_CODE_HAS_CHILDREN: _ClassVar[ErrorCode]
    ERROR_CODE_OVER_QUOTA: _ClassVar[ErrorCode]
    ERROR_CODE_LIMIT: _ClassVar[ErrorCode]
    ERROR_CODE_TOO_BIG: _ClassVar[ErrorCode]
    ERROR_CODE_NO_MESSAGE: _ClassVar[ErrorCode]
    ERROR_CODE_IN_USE: _ClassVar[ErrorCode]
    ERROR_CODE_NO_ACCOUNT: _ClassVar[ErrorCode]
    ERROR_CODE_STORAGE_FULL: _ClassVar[ErrorCode]
    ERROR_CODE_INVALID: _ClassVar[ErrorCode]
    ERROR_CODE_NOT_PERMITTED: _ClassVar[ErrorCode]
    ERROR_CODE_CONFLICT: _ClassVar[ErrorCode]
    ERROR_CODE_ALREADY_EXISTS: _ClassVar[ErrorCode]
    ERROR_CODE_NOT_FOUND: _ClassVar[ErrorCode]
    ERROR_CODE_SPECIAL_USE: _ClassVar[ErrorCode]
ERROR_CODE_UNSPECIFIED: ErrorCode
ERROR_CODE_INTERNAL: ErrorCode
ERROR_CODE_UNAVAILABLE: ErrorCode
ERROR_CODE_DEADLINE: ErrorCode
ERROR_CODE_UNAUTHENTICATED: ErrorCode
ERROR_CODE_FORBIDDEN: ErrorCode
ERROR_CODE_BAD_REQUEST: ErrorCode
ERROR_CODE_NO_MAILBOX: ErrorCode
ERROR_CODE_MAILBOX_EXISTS: ErrorCode
ERROR_CODE_BAD_NAME: ErrorCode
ERROR_CODE_INBOX_FIXED: ErrorCode
ERROR_CODE_HAS_CHILDREN: ErrorCode
ERROR_CODE_OVER_QUOTA: ErrorCode
ERROR_CODE_LIMIT: ErrorCode
ERROR_CODE_TOO_BIG: ErrorCode
ERROR_CODE_NO_MESSAGE: ErrorCode
ERROR_CODE_IN_USE: ErrorCode
ERROR_CODE_NO_ACCOUNT: ErrorCode
ERROR_CODE_STORAGE_FULL: ErrorCode
ERROR_CODE_INVALID: ErrorCode
ERROR_CODE_NOT_PERMITTED: ErrorCode
ERROR_CODE_CONFLICT: ErrorCode
ERROR_CODE_ALREADY_EXISTS: ErrorCode
ERROR_CODE_NOT_FOUND: ErrorCode
ERROR_CODE_SPECIAL_USE: ErrorCode

class ErrorDetail(_message.Message):
    __slots__ = ("code", "public_text", "private_text")
    CODE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_TEXT_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_TEXT_FIELD_NUMBER: _ClassVar[int]
    code: ErrorCode
    public_text: str
    private_text: str
    def __init__(self, code: _Optional[_Union[ErrorCode, str]] = ..., public_text: _Optional[str] = ..., private_text: _Optional[str] = ...) -> None: ...

class Columns(_message.Message):
    __slots__ = ("uids", "modseqs", "flags", "body_ids", "internal_dates", "save_dates", "sizes")
    UIDS_FIELD_NUMBER: _ClassVar[int]
    MODSEQS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    BODY_IDS_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_DATES_FIELD_NUMBER: _ClassVar[int]
    SAVE_DATES_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    uids: bytes
    modseqs: bytes
    flags: _containers.RepeatedScalarFieldContainer[bytes]
    body_ids: bytes
    internal_dates: bytes
    save_dates: bytes
    sizes: bytes
    def __init__(self, uids: _Optional[bytes] = ..., modseqs: _Optional[bytes] = ..., flags: _Optional[_Iterable[bytes]] = ..., body_ids: _Optional[bytes] = ..., internal_dates: _Optional[bytes] = ..., save_dates: _Optional[bytes] = ..., sizes: _Optional[bytes] = ...) -> None: ...

class FlagTable(_message.Message):
    __slots__ = ("keywords", "version")
    KEYWORDS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    keywords: _containers.RepeatedScalarFieldContainer[str]
    version: int
    def __init__(self, keywords: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ...) -> None: ...

class MailboxHead(_message.Message):
    __slots__ = ("mailbox_id", "name", "uid_validity", "uid_next", "highest_modseq", "messages", "unseen", "deleted", "size", "flag_table", "special_use", "subscribed", "first_recent", "first_uid_validity")
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_VALIDITY_FIELD_NUMBER: _ClassVar[int]
    UID_NEXT_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_MODSEQ_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    FLAG_TABLE_FIELD_NUMBER: _ClassVar[int]
    SPECIAL_USE_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBED_FIELD_NUMBER: _ClassVar[int]
    FIRST_RECENT_FIELD_NUMBER: _ClassVar[int]
    FIRST_UID_VALIDITY_FIELD_NUMBER: _ClassVar[int]
    mailbox_id: bytes
    name: str
    uid_validity: int
    uid_next: int
    highest_modseq: int
    messages: int
    unseen: int
    deleted: int
    size: int
    flag_table: FlagTable
    special_use: str
    subscribed: bool
    first_recent: int
    first_uid_validity: int
    def __init__(self, mailbox_id: _Optional[bytes] = ..., name: _Optional[str] = ..., uid_validity: _Optional[int] = ..., uid_next: _Optional[int] = ..., highest_modseq: _Optional[int] = ..., messages: _Optional[int] = ..., unseen: _Optional[int] = ..., deleted: _Optional[int] = ..., size: _Optional[int] = ..., flag_table: _Optional[_Union[FlagTable, _Mapping]] = ..., special_use: _Optional[str] = ..., subscribed: _Optional[bool] = ..., first_recent: _Optional[int] = ..., first_uid_validity: _Optional[int] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("mailbox_id", "modseq_before", "modseq_after", "uid_next", "flag_table", "changed", "vanished")
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    MODSEQ_BEFORE_FIELD_NUMBER: _ClassVar[int]
    MODSEQ_AFTER_FIELD_NUMBER: _ClassVar[int]
    UID_NEXT_FIELD_NUMBER: _ClassVar[int]
    FLAG_TABLE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    VANISHED_FIELD_NUMBER: _ClassVar[int]
    mailbox_id: bytes
    modseq_before: int
    modseq_after: int
    uid_next: int
    flag_table: FlagTable
    changed: Columns
    vanished: bytes
    def __init__(self, mailbox_id: _Optional[bytes] = ..., modseq_before: _Optional[int] = ..., modseq_after: _Optional[int] = ..., uid_next: _Optional[int] = ..., flag_table: _Optional[_Union[FlagTable, _Mapping]] = ..., changed: _Optional[_Union[Columns, _Mapping]] = ..., vanished: _Optional[bytes] = ...) -> None: ...
