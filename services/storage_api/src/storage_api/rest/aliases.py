"""/v1/aliases, /v1/groups, …/forwarding of an account, …/catch-all of a domain.

A token with `domain:<name>` manages the addresses of its domain. What they lead to is its choice, but an alias, which
lets its account send under the address, needs an account of its domain too.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from ..directory.addresses import normalise_domain
from ..directory.aliases import Who
from ..tokens import Token
from . import paging
from .accounts import require_management
from .context import Account, Caller, Ctx, not_permitted
from .models import Page
from .models_aliases import (
    AliasOut,
    CatchAll,
    ForwardingIn,
    ForwardingOut,
    GroupChange,
    GroupMembers,
    GroupOut,
    NewAlias,
    NewGroup,
)
from .problems import described

router = APIRouter(tags=["aliases and groups"])
account_router = APIRouter(tags=["aliases and groups"])

OfDomain = Annotated[str | None, Query(max_length=253, description="Only this domain's")]
OfAccount = Annotated[str | None, Query(max_length=320, description="Only this account's")]


def _require_list(caller: Token, domain: str | None) -> None:
    if not caller.platform and (domain is None or not caller.may_manage(normalise_domain(domain) or "")):
        raise not_permitted("platform")


@router.post("/aliases", status_code=201, summary="Add an alias", responses=described(400, 404, 409))
async def add_alias(body: NewAlias, ctx: Ctx, caller: Caller) -> AliasOut:
    """Gives an account another address, to receive, to send and to log in with."""
    require_management(caller, body.address)
    require_management(caller, body.account)
    alias = await ctx.aliases.add_alias(body.address, body.account)
    await ctx.audit_log.record(caller, "alias.add", alias.address, {"account": alias.account})
    return AliasOut.of(alias)


@router.get("/aliases", summary="List aliases", responses=described(400))
async def list_aliases(
    ctx: Ctx,
    caller: Caller,
    *,
    domain: OfDomain = None,
    account: OfAccount = None,
    cursor: paging.Cursor = "",
    limit: paging.Limit = 100,
) -> Page[AliasOut]:
    """Aliases by address."""
    _require_list(caller, domain)
    found = await ctx.aliases.aliases(domain, account, paging.decode(cursor), limit + 1)
    more = paging.encode(found[limit - 1].address) if len(found) > limit else None
    return Page(items=[AliasOut.of(alias) for alias in found[:limit]], next=more)


@router.get("/aliases/{address}", summary="Show an alias", responses=described(404))
async def show_alias(address: str, ctx: Ctx, _caller: Caller) -> AliasOut:
    """One alias."""
    return AliasOut.of(await ctx.aliases.get_alias(address))


@router.delete("/aliases/{address}", status_code=204, summary="Remove an alias", responses=described(404))
async def remove_alias(address: str, ctx: Ctx, caller: Caller) -> Response:
    """Takes an alias away; the account stays."""
    await ctx.aliases.remove_alias(address)
    await ctx.audit_log.record(caller, "alias.remove", address)
    return Response(status_code=204)


@router.post("/groups", status_code=201, summary="Create a group", responses=described(400, 404, 409))
async def create_group(body: NewGroup, ctx: Ctx, caller: Caller) -> GroupOut:
    """Creates an address that leads to several."""
    require_management(caller, body.address)
    group = await ctx.aliases.add_group(body.address, body.members, Who(body.who), body.owner)
    details = {"members": len(group.members), "who": group.who.value, "owner": group.owner}
    await ctx.audit_log.record(caller, "group.create", group.address, details)
    return GroupOut.of(group)


@router.get("/groups", summary="List groups", responses=described(400))
async def list_groups(
    ctx: Ctx, caller: Caller, domain: OfDomain = None, cursor: paging.Cursor = "", limit: paging.Limit = 100
) -> Page[GroupOut]:
    """Groups by address."""
    _require_list(caller, domain)
    found = await ctx.aliases.groups(domain, paging.decode(cursor), limit + 1)
    more = paging.encode(found[limit - 1].address) if len(found) > limit else None
    return Page(items=[GroupOut.of(group) for group in found[:limit]], next=more)


@router.get("/groups/{address}", summary="Show a group", responses=described(404))
async def show_group(address: str, ctx: Ctx, _caller: Caller) -> GroupOut:
    """One group with its members."""
    return GroupOut.of(await ctx.aliases.get_group(address))


@router.patch("/groups/{address}", summary="Change a group", responses=described(400, 404))
async def change_group(address: str, body: GroupChange, ctx: Ctx, caller: Caller) -> GroupOut:
    """Sets who may write to a group, its owner, or all of its members."""
    changes: dict[str, Any] = {}
    if body.members is not None:
        changes["members"] = body.members
    if body.who is not None:
        changes["who"] = Who(body.who)
    if "owner" in body.model_fields_set:
        changes["owner"] = body.owner
    group = await ctx.aliases.change_group(address, changes)
    details = {"members": len(group.members), "who": group.who.value, "owner": group.owner}
    await ctx.audit_log.record(caller, "group.change", group.address, details)
    return GroupOut.of(group)


@router.post("/groups/{address}/members", summary="Add members to a group", responses=described(400, 404))
async def add_group_members(address: str, body: GroupMembers, ctx: Ctx, caller: Caller) -> GroupOut:
    """Takes addresses into a group; those in it already stay."""
    group = await ctx.aliases.add_members(address, body.members)
    await ctx.audit_log.record(caller, "group.members_add", group.address, {"members": body.members})
    return GroupOut.of(group)


@router.delete("/groups/{address}/members/{member}", summary="Remove a member", responses=described(400, 404))
async def remove_group_member(
    address: str, member: Annotated[str, Path(max_length=320)], ctx: Ctx, caller: Caller
) -> GroupOut:
    """Takes an address out of a group; one that isn't in it changes nothing."""
    group = await ctx.aliases.remove_members(address, [member])
    await ctx.audit_log.record(caller, "group.members_remove", group.address, {"members": [member]})
    return GroupOut.of(group)


@router.delete("/groups/{address}", status_code=204, summary="Remove a group", responses=described(404))
async def remove_group(address: str, ctx: Ctx, caller: Caller) -> Response:
    """Takes a group away; its members stay what they are."""
    await ctx.aliases.remove_group(address)
    await ctx.audit_log.record(caller, "group.remove", address)
    return Response(status_code=204)


@router.get("/domains/{name}/catch-all", summary="Show a domain's catch-all", responses=described(404))
async def show_catch_all(name: str, ctx: Ctx, _caller: Caller) -> CatchAll:
    """Who gets mail for addresses that nobody has."""
    return CatchAll(address=await ctx.aliases.catch_all(name))


@router.put("/domains/{name}/catch-all", summary="Set a domain's catch-all", responses=described(400, 404))
async def set_catch_all(name: str, body: CatchAll, ctx: Ctx, caller: Caller) -> CatchAll:
    """Says who gets mail for addresses that nobody has; null: they are refused."""
    address = await ctx.aliases.set_catch_all(name, body.address)
    await ctx.audit_log.record(caller, "domain.catch_all", name, {"address": address})
    return CatchAll(address=address)


@account_router.get("/forwarding", summary="Show an account's forwarding", responses=described(404))
async def show_forwarding(ctx: Ctx, account: Account) -> ForwardingOut:
    """Where the account's mail goes, and whether a copy stays."""
    return ForwardingOut.of(await ctx.aliases.forwarding(account.address))


@account_router.put("/forwarding", summary="Forward an account's mail", responses=described(400, 404))
async def set_forwarding(body: ForwardingIn, ctx: Ctx, caller: Caller, account: Account) -> ForwardingOut:
    """Sends an account's mail on, with or without a copy that stays. Its own address in the list is such a copy."""
    forwarding = await ctx.aliases.set_forwarding(account.address, body.to, keep=body.keep)
    details = {"to": list(forwarding.to), "keep": forwarding.keep}
    await ctx.audit_log.record(caller, "account.forwarding", account.address, details)
    return ForwardingOut.of(forwarding)
