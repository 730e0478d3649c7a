"""/v1/messages: a message as it was received; /v1/trace: its journey; /v1/audit: whether the sum is right."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response, StreamingResponse
from mailboat_common.errors import MailboatError, Refused, RefusedCode
from mailboat_common.log import get_logger

from .accounts import require_management
from .context import Caller, Context, Ctx, Target
from .mail import RFC822, audit_reading, find, raw_answer
from .models import StepOut, TraceOut
from .problems import described

router = APIRouter(tags=["messages"])
log = get_logger(__name__)

NDJSON = "application/x-ndjson"


@router.get(
    "/messages/{message}/raw",
    response_class=StreamingResponse,
    summary="Read the bytes of a message that a trace names",
    responses={
        200: {"content": {RFC822: {"schema": {"type": "string", "format": "binary"}}}, "description": "The message"},
        **described(404),
    },
)
async def raw_message(
    ctx: Ctx,
    caller: Caller,
    message: Annotated[str, Path(max_length=64, description="mailbox.uid, as the trace shows it")],
    account: Annotated[str, Query(max_length=320, description="The account's address")],
) -> Response:
    """The message's bytes. Needs `read-mail` and the account's domain; each use is in the audit log."""
    require_management(caller, account)
    found = await ctx.accounts.get(account)
    target = Target(found.account_id, found.address, own=False)
    _, columns, row = await find(ctx, target, message)
    await audit_reading(ctx, caller, target, "message.read", {"message": message})
    return await raw_answer(ctx, target, columns.body_id(row), columns.sizes[row], None)


@router.get("/trace/{trace_id}", summary="Follow a message's journey", responses=described(404))
async def show_trace(trace_id: Annotated[str, Path(max_length=64)], ctx: Ctx, _caller: Caller) -> TraceOut:
    """From its client's connection to the clients and servers it went to, oldest step first. Kept for 30 days."""
    steps = await ctx.trace.timeline(trace_id.lower())
    if not steps:
        raise Refused(RefusedCode.NOT_FOUND, "Nothing is known of this trace id")
    return TraceOut(trace_id=trace_id.lower(), events=[StepOut.of(step) for step in steps])


@router.post(
    "/audit",
    response_class=StreamingResponse,
    summary="Check that nothing accepted is lost",
    responses={
        200: {"content": {NDJSON: {"schema": {"type": "string"}}}, "description": "Findings, a JSON object a line"}
    },
)
async def audit(ctx: Ctx, caller: Caller, deep: bool = False) -> StreamingResponse:
    """Checks every account; one JSON object a line: findings, at the end `{"summary": …}`, else it broke off.

    `deep` reads every body as well.
    """
    await ctx.audit_log.record(caller, "audit", "all", {"deep": deep})
    return StreamingResponse(_findings(ctx, deep), media_type=NDJSON)


async def _findings(ctx: Context, deep: bool) -> AsyncIterator[bytes]:
    try:
        async for finding in ctx.audit(deep):
            yield json.dumps(finding).encode() + b"\n"
    except MailboatError as error:
        log.error("audit broke off", cause=error.private)  # the client misses the summary and knows
