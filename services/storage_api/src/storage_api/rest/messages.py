"""/v1/messages: a message as it was received; /v1/trace: its journey; /v1/audit: whether the sum is right."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from mailboat_common.errors import MailboatError, Refused, RefusedCode
from mailboat_common.ids import decode_id
from mailboat_common.log import get_logger
from mailboat_store_client.types import AccountId, BodyId, MailboxId

from ..tokens import READ_MAIL
from .accounts import require_management
from .context import Caller, Context, Ctx, Platform, not_permitted
from .models import StepOut, TraceOut

router = APIRouter(tags=["messages"])
log = get_logger(__name__)


@router.get("/messages/{message}/raw", response_class=StreamingResponse)
async def raw_message(
    ctx: Ctx,
    caller: Caller,
    message: Annotated[str, Path(max_length=64, description="mailbox.uid, as the trace shows it")],
    account: Annotated[str, Query(max_length=320, description="The account's address")],
) -> StreamingResponse:
    """The message's bytes. Needs `read-mail` and the account's domain; each use is in the audit log."""
    require_management(caller, account)
    if READ_MAIL not in caller.scopes:
        raise not_permitted(READ_MAIL)
    account_id = (await ctx.accounts.get(account)).account_id
    body_id, size = await _find(ctx, account_id, message)
    await ctx.audit_log.record(caller, "message.read", account, {"message": message})
    chunks = ctx.mailboxes.read(account_id, body_id)
    first = await anext(chunks, b"")
    headers = {"content-length": str(size), "x-content-type-options": "nosniff"}
    return StreamingResponse(_rest(first, chunks), media_type="message/rfc822", headers=headers)


async def _find(ctx: Context, account_id: AccountId, message: str) -> tuple[BodyId, int]:
    mailbox_text, _, uid_text = message.partition(".")
    try:
        mailbox_id, uid = MailboxId(decode_id(mailbox_text)), int(uid_text)
    except ValueError:
        raise Refused(RefusedCode.NO_MESSAGE, "No such message") from None
    rows = (await ctx.mailboxes.changes(account_id, mailbox_id, 0)).changed
    row = bisect_left(rows.uids, uid)
    if row == len(rows) or rows.uids[row] != uid:
        raise Refused(RefusedCode.NO_MESSAGE, "No such message")
    return rows.body_id(row), rows.sizes[row]


async def _rest(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


@router.get("/trace/{trace_id}")
async def show_trace(trace_id: Annotated[str, Path(max_length=64)], ctx: Ctx, _caller: Platform) -> TraceOut:
    """A message's journey, oldest step first. Kept for 30 days."""
    steps = await ctx.trace.timeline(trace_id.lower())
    if not steps:
        raise Refused(RefusedCode.NOT_FOUND, "Nothing is known of this trace id")
    return TraceOut(trace_id=trace_id.lower(), events=[StepOut.of(step) for step in steps])


@router.post("/audit", response_class=StreamingResponse)
async def audit(ctx: Ctx, caller: Platform, deep: bool = False) -> StreamingResponse:
    """Checks every account; one JSON object a line: findings, at the end `{"summary": …}`, else it broke off.

    `deep` reads every body as well.
    """
    await ctx.audit_log.record(caller, "audit", "all", {"deep": deep})
    return StreamingResponse(_findings(ctx, deep), media_type="application/x-ndjson")


async def _findings(ctx: Context, deep: bool) -> AsyncIterator[bytes]:
    try:
        async for finding in ctx.audit(deep):
            yield json.dumps(finding).encode() + b"\n"
    except MailboatError as error:
        log.error("audit broke off", cause=error.private)  # the client misses the summary and knows
