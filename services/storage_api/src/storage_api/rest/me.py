"""/v1/me: an account's own settings, with a token of it (`self`). Its mail is under …/mailboxes and …/messages."""

from __future__ import annotations

from fastapi import APIRouter, Response
from mailboat_store_client.types import AuthStatus
from starlette.exceptions import HTTPException

from ..directory.accounts import Secret
from .context import Account, Caller, Ctx
from .models import AccountOut, PasswordChange
from .problems import described

router = APIRouter(tags=["me"])

PROTOCOL = "rest"


@router.get("", summary="Show the token's own account")
async def show_me(ctx: Ctx, account: Account) -> AccountOut:
    """The account with what it uses and may use."""
    return AccountOut.of(await ctx.accounts.by_id(account.account_id))


@router.post("/password", status_code=204, summary="Change the password", responses=described(400, 429))
async def change_password(body: PasswordChange, ctx: Ctx, caller: Caller, account: Account) -> Response:
    """Changes the password, if the old one is right. Wrong ones are counted as those of logins are (429)."""
    found = await ctx.directory.authenticate(account.address, body.old_password, protocol=PROTOCOL, client="")
    if found.status is AuthStatus.THROTTLED:
        raise HTTPException(429, "Too many wrong passwords, try again later", {"retry-after": "60"})
    if found.status is not AuthStatus.OK:
        raise HTTPException(403, "The old password is wrong")
    await ctx.accounts.update(account.address, secret=Secret(body.new_password))
    await ctx.audit_log.record(caller, "account.password", account.address)
    return Response(status_code=204)
