from mailboat.common.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FlagMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FLAG_MODE_UNSPECIFIED: _ClassVar[FlagMode]
    FLAG_MODE_ADD: _ClassVar[FlagMode]
    FLAG_MODE_REMOVE: _ClassVar[FlagMode]
    FLAG_MODE_REPLACE: _ClassVar[FlagMode]
FLAG_MODE_UNSPECIFIED: FlagMode
FLAG_MODE_ADD: FlagMode
FLAG_MODE_REMOVE: FlagMode
FLAG_MODE_REPLACE: FlagMode

class CreateRequest(_message.Message):
    __slots__ = ("account_id", "name", "key", "special_use")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SPECIAL_USE_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    name: str
    key: bytes
    special_use: str
    def __init__(self, account_id: _Optional[bytes] = ..., name: _Optional[str] = ..., key: _Optional[bytes] = ..., special_use: _Optional[str] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("head",)
    HEAD_FIELD_NUMBER: _ClassVar[int]
    head: _common_pb2.MailboxHead
    def __init__(self, head: _Optional[_Union[_common_pb2.MailboxHead, _Mapping]] = ...) -> None: ...

class RenameRequest(_message.Message):
    __slots__ = ("account_id", "name", "new_name", "key")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NEW_NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    name: str
    new_name: str
    key: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., name: _Optional[str] = ..., new_name: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...

class RenameResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("account_id", "name", "key")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    name: str
    key: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., name: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("account_id", "name", "subscribed", "key")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBED_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    name: str
    subscribed: bool
    key: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., name: _Optional[str] = ..., subscribed: _Optional[bool] = ..., key: _Optional[bytes] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("account_id", "name", "key", "messages")
    class Message(_message.Message):
        __slots__ = ("size", "flags", "internal_date")
        SIZE_FIELD_NUMBER: _ClassVar[int]
        FLAGS_FIELD_NUMBER: _ClassVar[int]
        INTERNAL_DATE_FIELD_NUMBER: _ClassVar[int]
        size: int
        flags: _containers.RepeatedScalarFieldContainer[str]
        internal_date: int
        def __init__(self, size: _Optional[int] = ..., flags: _Optional[_Iterable[str]] = ..., internal_date: _Optional[int] = ...) -> None: ...
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    name: str
    key: bytes
    messages: _containers.RepeatedCompositeFieldContainer[AppendRequest.Message]
    def __init__(self, account_id: _Optional[bytes] = ..., name: _Optional[str] = ..., key: _Optional[bytes] = ..., messages: _Optional[_Iterable[_Union[AppendRequest.Message, _Mapping]]] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("uid_validity", "uids", "delta")
    UID_VALIDITY_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    uid_validity: int
    uids: bytes
    delta: _common_pb2.Delta
    def __init__(self, uid_validity: _Optional[int] = ..., uids: _Optional[bytes] = ..., delta: _Optional[_Union[_common_pb2.Delta, _Mapping]] = ...) -> None: ...

class StoreFlagsRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "uids", "mode", "flags", "key", "unchanged_since")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_SINCE_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    uids: bytes
    mode: FlagMode
    flags: _containers.RepeatedScalarFieldContainer[str]
    key: bytes
    unchanged_since: int
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., uids: _Optional[bytes] = ..., mode: _Optional[_Union[FlagMode, str]] = ..., flags: _Optional[_Iterable[str]] = ..., key: _Optional[bytes] = ..., unchanged_since: _Optional[int] = ...) -> None: ...

class StoreFlagsResponse(_message.Message):
    __slots__ = ("delta", "modified")
    DELTA_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_FIELD_NUMBER: _ClassVar[int]
    delta: _common_pb2.Delta
    modified: bytes
    def __init__(self, delta: _Optional[_Union[_common_pb2.Delta, _Mapping]] = ..., modified: _Optional[bytes] = ...) -> None: ...

class ExpungeRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "uids", "all", "key", "only_deleted")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ONLY_DELETED_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    uids: bytes
    all: bool
    key: bytes
    only_deleted: bool
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., uids: _Optional[bytes] = ..., all: _Optional[bool] = ..., key: _Optional[bytes] = ..., only_deleted: _Optional[bool] = ...) -> None: ...

class ExpungeResponse(_message.Message):
    __slots__ = ("delta",)
    DELTA_FIELD_NUMBER: _ClassVar[int]
    delta: _common_pb2.Delta
    def __init__(self, delta: _Optional[_Union[_common_pb2.Delta, _Mapping]] = ...) -> None: ...

class CopyRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "uids", "target", "key")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    uids: bytes
    target: str
    key: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., uids: _Optional[bytes] = ..., target: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...

class CopyResponse(_message.Message):
    __slots__ = ("uid_validity", "source_uids", "target_uids", "target")
    UID_VALIDITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_UIDS_FIELD_NUMBER: _ClassVar[int]
    TARGET_UIDS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    uid_validity: int
    source_uids: bytes
    target_uids: bytes
    target: _common_pb2.Delta
    def __init__(self, uid_validity: _Optional[int] = ..., source_uids: _Optional[bytes] = ..., target_uids: _Optional[bytes] = ..., target: _Optional[_Union[_common_pb2.Delta, _Mapping]] = ...) -> None: ...

class MoveRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "uids", "target", "key")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    uids: bytes
    target: str
    key: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., uids: _Optional[bytes] = ..., target: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...

class MoveResponse(_message.Message):
    __slots__ = ("uid_validity", "source_uids", "target_uids", "target", "source")
    UID_VALIDITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_UIDS_FIELD_NUMBER: _ClassVar[int]
    TARGET_UIDS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    uid_validity: int
    source_uids: bytes
    target_uids: bytes
    target: _common_pb2.Delta
    source: _common_pb2.Delta
    def __init__(self, uid_validity: _Optional[int] = ..., source_uids: _Optional[bytes] = ..., target_uids: _Optional[bytes] = ..., target: _Optional[_Union[_common_pb2.Delta, _Mapping]] = ..., source: _Optional[_Union[_common_pb2.Delta, _Mapping]] = ...) -> None: ...

class AnnotateRequest(_message.Message):
    __slots__ = ("account_id", "name", "changes", "key")
    class Change(_message.Message):
        __slots__ = ("entry", "value")
        ENTRY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        entry: str
        value: bytes
        def __init__(self, entry: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    name: str
    changes: _containers.RepeatedCompositeFieldContainer[AnnotateRequest.Change]
    key: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., name: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[AnnotateRequest.Change, _Mapping]]] = ..., key: _Optional[bytes] = ...) -> None: ...

class AnnotateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReplaceRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "uid", "target", "key", "message")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    uid: int
    target: str
    key: bytes
    message: AppendRequest.Message
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., uid: _Optional[int] = ..., target: _Optional[str] = ..., key: _Optional[bytes] = ..., message: _Optional[_Union[AppendRequest.Message, _Mapping]] = ...) -> None: ...

class ReplaceResponse(_message.Message):
    __slots__ = ("uid_validity", "uid", "target", "source")
    UID_VALIDITY_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    uid_validity: int
    uid: int
    target: _common_pb2.Delta
    source: _common_pb2.Delta
    def __init__(self, uid_validity: _Optional[int] = ..., uid: _Optional[int] = ..., target: _Optional[_Union[_common_pb2.Delta, _Mapping]] = ..., source: _Optional[_Union[_common_pb2.Delta, _Mapping]] = ...) -> None: ...

class ClaimRecentRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ...) -> None: ...

class ClaimRecentResponse(_message.Message):
    __slots__ = ("first_recent",)
    FIRST_RECENT_FIELD_NUMBER: _ClassVar[int]
    first_recent: int
    def __init__(self, first_recent: _Optional[int] = ...) -> None: ...

class LeaseMaildropRequest(_message.Message):
    __slots__ = ("account_id", "holder", "seconds")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    holder: str
    seconds: int
    def __init__(self, account_id: _Optional[bytes] = ..., holder: _Optional[str] = ..., seconds: _Optional[int] = ...) -> None: ...

class LeaseMaildropResponse(_message.Message):
    __slots__ = ("token", "expires_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token: bytes
    expires_at: int
    def __init__(self, token: _Optional[bytes] = ..., expires_at: _Optional[int] = ...) -> None: ...

class RenewMaildropRequest(_message.Message):
    __slots__ = ("account_id", "token", "seconds")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    token: bytes
    seconds: int
    def __init__(self, account_id: _Optional[bytes] = ..., token: _Optional[bytes] = ..., seconds: _Optional[int] = ...) -> None: ...

class RenewMaildropResponse(_message.Message):
    __slots__ = ("token", "expires_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token: bytes
    expires_at: int
    def __init__(self, token: _Optional[bytes] = ..., expires_at: _Optional[int] = ...) -> None: ...

class ReleaseMaildropRequest(_message.Message):
    __slots__ = ("account_id", "token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    token: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., token: _Optional[bytes] = ...) -> None: ...

class ReleaseMaildropResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecordRetrievedRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "uids", "key")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    uids: bytes
    key: bytes
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., uids: _Optional[bytes] = ..., key: _Optional[bytes] = ...) -> None: ...

class RecordRetrievedResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
