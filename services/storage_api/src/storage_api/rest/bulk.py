"""…/mailboxes/{name}/messages:batch: many messages in one request, which is what imports and exports need to be quick.

GET reads, POST appends. The body of a POST is a series of messages, each a line of JSON (`size`, `key`, `flags`,
`internal_date`) and then `size` octets. Each message is judged, and repeated, by itself: its `key` is its idempotency
key for 24 hours, whatever other messages come with it. UIDs follow the order of the body; the store commits small
messages together. A failure of ours (503) leaves it open which were appended: the same request again appends what is
missing. The answer to a GET has the same form (`uid` and `size` in each line) and ends early rather than grow past
`MAX_READ` octets.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.types import AppendMessage, AppendResult
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from .context import Account, Caller, Context, Ctx, Growing, Target
from .mail import audit_reading, require_no_nul
from .mailboxes import Name
from .models import Strict, example
from .models_mail import MAX_FLAGS, Flag
from .problems import described

router = APIRouter(tags=["messages"])

MESSAGES = "application/vnd.mailboat.messages"
MAX_MESSAGES = 128
MAX_LINE = 8 << 10
MAX_READ = 8 << 20
TOGETHER = 64 << 10  # larger messages are stored in an order of their own: they are waited for
_MAX_DATE = 253402300799999  # the year 9999


class Framing(Strict):
    """The line before a message. `internal_date`: ms since the epoch, null for now."""

    size: Annotated[int, Field(ge=1)]
    key: Annotated[str, Field(min_length=16, max_length=128)]
    flags: Annotated[list[Flag], Field(max_length=MAX_FLAGS)] = Field(default_factory=list)
    internal_date: Annotated[int, Field(ge=-_MAX_DATE, le=_MAX_DATE)] | None = None


class BatchedMessage(BaseModel):
    """What became of one message: its UID, or why it was refused."""

    result: Literal["appended", "refused"]
    uid: int | None = None
    code: Annotated[str | None, Field(description="As in problems: over_quota, limit, invalid, too_big")] = None
    error: str | None = None


class BatchedMessages(BaseModel):
    """What became of the messages, in the order of the request."""

    model_config = example(mailbox="INBOX", uid_validity=1764115200, results=[{"result": "appended", "uid": 18}])
    mailbox: str
    uid_validity: int
    results: list[BatchedMessage]


@router.get(
    "/mailboxes/{name:encoded}/messages:batch",
    summary="Read many messages",
    response_class=Response,
    responses={
        200: {
            "content": {MESSAGES: {"schema": {"type": "string", "format": "binary"}}},
            "description": "The messages, each behind a line of JSON with its uid and size",
        },
        **described(404),
    },
)
async def read_messages(
    *,
    name: Name,
    ctx: Ctx,
    caller: Caller,
    account: Account,
    uids: Annotated[
        str, Query(max_length=1500, pattern=r"^[0-9]{1,10}(,[0-9]{1,10})*$", description="Up to 128 UIDs: 1,2,5")
    ],
) -> Response:
    """Messages by UID, in ascending order. What isn't there is left out; what is over 8 MB together is to be asked for
    again.
    """
    wanted = sorted({int(uid) for uid in uids.split(",")})
    if len(wanted) > MAX_MESSAGES:
        raise Refused(RefusedCode.LIMIT, f"A batch has at most {MAX_MESSAGES} messages")
    head = await ctx.mailboxes.head(account.account_id, name)
    columns = (await ctx.mailboxes.changes(account.account_id, head.mailbox_id, 0)).changed
    rows = [
        row for uid in wanted if (row := bisect_left(columns.uids, uid)) < len(columns) and columns.uids[row] == uid
    ]
    shown = [columns.uids[row] for row in rows]
    await audit_reading(ctx, caller, account, "message.read_batch", {"mailbox": head.name, "uids": shown})
    body_ids = [columns.body_id(row) for row in rows]
    contents = await ctx.mailboxes.contents(account.account_id, body_ids, MAX_READ) if rows else []
    parts: list[bytes] = []
    for uid, content in zip(shown, contents, strict=False):
        if content is not None:
            parts += [json.dumps({"uid": uid, "size": len(content)}).encode(), b"\n", content]
    return Response(b"".join(parts), media_type=MESSAGES, headers={"x-content-type-options": "nosniff"})


@router.post(
    "/mailboxes/{name:encoded}/messages:batch",
    summary="Append many messages",
    dependencies=[Growing],
    responses=described(400, 404, 413, 415),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                MESSAGES: {
                    "schema": {"type": "string", "format": "binary"},
                    "example": '{"size":18,"key":"0123456789abcdef","flags":["\\\\Seen"]}\nSubject: Hi\r\n\r\nHi\r\n',
                }
            },
        }
    },
)
async def append_messages(
    *, name: Name, request: Request, ctx: Ctx, caller: Caller, account: Account
) -> BatchedMessages:
    """Puts up to 128 messages into a mailbox. Each is preceded by a line of JSON; each has its own result."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MESSAGES:
        raise HTTPException(415, f"The body is to be {MESSAGES}")
    given = list(parse(await request.body()))
    head = await ctx.mailboxes.head(account.account_id, name)
    outcomes = await _append(ctx, account, head.name, given)
    if not account.own:
        counts = {"appended": sum(isinstance(outcome, AppendResult) for outcome in outcomes), "messages": len(given)}
        await ctx.audit_log.record(caller, "message.append_batch", account.address, {"mailbox": head.name, **counts})
    return BatchedMessages(
        mailbox=head.name, uid_validity=head.uid_validity, results=[_shown(outcome) for outcome in outcomes]
    )


def parse(body: bytes) -> Iterator[tuple[bytes, AppendMessage]]:
    """(store key, message) of each message. Refused INVALID, LIMIT."""
    at = count = 0
    while at < len(body):
        end = body.find(b"\n", at, at + MAX_LINE)
        try:
            if end < 0:
                raise ValueError
            line = Framing.model_validate_json(body[at:end])
        except (ValidationError, ValueError):
            raise Refused(RefusedCode.INVALID, f"Message {count + 1} has no valid line before it") from None
        at = end + 1 + line.size
        if at > len(body):
            raise Refused(RefusedCode.INVALID, f"Message {count + 1} is shorter than its line says")
        count += 1
        if count > MAX_MESSAGES:
            raise Refused(RefusedCode.LIMIT, f"A batch has at most {MAX_MESSAGES} messages")
        key = hashlib.sha256(b"batch\0" + line.key.encode()).digest()[:16]
        yield key, AppendMessage(body[end + 1 : at], tuple(line.flags), line.internal_date)


async def _append(
    ctx: Context, account: Target, name: str, given: list[tuple[bytes, AppendMessage]]
) -> list[AppendResult | Refused]:
    """The outcome of each. Raises Failure when one could not be judged."""
    outcomes: list[AppendResult | Refused] = []
    run: list[tuple[bytes, AppendMessage]] = []

    async def flush() -> None:
        # All end before one's failure is told: nothing runs on behind the answer.
        ended = await asyncio.gather(*(_one(ctx, account, name, *item) for item in run), return_exceptions=True)
        run.clear()
        for outcome in ended:
            if not isinstance(outcome, AppendResult | Refused):
                raise outcome
            outcomes.append(outcome)

    for key, message in given:
        if run and len(message.content) > TOGETHER:
            await flush()
        run.append((key, message))
        if len(message.content) > TOGETHER:
            await flush()
    if run:
        await flush()
    return outcomes


async def _one(ctx: Context, account: Target, name: str, key: bytes, message: AppendMessage) -> AppendResult | Refused:
    try:
        require_no_nul(message.content)
        return await ctx.write.append(account.account_id, name, [message], key=key)
    except Refused as refused:
        return refused


def _shown(outcome: AppendResult | Refused) -> BatchedMessage:
    if isinstance(outcome, Refused):
        return BatchedMessage(result="refused", code=outcome.code.name.lower(), error=outcome.public)
    return BatchedMessage(result="appended", uid=outcome.uids[0])
