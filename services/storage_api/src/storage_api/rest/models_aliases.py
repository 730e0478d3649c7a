"""The bodies of aliases, groups, forwarding and catch-all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from ..directory.aliases import MAX_FORWARDS, MAX_MEMBERS, Alias, Forwarding, Group
from .models import AddressText, Strict, example

Members = Annotated[
    list[AddressText], Field(max_length=MAX_MEMBERS, description="Addresses, here or elsewhere; other groups, too")
]
Who = Annotated[
    Literal["anyone", "members", "domain"],
    Field(description="Who may write to it: anyone, its members, the domain's accounts. Its owner always may"),
]
_OWNER = "Gets what its members' servers return, and may always write to it; null: senders get that themselves"

_ALIAS: dict[str, Any] = {
    "address": "sales@example.test",
    "account": "alice@example.test",
    "created_at": 1764115200000,
}
_MEMBERS = ["alice@example.test", "bob@example.org"]
_GROUP: dict[str, Any] = {
    "address": "team@example.test",
    "members": _MEMBERS,
    "who": "members",
    "owner": "alice@example.test",
}
_FORWARDING: dict[str, Any] = {"to": ["alice@example.org"], "keep": True}


class NewAlias(Strict):
    """Another address for an account."""

    model_config = example(address=_ALIAS["address"], account=_ALIAS["account"])
    address: AddressText
    account: AddressText = Field(description="The account's own address")


class AliasOut(BaseModel):
    """An alias."""

    model_config = example(**_ALIAS)
    address: str
    account: str
    created_at: int = Field(description="Milliseconds since the epoch")

    @classmethod
    def of(cls, alias: Alias) -> AliasOut:
        """From the directory's value."""
        return cls(address=alias.address, account=alias.account, created_at=alias.created_at)


class NewGroup(Strict):
    """A group to create."""

    model_config = example(**_GROUP)
    address: AddressText
    members: Members = Field(default_factory=list)
    who: Who = "anyone"
    owner: AddressText | None = Field(None, description=_OWNER)


class GroupChange(Strict):
    """What isn't given stays; `members` replaces all."""

    model_config = example(who="domain", owner=None)
    members: Members | None = None
    who: Who | None = None
    owner: AddressText | None = Field(None, description=_OWNER)

    @model_validator(mode="after")
    def _something(self) -> GroupChange:
        if self.members is None and self.who is None and "owner" not in self.model_fields_set:
            raise ValueError("members, who or owner")
        return self


class GroupMembers(Strict):
    """Addresses to take into a group."""

    model_config = example(members=_MEMBERS)
    members: Annotated[list[AddressText], Field(min_length=1, max_length=MAX_MEMBERS)]


class GroupOut(BaseModel):
    """A group."""

    model_config = example(**_GROUP, created_at=1764115200000)
    address: str
    members: list[str]
    who: str
    owner: str | None = Field(description=_OWNER)
    created_at: int = Field(description="Milliseconds since the epoch")

    @classmethod
    def of(cls, group: Group) -> GroupOut:
        """From the directory's value."""
        return cls(
            address=group.address,
            members=list(group.members),
            who=group.who.value,
            owner=group.owner,
            created_at=group.created_at,
        )


class ForwardingIn(Strict):
    """Where an account's mail goes. `keep`: a copy stays in the account. No addresses: nowhere else."""

    model_config = example(**_FORWARDING)
    to: Annotated[list[AddressText], Field(max_length=MAX_FORWARDS)]
    keep: bool = True


class ForwardingOut(BaseModel):
    """Where an account's mail goes. Without addresses it isn't forwarded."""

    model_config = example(**_FORWARDING)
    to: list[str]
    keep: bool

    @classmethod
    def of(cls, forwarding: Forwarding) -> ForwardingOut:
        """From the directory's value."""
        return cls(to=list(forwarding.to), keep=forwarding.keep)


class CatchAll(Strict):
    """Who gets mail for a domain's addresses that nobody has; null: nobody."""

    model_config = example(address="alice@example.test")
    address: AddressText | None
