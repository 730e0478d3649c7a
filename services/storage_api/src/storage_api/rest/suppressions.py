"""/v1/suppressions: addresses elsewhere that get no mail from here, and those that always may."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from ..directory.suppressions import MAX_NOTE, SUPPRESSED, Suppression
from . import paging
from .context import Caller, Ctx
from .models import Page, Strict, example
from .problems import described
from .times import Moment, moment

router = APIRouter(tags=["suppressions"])

Kind = Literal["suppressed", "allowed"]


class SuppressionPut(Strict):
    """What to do with the address: suppressed (no mail), or allowed (never suppressed, whatever bounces)."""

    model_config = example(kind="allowed", note="checked by phone")

    kind: Kind = SUPPRESSED  # type: ignore[assignment]
    note: Annotated[str, Field(max_length=MAX_NOTE, description="Why, for people")] = ""
    expires: Moment | None = Field(None, description="When the entry ends by itself; null: never")


class SuppressionOut(BaseModel):
    """An entry of the list. `status`, `reply`, `host` and `trace` are those of the bounce that made it."""

    model_config = example(
        address="bob@example.org",
        kind="suppressed",
        reason="bounce",
        at=1764115200000,
        expires_at=1771891200000,
        status="5.1.1",
        reply="550 5.1.1 No such user",
        host="mx.example.org [192.0.2.25]:25",
        trace="1vjrg9gsmwgr2yj6zc38mvxq57",
    )

    address: str
    kind: Kind
    reason: str = Field(description='"bounce", or an operator\'s note')
    at: int
    expires_at: int | None
    status: str
    reply: str
    host: str
    trace: str

    @classmethod
    def of(cls, entry: Suppression) -> SuppressionOut:
        """From the directory's value."""
        return cls(
            address=entry.address,
            kind=entry.kind,  # type: ignore[arg-type]
            reason=entry.reason,
            at=entry.at,
            expires_at=entry.expires_at,
            status=entry.status,
            reply=entry.reply,
            host=entry.host,
            trace=entry.trace_id,
        )


@router.get("/suppressions", summary="List suppressions", responses=described(400))
async def list_suppressions(
    ctx: Ctx,
    _caller: Caller,
    kind: Annotated[Kind | None, Query(description="Only these")] = None,
    cursor: paging.Cursor = "",
    limit: paging.Limit = 100,
) -> Page[SuppressionOut]:
    """Entries by address."""
    found = await ctx.suppressions.page(paging.decode(cursor), limit + 1, kind=kind)
    more = paging.encode(found[limit - 1].address) if len(found) > limit else None
    return Page(items=[SuppressionOut.of(entry) for entry in found[:limit]], next=more)


@router.get("/suppressions/{recipient:encoded}", summary="Show a suppression", responses=described(400, 404))
async def show_suppression(recipient: str, ctx: Ctx, _caller: Caller) -> SuppressionOut:
    """One entry."""
    return SuppressionOut.of(await ctx.suppressions.get(recipient))


@router.put("/suppressions/{recipient:encoded}", summary="Suppress or allow an address", responses=described(400))
async def put_suppression(recipient: str, body: SuppressionPut, ctx: Ctx, caller: Caller) -> SuppressionOut:
    """Adds or replaces an entry. An address of this platform can't have one."""
    expires_at = None if body.expires is None else moment(body.expires)
    entry = await ctx.suppressions.put(recipient, body.kind, note=body.note, expires_at=expires_at)
    await ctx.audit_log.record(caller, "suppression.put", entry.address, {"kind": entry.kind})
    return SuppressionOut.of(entry)


@router.delete(
    "/suppressions/{recipient:encoded}", status_code=204, summary="Remove a suppression", responses=described(400, 404)
)
async def remove_suppression(recipient: str, ctx: Ctx, caller: Caller) -> Response:
    """Takes an address off the list: mail goes there again."""
    await ctx.suppressions.remove(recipient)
    await ctx.audit_log.record(caller, "suppression.remove", recipient)
    return Response(status_code=204)
