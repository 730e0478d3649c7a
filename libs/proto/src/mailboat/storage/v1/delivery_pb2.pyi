from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeliveryStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_STATUS_UNSPECIFIED: _ClassVar[DeliveryStatus]
    DELIVERY_STATUS_FILED: _ClassVar[DeliveryStatus]
    DELIVERY_STATUS_ACCEPTED: _ClassVar[DeliveryStatus]
    DELIVERY_STATUS_DUPLICATE: _ClassVar[DeliveryStatus]
    DELIVERY_STATUS_OVER_QUOTA: _ClassVar[DeliveryStatus]
    DELIVERY_STATUS_GONE: _ClassVar[DeliveryStatus]
    DELIVERY_STATUS_UNAVAILABLE: _ClassVar[DeliveryStatus]
    DELIVERY_STATUS_QUEUED: _ClassVar[DeliveryStatus]
    DELIVERY_STATUS_LOOP: _ClassVar[DeliveryStatus]
DELIVERY_STATUS_UNSPECIFIED: DeliveryStatus
DELIVERY_STATUS_FILED: DeliveryStatus
DELIVERY_STATUS_ACCEPTED: DeliveryStatus
DELIVERY_STATUS_DUPLICATE: DeliveryStatus
DELIVERY_STATUS_OVER_QUOTA: DeliveryStatus
DELIVERY_STATUS_GONE: DeliveryStatus
DELIVERY_STATUS_UNAVAILABLE: DeliveryStatus
DELIVERY_STATUS_QUEUED: DeliveryStatus
DELIVERY_STATUS_LOOP: DeliveryStatus

class DeliverRequest(_message.Message):
    __slots__ = ("trace_id", "reverse_path", "recipients", "content_sha256", "listener", "client", "helo", "authenticated", "smtputf8", "envid", "ret", "size", "confirmed", "account_id", "reception", "answered")
    class Recipient(_message.Message):
        __slots__ = ("address", "account_id", "mailbox", "notify", "orcpt")
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
        MAILBOX_FIELD_NUMBER: _ClassVar[int]
        NOTIFY_FIELD_NUMBER: _ClassVar[int]
        ORCPT_FIELD_NUMBER: _ClassVar[int]
        address: str
        account_id: bytes
        mailbox: str
        notify: str
        orcpt: str
        def __init__(self, address: _Optional[str] = ..., account_id: _Optional[bytes] = ..., mailbox: _Optional[str] = ..., notify: _Optional[str] = ..., orcpt: _Optional[str] = ...) -> None: ...
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    REVERSE_PATH_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    HELO_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATED_FIELD_NUMBER: _ClassVar[int]
    SMTPUTF8_FIELD_NUMBER: _ClassVar[int]
    ENVID_FIELD_NUMBER: _ClassVar[int]
    RET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEPTION_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    reverse_path: str
    recipients: _containers.RepeatedCompositeFieldContainer[DeliverRequest.Recipient]
    content_sha256: bytes
    listener: str
    client: str
    helo: str
    authenticated: str
    smtputf8: bool
    envid: str
    ret: str
    size: int
    confirmed: _containers.RepeatedScalarFieldContainer[str]
    account_id: bytes
    reception: Reception
    answered: _containers.RepeatedCompositeFieldContainer[Answered]
    def __init__(self, trace_id: _Optional[str] = ..., reverse_path: _Optional[str] = ..., recipients: _Optional[_Iterable[_Union[DeliverRequest.Recipient, _Mapping]]] = ..., content_sha256: _Optional[bytes] = ..., listener: _Optional[str] = ..., client: _Optional[str] = ..., helo: _Optional[str] = ..., authenticated: _Optional[str] = ..., smtputf8: _Optional[bool] = ..., envid: _Optional[str] = ..., ret: _Optional[str] = ..., size: _Optional[int] = ..., confirmed: _Optional[_Iterable[str]] = ..., account_id: _Optional[bytes] = ..., reception: _Optional[_Union[Reception, _Mapping]] = ..., answered: _Optional[_Iterable[_Union[Answered, _Mapping]]] = ...) -> None: ...

class Reception(_message.Message):
    __slots__ = ("connected", "first_command", "secured", "mail", "data", "data_end", "tls", "number")
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    FIRST_COMMAND_FIELD_NUMBER: _ClassVar[int]
    SECURED_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATA_END_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    connected: int
    first_command: int
    secured: int
    mail: int
    data: int
    data_end: int
    tls: str
    number: int
    def __init__(self, connected: _Optional[int] = ..., first_command: _Optional[int] = ..., secured: _Optional[int] = ..., mail: _Optional[int] = ..., data: _Optional[int] = ..., data_end: _Optional[int] = ..., tls: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class Answered(_message.Message):
    __slots__ = ("trace_id", "at", "reply")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    at: int
    reply: str
    def __init__(self, trace_id: _Optional[str] = ..., at: _Optional[int] = ..., reply: _Optional[str] = ...) -> None: ...

class DeliverResponse(_message.Message):
    __slots__ = ("recipients",)
    class Result(_message.Message):
        __slots__ = ("address", "status", "uid", "mailbox_id", "duplicate_of")
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        UID_FIELD_NUMBER: _ClassVar[int]
        MAILBOX_ID_FIELD_NUMBER: _ClassVar[int]
        DUPLICATE_OF_FIELD_NUMBER: _ClassVar[int]
        address: str
        status: DeliveryStatus
        uid: int
        mailbox_id: bytes
        duplicate_of: str
        def __init__(self, address: _Optional[str] = ..., status: _Optional[_Union[DeliveryStatus, str]] = ..., uid: _Optional[int] = ..., mailbox_id: _Optional[bytes] = ..., duplicate_of: _Optional[str] = ...) -> None: ...
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    recipients: _containers.RepeatedCompositeFieldContainer[DeliverResponse.Result]
    def __init__(self, recipients: _Optional[_Iterable[_Union[DeliverResponse.Result, _Mapping]]] = ...) -> None: ...

class ConfirmRequest(_message.Message):
    __slots__ = ("trace_ids", "answered")
    TRACE_IDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    trace_ids: _containers.RepeatedScalarFieldContainer[str]
    answered: _containers.RepeatedCompositeFieldContainer[Answered]
    def __init__(self, trace_ids: _Optional[_Iterable[str]] = ..., answered: _Optional[_Iterable[_Union[Answered, _Mapping]]] = ...) -> None: ...

class ConfirmResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
