from mailboat.common.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TreeRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    def __init__(self, account_id: _Optional[bytes] = ...) -> None: ...

class TreeResponse(_message.Message):
    __slots__ = ("version", "mailboxes", "subscribed_names")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MAILBOXES_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBED_NAMES_FIELD_NUMBER: _ClassVar[int]
    version: int
    mailboxes: _containers.RepeatedCompositeFieldContainer[_common_pb2.MailboxHead]
    subscribed_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., mailboxes: _Optional[_Iterable[_Union[_common_pb2.MailboxHead, _Mapping]]] = ..., subscribed_names: _Optional[_Iterable[str]] = ...) -> None: ...

class HeadRequest(_message.Message):
    __slots__ = ("account_id", "name")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    name: str
    def __init__(self, account_id: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class HeadResponse(_message.Message):
    __slots__ = ("head",)
    HEAD_FIELD_NUMBER: _ClassVar[int]
    head: _common_pb2.MailboxHead
    def __init__(self, head: _Optional[_Union[_common_pb2.MailboxHead, _Mapping]] = ...) -> None: ...

class ChangesRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "since")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    since: int
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., since: _Optional[int] = ...) -> None: ...

class ChangesResponse(_message.Message):
    __slots__ = ("head", "since", "changed", "vanished", "floor_reached")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    VANISHED_FIELD_NUMBER: _ClassVar[int]
    FLOOR_REACHED_FIELD_NUMBER: _ClassVar[int]
    head: _common_pb2.MailboxHead
    since: int
    changed: _common_pb2.Columns
    vanished: bytes
    floor_reached: bool
    def __init__(self, head: _Optional[_Union[_common_pb2.MailboxHead, _Mapping]] = ..., since: _Optional[int] = ..., changed: _Optional[_Union[_common_pb2.Columns, _Mapping]] = ..., vanished: _Optional[bytes] = ..., floor_reached: _Optional[bool] = ...) -> None: ...

class VanishedRequest(_message.Message):
    __slots__ = ("account_id", "mailbox_id", "since")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    mailbox_id: bytes
    since: int
    def __init__(self, account_id: _Optional[bytes] = ..., mailbox_id: _Optional[bytes] = ..., since: _Optional[int] = ...) -> None: ...

class VanishedResponse(_message.Message):
    __slots__ = ("modseq", "ranges", "floor_reached")
    MODSEQ_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    FLOOR_REACHED_FIELD_NUMBER: _ClassVar[int]
    modseq: int
    ranges: bytes
    floor_reached: bool
    def __init__(self, modseq: _Optional[int] = ..., ranges: _Optional[bytes] = ..., floor_reached: _Optional[bool] = ...) -> None: ...

class PollRequest(_message.Message):
    __slots__ = ("account_ids", "mailbox_ids", "modseqs")
    ACCOUNT_IDS_FIELD_NUMBER: _ClassVar[int]
    MAILBOX_IDS_FIELD_NUMBER: _ClassVar[int]
    MODSEQS_FIELD_NUMBER: _ClassVar[int]
    account_ids: bytes
    mailbox_ids: bytes
    modseqs: bytes
    def __init__(self, account_ids: _Optional[bytes] = ..., mailbox_ids: _Optional[bytes] = ..., modseqs: _Optional[bytes] = ...) -> None: ...

class PollResponse(_message.Message):
    __slots__ = ("mailbox_ids", "modseqs")
    MAILBOX_IDS_FIELD_NUMBER: _ClassVar[int]
    MODSEQS_FIELD_NUMBER: _ClassVar[int]
    mailbox_ids: bytes
    modseqs: bytes
    def __init__(self, mailbox_ids: _Optional[bytes] = ..., modseqs: _Optional[bytes] = ...) -> None: ...

class QuotaRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    def __init__(self, account_id: _Optional[bytes] = ...) -> None: ...

class QuotaResponse(_message.Message):
    __slots__ = ("bytes_used", "bytes_limit", "messages_used", "messages_limit")
    BYTES_USED_FIELD_NUMBER: _ClassVar[int]
    BYTES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_USED_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    bytes_used: int
    bytes_limit: int
    messages_used: int
    messages_limit: int
    def __init__(self, bytes_used: _Optional[int] = ..., bytes_limit: _Optional[int] = ..., messages_used: _Optional[int] = ..., messages_limit: _Optional[int] = ...) -> None: ...

class AnnotationsRequest(_message.Message):
    __slots__ = ("account_id", "name")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    name: str
    def __init__(self, account_id: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class AnnotationsResponse(_message.Message):
    __slots__ = ("annotations",)
    class Annotation(_message.Message):
        __slots__ = ("entry", "value")
        ENTRY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        entry: str
        value: bytes
        def __init__(self, entry: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    annotations: _containers.RepeatedCompositeFieldContainer[AnnotationsResponse.Annotation]
    def __init__(self, annotations: _Optional[_Iterable[_Union[AnnotationsResponse.Annotation, _Mapping]]] = ...) -> None: ...

class BodyInfosRequest(_message.Message):
    __slots__ = ("account_id", "body_ids", "fields")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_IDS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    body_ids: bytes
    fields: int
    def __init__(self, account_id: _Optional[bytes] = ..., body_ids: _Optional[bytes] = ..., fields: _Optional[int] = ...) -> None: ...

class BodyInfosResponse(_message.Message):
    __slots__ = ("found", "sizes", "header_sizes", "headers", "structures", "envelopes", "bodystructures", "bodies", "previews", "threads", "sort_keys")
    class Blobs(_message.Message):
        __slots__ = ("ends", "data", "absent")
        ENDS_FIELD_NUMBER: _ClassVar[int]
        DATA_FIELD_NUMBER: _ClassVar[int]
        ABSENT_FIELD_NUMBER: _ClassVar[int]
        ends: bytes
        data: bytes
        absent: bytes
        def __init__(self, ends: _Optional[bytes] = ..., data: _Optional[bytes] = ..., absent: _Optional[bytes] = ...) -> None: ...
    FOUND_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    HEADER_SIZES_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    STRUCTURES_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    BODYSTRUCTURES_FIELD_NUMBER: _ClassVar[int]
    BODIES_FIELD_NUMBER: _ClassVar[int]
    PREVIEWS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    SORT_KEYS_FIELD_NUMBER: _ClassVar[int]
    found: bytes
    sizes: bytes
    header_sizes: bytes
    headers: BodyInfosResponse.Blobs
    structures: BodyInfosResponse.Blobs
    envelopes: BodyInfosResponse.Blobs
    bodystructures: BodyInfosResponse.Blobs
    bodies: BodyInfosResponse.Blobs
    previews: BodyInfosResponse.Blobs
    threads: BodyInfosResponse.Blobs
    sort_keys: BodyInfosResponse.Blobs
    def __init__(self, found: _Optional[bytes] = ..., sizes: _Optional[bytes] = ..., header_sizes: _Optional[bytes] = ..., headers: _Optional[_Union[BodyInfosResponse.Blobs, _Mapping]] = ..., structures: _Optional[_Union[BodyInfosResponse.Blobs, _Mapping]] = ..., envelopes: _Optional[_Union[BodyInfosResponse.Blobs, _Mapping]] = ..., bodystructures: _Optional[_Union[BodyInfosResponse.Blobs, _Mapping]] = ..., bodies: _Optional[_Union[BodyInfosResponse.Blobs, _Mapping]] = ..., previews: _Optional[_Union[BodyInfosResponse.Blobs, _Mapping]] = ..., threads: _Optional[_Union[BodyInfosResponse.Blobs, _Mapping]] = ..., sort_keys: _Optional[_Union[BodyInfosResponse.Blobs, _Mapping]] = ...) -> None: ...

class ContentsRequest(_message.Message):
    __slots__ = ("account_id", "body_ids", "max_bytes")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_IDS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    body_ids: bytes
    max_bytes: int
    def __init__(self, account_id: _Optional[bytes] = ..., body_ids: _Optional[bytes] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class ContentsResponse(_message.Message):
    __slots__ = ("sizes",)
    SIZES_FIELD_NUMBER: _ClassVar[int]
    sizes: bytes
    def __init__(self, sizes: _Optional[bytes] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("account_id", "body_id", "offset", "length")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    body_id: bytes
    offset: int
    length: int
    def __init__(self, account_id: _Optional[bytes] = ..., body_id: _Optional[bytes] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class MaildropRetentionRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    def __init__(self, account_id: _Optional[bytes] = ...) -> None: ...

class MaildropRetentionResponse(_message.Message):
    __slots__ = ("days",)
    DAYS_FIELD_NUMBER: _ClassVar[int]
    days: int
    def __init__(self, days: _Optional[int] = ...) -> None: ...
