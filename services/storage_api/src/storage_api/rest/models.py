"""The bodies of the REST API: strict, bounded, unknown members refused."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from mailboat_common.ids import encode_id
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ..directory.accounts import Account, Secret
from ..directory.domains import Domain
from ..store.retention import NEVER
from ..tokens import Token
from ..trace import Step

MAX_BATCH = 500
MAX_MEMBERS = 100
MAX_QUOTA = 1 << 50

AddressText = Annotated[str, Field(min_length=3, max_length=320, examples=["alice@example.test"])]
DomainText = Annotated[str, Field(min_length=1, max_length=253, examples=["example.test"])]
Quota = Annotated[int, Field(ge=0, le=MAX_QUOTA, description="Octets; 0: no quota")]
MessageQuota = Annotated[int, Field(ge=0, le=MAX_QUOTA, description="Messages; 0: no quota")]
Capabilities = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=100)]
Password = Annotated[str, Field(max_length=1024)]
PasswordHash = Annotated[str, Field(max_length=512, description="$argon2id$…, {BCRYPT}… or {SHA512-CRYPT}…")]

MAX_RETENTION_DAYS = 3650
Days = Annotated[int, Field(ge=0, le=MAX_RETENTION_DAYS)]
_DAYS = (
    "Days after which a message that POP3 has retrieved is removed; 0: at QUIT. "
    "EXPIRE tells clients, and the worker sees to it, whatever they do."
)

_ACCOUNT: dict[str, Any] = {
    "id": "1vjrg9gsmwgr2yj6zc38mvxq54",
    "address": "alice@example.test",
    "quota_bytes": 5368709120,
    "quota_messages": 0,
    "used_bytes": 123456,
    "messages": 42,
    "disabled": False,
    "imap_masked_capabilities": [],
    "created_at": 1764115200000,
    "pop3_retention_days": None,
}
_ROW = {"address": "alice@example.test", "password": "correct horse battery"}
_PASSWORDS = {"old_password": "correct horse battery", "new_password": "staple correct horse"}
_TOKEN: dict[str, Any] = {
    "id": "1vjrg9gsmwgr2yj6zc38mvxq56",
    "name": "crm",
    "scopes": ["domain:example.test", "read-mail"],
    "account": None,
    "created_at": 1764115200000,
}
_STEP: dict[str, Any] = {
    "at": 1764115200000,
    "kind": "filed",
    "account": "alice@example.test",
    "mailbox": "INBOX",
    "message": "1vjrg9gsmwgr2yj6zc38mvxq54.17",
    "details": {},
}

Item = TypeVar("Item")


def example(**values: Any) -> ConfigDict:
    """A model's settings with an example of it, which the API's description shows (a test holds it to the model)."""
    return ConfigDict(json_schema_extra={"examples": [values]})


def few_members(value: Any) -> Any:
    """Before an object is looked at: each wrong member is an error of its own, and 200,000 took seconds to tell of."""
    if isinstance(value, dict) and len(value) > MAX_MEMBERS:
        raise PydanticCustomError("too_many_members", f"An object here has at most {MAX_MEMBERS} members")
    return value


class Strict(BaseModel):
    """What clients send: strict types, unknown members refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_members(cls, value: Any) -> Any:
        return few_members(value)


class _Secret(Strict):
    password: Password | None = None
    password_hash: PasswordHash | None = None

    @model_validator(mode="after")
    def _not_both(self) -> _Secret:
        if self.password is not None and self.password_hash is not None:
            raise ValueError("either a password or a password_hash")
        return self

    def secret(self) -> Secret | None:
        """The secret given, if any."""
        if self.password is None and self.password_hash is None:
            return None
        return Secret(self.password, self.password_hash)


class NewDomain(Strict):
    """A domain to take mail for."""

    model_config = example(name="example.test")
    name: DomainText


class DomainChange(Strict):
    """What isn't given stays. `admin`: the account that gets the mail of postmaster@ and abuse@."""

    model_config = example(admin="alice@example.test", pop3_retention_days=30)
    admin: AddressText | None = None
    pop3_retention_days: Days | None = Field(None, description=_DAYS + " null: never")

    @model_validator(mode="after")
    def _something(self) -> DomainChange:
        if self.admin is None and "pop3_retention_days" not in self.model_fields_set:
            raise ValueError("admin or pop3_retention_days")
        return self


class NewAccount(_Secret):
    """An account to create; a password or a hash is needed."""

    model_config = example(**_ROW, quota_bytes=5368709120)
    address: AddressText
    quota_bytes: Quota = 0
    quota_messages: MessageQuota = 0


class AccountChange(_Secret):
    """What isn't given stays. `imap_masked_capabilities` replaces the list; it holds from the next login on."""

    model_config = example(quota_bytes=10737418240, disabled=False)
    quota_bytes: Quota | None = None
    quota_messages: MessageQuota | None = None
    disabled: bool | None = None
    imap_masked_capabilities: Capabilities | None = None
    pop3_retention_days: Days | Literal["never"] | None = Field(None, description=_DAYS + " null: as the domain says")


class PasswordChange(Strict):
    """A new password for one's own account."""

    model_config = example(**_PASSWORDS)
    old_password: Password
    new_password: Password


class BatchRow(Strict):
    """One row of an import. A row may be wrong without spoiling the others, so it is judged later."""

    model_config = example(**_ROW)
    address: Annotated[str, Field(max_length=1024)]
    password: Password | None = None
    password_hash: PasswordHash | None = None
    quota_bytes: Quota | None = None
    quota_messages: MessageQuota | None = None


class Batch(Strict):
    """Accounts to make so."""

    model_config = example(accounts=[_ROW])
    accounts: Annotated[list[BatchRow], Field(max_length=MAX_BATCH)]


class NewToken(Strict):
    """A token to make."""

    model_config = example(name="crm", scopes=["domain:example.test", "read-mail"])
    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Annotated[str, Field(max_length=300)]], Field(min_length=1, max_length=50)]
    account: AddressText | None = Field(None, description="Whose token it is; needed for the scope self")


class DomainOut(BaseModel):
    """A domain."""

    model_config = example(
        name="example.test", admin="alice@example.test", created_at=1764115200000, pop3_retention_days=None
    )
    name: str
    admin: str | None
    created_at: int = Field(description="Milliseconds since the epoch")
    pop3_retention_days: int | None = Field(description=_DAYS + " null: never")

    @classmethod
    def of(cls, domain: Domain) -> DomainOut:
        """From the directory's value."""
        return cls(
            name=domain.name,
            admin=domain.admin,
            created_at=domain.created_at,
            pop3_retention_days=domain.pop3_retention_days,
        )


class AccountOut(BaseModel):
    """An account."""

    model_config = example(**_ACCOUNT)
    id: str
    address: str
    quota_bytes: int
    quota_messages: int
    used_bytes: int
    messages: int
    disabled: bool
    imap_masked_capabilities: list[str]
    created_at: int = Field(description="Milliseconds since the epoch")
    pop3_retention_days: int | Literal["never"] | None = Field(description=_DAYS + " null: as the domain says")

    @classmethod
    def of(cls, account: Account) -> AccountOut:
        """From the directory's value."""
        return cls(
            id=encode_id(account.account_id),
            address=account.address,
            quota_bytes=account.quota_bytes,
            quota_messages=account.quota_messages,
            used_bytes=account.used_bytes,
            messages=account.messages,
            disabled=account.disabled,
            imap_masked_capabilities=list(account.imap_masked_capabilities),
            created_at=account.created_at,
            pop3_retention_days="never" if account.pop3_retention_days == NEVER else account.pop3_retention_days,
        )


class RowResult(BaseModel):
    """What became of one row, in the order of the request."""

    model_config = example(address="alice@example.test", result="created", error=None)
    address: str
    result: Literal["created", "updated", "unchanged", "error"]
    error: str | None = None


class BatchOut(BaseModel):
    """What became of the rows."""

    model_config = example(results=[{"address": "alice@example.test", "result": "created", "error": None}])
    results: list[RowResult]


class TokenOut(BaseModel):
    """A token without its text."""

    model_config = example(**_TOKEN)
    id: str
    name: str
    scopes: list[str]
    account: str | None = Field(description="Whose token it is, by the address it had then; null: nobody's")
    created_at: int = Field(description="Milliseconds since the epoch")

    @classmethod
    def of(cls, token: Token) -> TokenOut:
        """From the stored value."""
        return cls(
            id=token.token_id,
            name=token.name,
            scopes=sorted(token.scopes),
            account=token.account or None,
            created_at=token.created_at,
        )


class NewTokenOut(TokenOut):
    """A new token with its text, which is shown this once."""

    model_config = example(**_TOKEN | {"token": "mbt_5wCkz3PjW8Qn1fL0yT7uRb2VxHs9dGmA4eKoJiNcBqE"})
    token: str


class StepOut(BaseModel):
    """One step of a message's journey."""

    model_config = example(**_STEP)
    at: int = Field(description="Milliseconds since the epoch")
    kind: str
    account: str | None
    mailbox: str | None
    message: str | None = Field(description="mailbox.uid, for /v1/messages/{…}/raw")
    details: dict[str, Any]

    @classmethod
    def of(cls, step: Step) -> StepOut:
        """From the log's value."""
        return cls(
            at=step.at,
            kind=step.kind,
            account=step.account,
            mailbox=step.mailbox,
            message=step.message,
            details=step.details,
        )


class TraceOut(BaseModel):
    """A message's journey."""

    model_config = example(trace_id="1vjrg9gsmwgr2yj6zc38mvxq57", events=[_STEP])
    trace_id: str
    events: list[StepOut]


class Page(BaseModel, Generic[Item]):
    """A page of a list; `next` is the cursor of the next one, null at the end."""

    items: list[Item]
    next: str | None
