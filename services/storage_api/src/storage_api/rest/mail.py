"""Messages of a mailbox: …/mailboxes/{name}/messages lists and appends; …/messages/{id}/raw gives the bytes.

What else is done with one message is in `message`. All under `/v1/accounts/{address}` (reading needs `read-mail`, and
each use of it is in the audit log) and under `/v1/me`. A message's id is mailbox.uid; it is another one once the
message is moved.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.types import AppendMessage, BodyId, Columns, MailboxHead
from starlette.exceptions import HTTPException

from ..tokens import Token
from . import paging
from .context import Account, Caller, Context, Ctx, Growing, MutationKey, Target, further_key
from .mailboxes import Name
from .models_mail import MAX_FLAGS, AppendedOut, Flag, MessagesOut, RemovedOut
from .problems import described
from .summaries import message_id_of, parse_message_id, summaries
from .times import Moment, moment

router = APIRouter(tags=["messages"])

MAX_PAGE = 200
RFC822 = "message/rfc822"

MessageId = Annotated[str, Path(max_length=64, description="mailbox.uid, as lists and traces show it")]


@router.get("/mailboxes/{name:encoded}/messages", summary="List messages", responses=described(400, 404))
async def list_messages(
    *,
    name: Name,
    ctx: Ctx,
    caller: Caller,
    account: Account,
    order: Annotated[Literal["newest", "oldest"], Query(description="By UID, from this end")] = "newest",
    changed_since: Annotated[int, Query(ge=0, lt=1 << 63, description="Only what changed after this modseq")] = 0,
    cursor: paging.Cursor = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> MessagesOut:
    """Messages of a mailbox, a page at a time.

    With `changed_since` only messages that came or were flagged after that modseq; …/removed lists those that went.
    """
    head = await ctx.mailboxes.head(account.account_id, name)
    changes = await ctx.mailboxes.changes(account.account_id, head.mailbox_id, changed_since)
    columns = changes.changed
    rows, position = page_of(columns, cursor, limit, newest=order == "newest")
    await audit_reading(ctx, caller, account, "message.list", {"mailbox": head.name})
    items = await summaries(ctx.mailboxes, account.account_id, changes.head, columns, rows)
    more = None if position is None else paging.encode(str(position))
    return MessagesOut(items=items, next=more, highest_modseq=changes.head.highest_modseq)


@router.get("/mailboxes/{name:encoded}/removed", summary="List removed messages", responses=described(400, 404))
async def list_removed(
    *,
    name: Name,
    ctx: Ctx,
    account: Account,
    since: Annotated[int, Query(ge=1, lt=1 << 63, description="The modseq that is known")],
    cursor: paging.Cursor = "",
    limit: paging.Limit = 1000,
) -> RemovedOut:
    """UIDs that were removed after a modseq, as ascending ranges.

    The store knows for 90 days which; for an older modseq it names every UID that isn't there.
    """
    head = await ctx.mailboxes.head(account.account_id, name)
    vanished = await ctx.mailboxes.vanished(account.account_id, head.mailbox_id, since)
    after = uid_of_cursor(cursor) or 0
    ranges = [[first, last] for first, last in vanished.ranges if first > after]
    more = paging.encode(str(ranges[limit - 1][1])) if len(ranges) > limit else None
    return RemovedOut(items=ranges[:limit], next=more, highest_modseq=vanished.modseq)


def page_of(columns: Columns, cursor: str, limit: int, *, newest: bool) -> tuple[list[int], int | None]:
    """The rows of a page and the UID to go on behind, None at the end. Refused INVALID for another list's cursor."""
    uids = columns.uids
    after = uid_of_cursor(cursor)
    if newest:
        end = len(uids) if after is None else bisect_left(uids, after)
        rows = list(range(end - 1, max(-1, end - 1 - limit), -1))
        more = end > limit
    else:
        start = 0 if after is None else bisect_left(uids, after + 1)
        rows = list(range(start, min(len(uids), start + limit)))
        more = start + limit < len(uids)
    return rows, uids[rows[-1]] if more else None


def uid_of_cursor(cursor: str) -> int | None:
    """The UID a cursor holds. Refused INVALID."""
    position = paging.decode(cursor)
    if not position:
        return None
    if not (position.isascii() and position.isdigit() and len(position) <= 10):
        raise Refused(RefusedCode.INVALID, "Not a cursor of this list")
    return int(position)


def raw_body(example: str) -> dict[str, Any]:
    """What OpenAPI is told of a route whose body is a message as it is."""
    content = {RFC822: {"schema": {"type": "string", "format": "binary"}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/mailboxes/{name:encoded}/messages",
    status_code=201,
    summary="Append a message",
    dependencies=[Growing],
    responses=described(400, 404, 413, 415, 507),
    openapi_extra=raw_body("From: bob@example.org\r\nSubject: Hello\r\n\r\nHello Alice.\r\n"),
)
async def append_message(
    *,
    name: Name,
    request: Request,
    ctx: Ctx,
    caller: Caller,
    account: Account,
    key: MutationKey,
    flag: Annotated[list[Flag], Query(max_length=MAX_FLAGS, description="\\Seen, a keyword; may be repeated")] = [],  # noqa: B006 - FastAPI copies it
    internal_date: Annotated[Moment | None, Query(description="When it came; now if not given")] = None,
    create: Annotated[bool, Query(description="Create the mailbox if there is none")] = False,
) -> AppendedOut:
    """Puts a message into a mailbox as it is: the body of the request is the message."""
    require_rfc822(request)
    content = await request.body()
    if not content:
        raise Refused(RefusedCode.INVALID, "The message is empty")
    require_no_nul(content)
    date = None if internal_date is None else moment(internal_date)
    message = AppendMessage(content, tuple(flag), date)
    try:
        head = await ctx.mailboxes.head(account.account_id, name)
    except Refused as refused:
        if not create or refused.code is not RefusedCode.NO_MAILBOX:
            raise
        head = await _created(ctx, account, name, key)
    result = await ctx.write.append(account.account_id, head.name, [message], key=key)
    message_id = message_id_of(result.delta.mailbox_id, result.uids[0])
    if not account.own:
        details = {"message": message_id, "mailbox": head.name}
        await ctx.audit_log.record(caller, "message.append", account.address, details)
    return AppendedOut(id=message_id, mailbox=head.name, uid=result.uids[0], uid_validity=result.uid_validity)


async def _created(ctx: Context, account: Target, name: str, key: bytes) -> MailboxHead:
    """The mailbox, made now or by another request at this moment."""
    try:
        return await ctx.write.create(account.account_id, name, key=further_key(key))
    except Refused as refused:
        if refused.code is not RefusedCode.MAILBOX_EXISTS:
            raise
        return await ctx.mailboxes.head(account.account_id, name)


def require_rfc822(request: Request) -> None:
    """Refused (415) unless the body says that it is a message."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != RFC822:
        raise HTTPException(415, f"The body is to be {RFC822}")


def require_no_nul(content: bytes) -> None:
    """Refused INVALID for a message that could be appended but never fetched by IMAP as it is."""
    if b"\0" in content:
        raise Refused(RefusedCode.INVALID, "The message holds NUL, which IMAP can't send (RFC 9051 9)")


@router.get(
    "/messages/{message}/raw",
    summary="Read a message's bytes",
    response_class=StreamingResponse,
    responses={
        200: {"content": {RFC822: {"schema": {"type": "string", "format": "binary"}}}, "description": "The message"},
        304: {"description": "The client has it: its bytes never change"},
        **described(404),
    },
)
async def read_raw(
    message: MessageId,
    ctx: Ctx,
    caller: Caller,
    account: Account,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """The message as it was received or appended."""
    mailbox_id, uid = parse_message_id(message)
    _, columns, row = await find(ctx, account, message)
    await audit_reading(ctx, caller, account, "message.read", {"message": message_id_of(mailbox_id, uid)})
    return await raw_answer(ctx, account, columns.body_id(row), columns.sizes[row], if_none_match)


async def raw_answer(ctx: Context, account: Target, body_id: BodyId, size: int, if_none_match: str | None) -> Response:
    """The bytes of a body, streamed."""
    etag = f'"{body_id.hex()}"'
    if if_none_match == etag:
        return Response(status_code=304, headers={"etag": etag})
    chunks = ctx.mailboxes.read(account.account_id, body_id)
    first = await anext(chunks, b"")
    headers = {"content-length": str(size), "x-content-type-options": "nosniff", "etag": etag}
    return StreamingResponse(_rest(first, chunks), media_type=RFC822, headers=headers)


async def _rest(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


async def find(ctx: Context, account: Target, message: str) -> tuple[MailboxHead, Columns, int]:
    """The mailbox, its rows, and which of them is the message. Refused NO_MESSAGE."""
    mailbox_id, uid = parse_message_id(message)
    try:
        changes = await ctx.mailboxes.changes(account.account_id, mailbox_id, 0)
    except Refused as refused:
        if refused.code is not RefusedCode.NO_MAILBOX:
            raise
        raise Refused(RefusedCode.NO_MESSAGE, "No such message") from None
    row = bisect_left(changes.changed.uids, uid)
    if row == len(changes.changed) or changes.changed.uids[row] != uid:
        raise Refused(RefusedCode.NO_MESSAGE, "No such message")
    return changes.head, changes.changed, row


async def audit_reading(ctx: Context, caller: Token, account: Target, action: str, details: dict[str, object]) -> None:
    """Writes down that somebody else's mail is read; before anything of it is given."""
    if not account.own:
        await ctx.audit_log.record(caller, action, account.address, details)
