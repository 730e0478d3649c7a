from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TlsMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TLS_MODE_UNSPECIFIED: _ClassVar[TlsMode]
    TLS_MODE_NONE: _ClassVar[TlsMode]
    TLS_MODE_MAY: _ClassVar[TlsMode]
    TLS_MODE_ENCRYPT: _ClassVar[TlsMode]
    TLS_MODE_VERIFY: _ClassVar[TlsMode]
    TLS_MODE_IMPLICIT: _ClassVar[TlsMode]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_DELIVERED: _ClassVar[Outcome]
    OUTCOME_DEFERRED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
TLS_MODE_UNSPECIFIED: TlsMode
TLS_MODE_NONE: TlsMode
TLS_MODE_MAY: TlsMode
TLS_MODE_ENCRYPT: TlsMode
TLS_MODE_VERIFY: TlsMode
TLS_MODE_IMPLICIT: TlsMode
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_DELIVERED: Outcome
OUTCOME_DEFERRED: Outcome
OUTCOME_FAILED: Outcome

class ClaimRequest(_message.Message):
    __slots__ = ("jobs", "worker", "max_bytes", "key")
    class Job(_message.Message):
        __slots__ = ("queue_id", "attempt", "domain")
        QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        DOMAIN_FIELD_NUMBER: _ClassVar[int]
        queue_id: bytes
        attempt: int
        domain: str
        def __init__(self, queue_id: _Optional[bytes] = ..., attempt: _Optional[int] = ..., domain: _Optional[str] = ...) -> None: ...
    JOBS_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[ClaimRequest.Job]
    worker: str
    max_bytes: int
    key: bytes
    def __init__(self, jobs: _Optional[_Iterable[_Union[ClaimRequest.Job, _Mapping]]] = ..., worker: _Optional[str] = ..., max_bytes: _Optional[int] = ..., key: _Optional[bytes] = ...) -> None: ...

class Transport(_message.Message):
    __slots__ = ("host", "port", "tls", "username", "password")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    tls: TlsMode
    username: str
    password: str
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., tls: _Optional[_Union[TlsMode, str]] = ..., username: _Optional[str] = ..., password: _Optional[str] = ...) -> None: ...

class ClaimResponse(_message.Message):
    __slots__ = ("documents", "sizes")
    class Recipient(_message.Message):
        __slots__ = ("address", "notify", "orcpt")
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        NOTIFY_FIELD_NUMBER: _ClassVar[int]
        ORCPT_FIELD_NUMBER: _ClassVar[int]
        address: str
        notify: str
        orcpt: str
        def __init__(self, address: _Optional[str] = ..., notify: _Optional[str] = ..., orcpt: _Optional[str] = ...) -> None: ...
    class Document(_message.Message):
        __slots__ = ("claimed", "queue_id", "attempt", "token", "lease_until", "trace_id", "domain", "transport", "reverse_path", "recipients", "size", "eight_bit", "smtputf8", "envid", "ret", "expires_at")
        CLAIMED_FIELD_NUMBER: _ClassVar[int]
        QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        TOKEN_FIELD_NUMBER: _ClassVar[int]
        LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
        TRACE_ID_FIELD_NUMBER: _ClassVar[int]
        DOMAIN_FIELD_NUMBER: _ClassVar[int]
        TRANSPORT_FIELD_NUMBER: _ClassVar[int]
        REVERSE_PATH_FIELD_NUMBER: _ClassVar[int]
        RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
        SIZE_FIELD_NUMBER: _ClassVar[int]
        EIGHT_BIT_FIELD_NUMBER: _ClassVar[int]
        SMTPUTF8_FIELD_NUMBER: _ClassVar[int]
        ENVID_FIELD_NUMBER: _ClassVar[int]
        RET_FIELD_NUMBER: _ClassVar[int]
        EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
        claimed: bool
        queue_id: bytes
        attempt: int
        token: bytes
        lease_until: int
        trace_id: str
        domain: str
        transport: Transport
        reverse_path: str
        recipients: _containers.RepeatedCompositeFieldContainer[ClaimResponse.Recipient]
        size: int
        eight_bit: bool
        smtputf8: bool
        envid: str
        ret: str
        expires_at: int
        def __init__(self, claimed: _Optional[bool] = ..., queue_id: _Optional[bytes] = ..., attempt: _Optional[int] = ..., token: _Optional[bytes] = ..., lease_until: _Optional[int] = ..., trace_id: _Optional[str] = ..., domain: _Optional[str] = ..., transport: _Optional[_Union[Transport, _Mapping]] = ..., reverse_path: _Optional[str] = ..., recipients: _Optional[_Iterable[_Union[ClaimResponse.Recipient, _Mapping]]] = ..., size: _Optional[int] = ..., eight_bit: _Optional[bool] = ..., smtputf8: _Optional[bool] = ..., envid: _Optional[str] = ..., ret: _Optional[str] = ..., expires_at: _Optional[int] = ...) -> None: ...
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[ClaimResponse.Document]
    sizes: bytes
    def __init__(self, documents: _Optional[_Iterable[_Union[ClaimResponse.Document, _Mapping]]] = ..., sizes: _Optional[bytes] = ...) -> None: ...

class Claim(_message.Message):
    __slots__ = ("queue_id", "token")
    QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    queue_id: bytes
    token: bytes
    def __init__(self, queue_id: _Optional[bytes] = ..., token: _Optional[bytes] = ...) -> None: ...

class ContentRequest(_message.Message):
    __slots__ = ("claim",)
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    claim: Claim
    def __init__(self, claim: _Optional[_Union[Claim, _Mapping]] = ...) -> None: ...

class ContentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("claims",)
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    claims: _containers.RepeatedCompositeFieldContainer[Claim]
    def __init__(self, claims: _Optional[_Iterable[_Union[Claim, _Mapping]]] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("renewed",)
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    renewed: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, renewed: _Optional[_Iterable[bool]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("attempts",)
    class Recipient(_message.Message):
        __slots__ = ("address", "outcome", "status", "reply", "reason", "host", "tls", "dsn_passed_on")
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        OUTCOME_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        REPLY_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        HOST_FIELD_NUMBER: _ClassVar[int]
        TLS_FIELD_NUMBER: _ClassVar[int]
        DSN_PASSED_ON_FIELD_NUMBER: _ClassVar[int]
        address: str
        outcome: Outcome
        status: str
        reply: str
        reason: str
        host: str
        tls: str
        dsn_passed_on: bool
        def __init__(self, address: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., status: _Optional[str] = ..., reply: _Optional[str] = ..., reason: _Optional[str] = ..., host: _Optional[str] = ..., tls: _Optional[str] = ..., dsn_passed_on: _Optional[bool] = ...) -> None: ...
    class Phases(_message.Message):
        __slots__ = ("lookup", "wait", "connect", "tls", "mail", "data", "reply")
        LOOKUP_FIELD_NUMBER: _ClassVar[int]
        WAIT_FIELD_NUMBER: _ClassVar[int]
        CONNECT_FIELD_NUMBER: _ClassVar[int]
        TLS_FIELD_NUMBER: _ClassVar[int]
        MAIL_FIELD_NUMBER: _ClassVar[int]
        DATA_FIELD_NUMBER: _ClassVar[int]
        REPLY_FIELD_NUMBER: _ClassVar[int]
        lookup: int
        wait: int
        connect: int
        tls: int
        mail: int
        data: int
        reply: int
        def __init__(self, lookup: _Optional[int] = ..., wait: _Optional[int] = ..., connect: _Optional[int] = ..., tls: _Optional[int] = ..., mail: _Optional[int] = ..., data: _Optional[int] = ..., reply: _Optional[int] = ...) -> None: ...
    class Attempt(_message.Message):
        __slots__ = ("claim", "recipients", "final", "phases")
        CLAIM_FIELD_NUMBER: _ClassVar[int]
        RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
        FINAL_FIELD_NUMBER: _ClassVar[int]
        PHASES_FIELD_NUMBER: _ClassVar[int]
        claim: Claim
        recipients: _containers.RepeatedCompositeFieldContainer[ReportRequest.Recipient]
        final: bool
        phases: ReportRequest.Phases
        def __init__(self, claim: _Optional[_Union[Claim, _Mapping]] = ..., recipients: _Optional[_Iterable[_Union[ReportRequest.Recipient, _Mapping]]] = ..., final: _Optional[bool] = ..., phases: _Optional[_Union[ReportRequest.Phases, _Mapping]] = ...) -> None: ...
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[ReportRequest.Attempt]
    def __init__(self, attempts: _Optional[_Iterable[_Union[ReportRequest.Attempt, _Mapping]]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("taken",)
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    taken: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, taken: _Optional[_Iterable[bool]] = ...) -> None: ...
