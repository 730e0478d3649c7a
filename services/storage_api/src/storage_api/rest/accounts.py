"""/v1/accounts. A token with `domain:<name>` manages the accounts of that domain, one with `platform` all."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response
from mailboat_common.errors import Refused, RefusedCode

from ..directory.accounts import PutResult, Secret
from ..directory.accounts import cursor as cursor_of
from ..directory.addresses import normalise_domain, parse
from ..store.retention import NEVER
from ..tokens import Token
from . import paging
from .context import Caller, Context, Ctx, not_permitted
from .models import AccountChange, AccountOut, Batch, BatchOut, BatchRow, NewAccount, Page, RowResult
from .problems import described

router = APIRouter(tags=["accounts"])

AT_ONCE = 8


def require_management(caller: Token, address: str) -> None:
    """Refused NOT_PERMITTED unless the address's domain is the caller's business."""
    parsed = parse(address)
    domain = parsed.domain if parsed else ""
    if not caller.may_manage(domain):
        raise not_permitted(f"domain:{domain}" if domain else "platform")


@router.post("/accounts", status_code=201, summary="Create an account", responses=described(400, 404, 409))
async def create_account(body: NewAccount, ctx: Ctx, caller: Caller) -> AccountOut:
    """Creates an account with the default mailboxes."""
    require_management(caller, body.address)
    account = await ctx.accounts.create(
        body.address, body.secret() or Secret(), body.quota_bytes, quota_messages=body.quota_messages
    )
    details = {"quota_bytes": account.quota_bytes, "quota_messages": account.quota_messages}
    await ctx.audit_log.record(caller, "account.create", account.address, details)
    return AccountOut.of(account)


@router.post("/accounts:batch", summary="Make many accounts be as given")
async def put_accounts(body: Batch, ctx: Ctx, caller: Caller) -> BatchOut:
    """Makes up to 500 accounts be as given. Rows are judged one by one; repeating a request changes nothing."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def put(row: BatchRow) -> RowResult:
        async with gate:
            return await _put(ctx, caller, row)

    results = await asyncio.gather(*map(put, body.accounts))
    counts = {result.value: sum(row.result == result.value for row in results) for result in PutResult}
    changed = [row.address for row in results if row.result in ("created", "updated")]
    if changed:
        await ctx.audit_log.record(caller, "account.batch", f"{len(changed)} accounts", {**counts, "accounts": changed})
    return BatchOut(results=results)


async def _put(ctx: Context, caller: Token, row: BatchRow) -> RowResult:
    try:
        require_management(caller, row.address)
        if (row.password is None) == (row.password_hash is None):
            raise Refused(RefusedCode.INVALID, "Either a password or a password hash is needed")
        secret = Secret(row.password, row.password_hash)
        done = await ctx.accounts.put(row.address, secret, row.quota_bytes, row.quota_messages)
    except Refused as refused:
        return RowResult(address=row.address, result="error", error=refused.public)
    return RowResult(address=row.address, result=done.value)


@router.get("/accounts", summary="List accounts", responses=described(400))
async def list_accounts(
    ctx: Ctx,
    caller: Caller,
    domain: Annotated[str | None, Query(max_length=253)] = None,
    cursor: paging.Cursor = "",
    limit: paging.Limit = 100,
) -> Page[AccountOut]:
    """Accounts by domain and address."""
    if not caller.platform and (domain is None or not caller.may_manage(normalise_domain(domain) or "")):
        raise not_permitted("platform")
    accounts = await ctx.accounts.page(domain, paging.decode(cursor), limit + 1)
    more = paging.encode(cursor_of(accounts[limit - 1])) if len(accounts) > limit else None
    return Page(items=[AccountOut.of(account) for account in accounts[:limit]], next=more)


@router.get("/accounts/{address}", summary="Show an account", responses=described(404))
async def show_account(address: str, ctx: Ctx, caller: Caller) -> AccountOut:
    """One account."""
    require_management(caller, address)
    return AccountOut.of(await ctx.accounts.get(address))


@router.patch("/accounts/{address}", summary="Change an account", responses=described(400, 404))
async def change_account(address: str, body: AccountChange, ctx: Ctx, caller: Caller) -> AccountOut:
    """Changes password, quotas, hidden IMAP capabilities, whether the account is disabled, and how long what POP3
    retrieved stays.
    """
    require_management(caller, address)
    secret = body.secret()
    settings = body.model_dump(exclude={"password", "password_hash", "pop3_retention_days"}, exclude_none=True)
    account = await ctx.accounts.update(address, secret=secret, **settings)
    details = dict(settings)
    if secret is not None:
        details["secret_changed"] = True
    if "pop3_retention_days" in body.model_fields_set:
        given = body.pop3_retention_days
        account = await ctx.accounts.set_pop3_retention(address, NEVER if given == "never" else given)
        details["pop3_retention_days"] = given
    await ctx.audit_log.record(caller, "account.change", account.address, details)
    return AccountOut.of(account)


@router.delete("/accounts/{address}", status_code=204, summary="Delete an account", responses=described(404))
async def remove_account(address: str, ctx: Ctx, caller: Caller) -> Response:
    """Deletes an account and its mail."""
    require_management(caller, address)
    await ctx.accounts.remove(address)
    await ctx.audit_log.record(caller, "account.remove", address)
    return Response(status_code=204)
