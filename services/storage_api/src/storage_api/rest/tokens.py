"""/v1/tokens."""

from __future__ import annotations

from fastapi import APIRouter, Response

from . import paging
from .context import Caller, Ctx
from .models import NewToken, NewTokenOut, Page, TokenOut
from .problems import described

router = APIRouter(tags=["tokens"])


@router.post("/tokens", status_code=201, summary="Make a token", responses=described(400, 404))
async def create_token(body: NewToken, ctx: Ctx, caller: Caller, response: Response) -> NewTokenOut:
    """Makes a token; its text is in this answer and nowhere else."""
    account = None if body.account is None else await ctx.accounts.get(body.account)
    owner = None if account is None else (account.account_id, account.address)
    token, text = await ctx.tokens.create(body.name, body.scopes, owner)
    details: dict[str, object] = {"scopes": sorted(token.scopes)}
    if token.account:
        details["account"] = token.account
    await ctx.audit_log.record(caller, "token.create", token.token_id, details)
    response.headers["cache-control"] = "no-store"
    return NewTokenOut(**TokenOut.of(token).model_dump(), token=text)


@router.get("/tokens", summary="List tokens", responses=described(400))
async def list_tokens(
    ctx: Ctx, _caller: Caller, cursor: paging.Cursor = "", limit: paging.Limit = 100
) -> Page[TokenOut]:
    """Tokens by id."""
    tokens = await ctx.tokens.page(paging.decode(cursor), limit + 1)
    more = paging.encode(tokens[limit - 1].token_id) if len(tokens) > limit else None
    return Page(items=[TokenOut.of(token) for token in tokens[:limit]], next=more)


@router.delete("/tokens/{token_id}", status_code=204, summary="Revoke a token", responses=described(404))
async def revoke_token(token_id: str, ctx: Ctx, caller: Caller) -> Response:
    """Ends a token."""
    token = await ctx.tokens.revoke(token_id)
    await ctx.audit_log.record(caller, "token.revoke", token.token_id)
    return Response(status_code=204)
