from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecipientStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECIPIENT_STATUS_UNSPECIFIED: _ClassVar[RecipientStatus]
    RECIPIENT_STATUS_LOCAL: _ClassVar[RecipientStatus]
    RECIPIENT_STATUS_UNKNOWN: _ClassVar[RecipientStatus]
    RECIPIENT_STATUS_DISABLED: _ClassVar[RecipientStatus]
    RECIPIENT_STATUS_OVER_QUOTA: _ClassVar[RecipientStatus]
    RECIPIENT_STATUS_NOT_LOCAL: _ClassVar[RecipientStatus]
    RECIPIENT_STATUS_NOT_PERMITTED: _ClassVar[RecipientStatus]

class AuthStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUTH_STATUS_UNSPECIFIED: _ClassVar[AuthStatus]
    AUTH_STATUS_OK: _ClassVar[AuthStatus]
    AUTH_STATUS_BAD_CREDENTIALS: _ClassVar[AuthStatus]
    AUTH_STATUS_DISABLED: _ClassVar[AuthStatus]
    AUTH_STATUS_THROTTLED: _ClassVar[AuthStatus]
RECIPIENT_STATUS_UNSPECIFIED: RecipientStatus
RECIPIENT_STATUS_LOCAL: RecipientStatus
RECIPIENT_STATUS_UNKNOWN: RecipientStatus
RECIPIENT_STATUS_DISABLED: RecipientStatus
RECIPIENT_STATUS_OVER_QUOTA: RecipientStatus
RECIPIENT_STATUS_NOT_LOCAL: RecipientStatus
RECIPIENT_STATUS_NOT_PERMITTED: RecipientStatus
AUTH_STATUS_UNSPECIFIED: AuthStatus
AUTH_STATUS_OK: AuthStatus
AUTH_STATUS_BAD_CREDENTIALS: AuthStatus
AUTH_STATUS_DISABLED: AuthStatus
AUTH_STATUS_THROTTLED: AuthStatus

class ResolveRequest(_message.Message):
    __slots__ = ("addresses", "sender", "account_id")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    sender: str
    account_id: bytes
    def __init__(self, addresses: _Optional[_Iterable[str]] = ..., sender: _Optional[str] = ..., account_id: _Optional[bytes] = ...) -> None: ...

class ResolveResponse(_message.Message):
    __slots__ = ("resolutions",)
    class Resolution(_message.Message):
        __slots__ = ("address", "status", "account_id", "mailbox", "restricted", "suppressed")
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
        MAILBOX_FIELD_NUMBER: _ClassVar[int]
        RESTRICTED_FIELD_NUMBER: _ClassVar[int]
        SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
        address: str
        status: RecipientStatus
        account_id: bytes
        mailbox: str
        restricted: bool
        suppressed: bool
        def __init__(self, address: _Optional[str] = ..., status: _Optional[_Union[RecipientStatus, str]] = ..., account_id: _Optional[bytes] = ..., mailbox: _Optional[str] = ..., restricted: _Optional[bool] = ..., suppressed: _Optional[bool] = ...) -> None: ...
    RESOLUTIONS_FIELD_NUMBER: _ClassVar[int]
    resolutions: _containers.RepeatedCompositeFieldContainer[ResolveResponse.Resolution]
    def __init__(self, resolutions: _Optional[_Iterable[_Union[ResolveResponse.Resolution, _Mapping]]] = ...) -> None: ...

class AuthenticateRequest(_message.Message):
    __slots__ = ("login", "password", "protocol", "client")
    LOGIN_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    login: str
    password: str
    protocol: str
    client: str
    def __init__(self, login: _Optional[str] = ..., password: _Optional[str] = ..., protocol: _Optional[str] = ..., client: _Optional[str] = ...) -> None: ...

class AuthenticateResponse(_message.Message):
    __slots__ = ("status", "account_id", "login", "imap_masked_capabilities")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    LOGIN_FIELD_NUMBER: _ClassVar[int]
    IMAP_MASKED_CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    status: AuthStatus
    account_id: bytes
    login: str
    imap_masked_capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, status: _Optional[_Union[AuthStatus, str]] = ..., account_id: _Optional[bytes] = ..., login: _Optional[str] = ..., imap_masked_capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class OwnsRequest(_message.Message):
    __slots__ = ("account_id", "addresses")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    account_id: bytes
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, account_id: _Optional[bytes] = ..., addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class OwnsResponse(_message.Message):
    __slots__ = ("owned",)
    OWNED_FIELD_NUMBER: _ClassVar[int]
    owned: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, owned: _Optional[_Iterable[bool]] = ...) -> None: ...
