"""One message: …/messages/{id} shows it, changes its flags, moves, copies and removes it; …/parts/{path} gives a part.

For operators all of it needs `read-mail`: who may see a message may file it, and every use is in the audit log.
A message's ETag is its modseq: PATCH with If-Match changes flags only if nobody else has (412, RFC 9110 13.1.1).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Path
from fastapi.responses import Response, StreamingResponse
from mailboat_common.errors import Refused, RefusedCode
from mailboat_mime import Part, find_part, transfer_decoder
from mailboat_store_client.types import BodyField, CopyResult, FlagMode
from starlette.exceptions import HTTPException

from ..tokens import Token
from .context import Account, Caller, Context, Ctx, Growing, MutationKey, Target, further_key
from .detail import detail, part_info
from .mail import MessageId, audit_reading, find
from .models_mail import AppendedOut, Destination, FlagsChange, MessageDetail, MessageOut
from .problems import described
from .summaries import message_id_of, parse_message_id, summaries

router = APIRouter(tags=["messages"])

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
_ETAG = re.compile(r'"(\d{1,19})"')

PartPath = Annotated[str, Path(max_length=200, pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){0,60}$", examples=["1.2"])]
IfMatch = Annotated[str | None, Header(max_length=100, description="The ETag the message is to have still")]


@router.get("/messages/{message}", summary="Show a message", responses=described(404))
async def show_message(
    message: MessageId, ctx: Ctx, caller: Caller, account: Account, response: Response
) -> MessageDetail:
    """A message's header, text and parts."""
    head, columns, row = await find(ctx, account, message)
    await audit_reading(ctx, caller, account, "message.read", {"message": _name(message)})
    shown = await detail(ctx.mailboxes, account.account_id, head, columns, row)
    response.headers["etag"] = f'"{columns.modseqs[row]}"'
    return shown


@router.get(
    "/messages/{message}/parts/{path}",
    summary="Read a part of a message",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}, "description": "The part"},
        **described(404),
    },
)
async def read_part(message: MessageId, path: PartPath, ctx: Ctx, caller: Caller, account: Account) -> Response:
    """A part, without its transfer encoding. It is always given as a download: a browser never shows it as a page."""
    _, columns, row = await find(ctx, account, message)
    body_id = columns.body_id(row)
    (info,) = await ctx.mailboxes.body_infos(account.account_id, [body_id], BodyField.STRUCTURE)
    numbers = tuple(map(int, path.split(".")))
    part = None if info is None or info.structure is None else find_part(Part.from_bytes(info.structure), numbers)
    if part is None:
        raise Refused(RefusedCode.NO_MESSAGE, "No such part")
    await audit_reading(ctx, caller, account, "message.read", {"message": _name(message), "part": path})
    shown = await part_info(ctx.mailboxes, account.account_id, body_id, path, part)
    headers = {
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "content-disposition": "attachment; filename*=UTF-8''" + quote(shown.filename or f"part-{path}", safe=""),
    }
    media_type = shown.type if _TYPE.fullmatch(shown.type) else "application/octet-stream"
    chunks = ctx.mailboxes.read(account.account_id, body_id, part.body_start, part.size)
    return StreamingResponse(_decoded(part.encoding, chunks), media_type=media_type, headers=headers)


async def _decoded(encoding: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The part as it was before its transfer; an unknown encoding is left as it is."""
    decoder = transfer_decoder(encoding)
    async for chunk in chunks:
        piece = chunk if decoder is None else decoder.feed(chunk)
        if piece:
            yield piece
    if decoder is not None and (last := decoder.finish()):
        yield last


@router.patch("/messages/{message}", summary="Change a message's flags", responses=described(400, 404, 412))
async def change_flags(
    *,
    message: MessageId,
    body: FlagsChange,
    ctx: Ctx,
    caller: Caller,
    account: Account,
    key: MutationKey,
    response: Response,
    if_match: IfMatch = None,
) -> MessageOut:
    """Sets, adds or removes flags and keywords."""
    head, columns, row = await find(ctx, account, message)
    uid, limit = columns.uids[row], _modseq(if_match)
    changes = [(FlagMode.REPLACE, body.flags), (FlagMode.ADD, body.add), (FlagMode.REMOVE, body.remove)]
    for mode, flags in changes:
        if flags is None:
            continue
        stored = await ctx.write.store_flags(
            account.account_id, head.mailbox_id, [uid], mode, flags, key=key, unchanged_since=limit
        )
        if stored.modified:
            raise HTTPException(412, "The message was changed since")
        key, limit = further_key(key), None
    await _audit(
        ctx, caller, account, "message.flags", {"message": _name(message), **body.model_dump(exclude_none=True)}
    )
    head, columns, row = await find(ctx, account, message)
    shown = await summaries(ctx.mailboxes, account.account_id, head, columns, [row])
    if not shown:
        raise Refused(RefusedCode.NO_MESSAGE, "No such message")
    response.headers["etag"] = f'"{shown[0].modseq}"'
    return shown[0]


def _modseq(if_match: str | None) -> int | None:
    """The modseq of an ETag; None for none, or for `*`: any."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise HTTPException(412, "Not an ETag of this message")
    return int(found[1])


@router.post("/messages/{message}/move", summary="Move a message", responses=described(404))
async def move_message(
    *, message: MessageId, body: Destination, ctx: Ctx, caller: Caller, account: Account, key: MutationKey
) -> AppendedOut:
    """Moves a message into another mailbox, where it has another id."""
    mailbox_id, uid = parse_message_id(message)
    moved = await ctx.write.move(account.account_id, mailbox_id, [uid], body.mailbox, key=key)
    return await _transferred(
        ctx, caller, account, action="message.move", message=message, mailbox=body.mailbox, result=moved
    )


@router.post(
    "/messages/{message}/copy",
    status_code=201,
    summary="Copy a message",
    dependencies=[Growing],
    responses=described(404, 507),
)
async def copy_message(
    *, message: MessageId, body: Destination, ctx: Ctx, caller: Caller, account: Account, key: MutationKey
) -> AppendedOut:
    """Copies a message into a mailbox."""
    mailbox_id, uid = parse_message_id(message)
    copied = await ctx.write.copy(account.account_id, mailbox_id, [uid], body.mailbox, key=key)
    return await _transferred(
        ctx, caller, account, action="message.copy", message=message, mailbox=body.mailbox, result=copied
    )


async def _transferred(
    ctx: Context, caller: Token, account: Target, *, action: str, message: str, mailbox: str, result: CopyResult
) -> AppendedOut:
    if not result.target_uids:
        raise Refused(RefusedCode.NO_MESSAGE, "No such message")
    uid = result.target_uids[0]
    new = message_id_of(result.target.mailbox_id, uid)
    await _audit(ctx, caller, account, action, {"message": _name(message), "to": new, "mailbox": mailbox})
    return AppendedOut(id=new, mailbox=mailbox, uid=uid, uid_validity=result.uid_validity)


@router.delete("/messages/{message}", status_code=204, summary="Remove a message", responses=described(404))
async def remove_message(message: MessageId, ctx: Ctx, caller: Caller, account: Account, key: MutationKey) -> Response:
    """Removes a message for good; to put it into the trash, move it there."""
    mailbox_id, uid = parse_message_id(message)
    delta = await ctx.write.expunge(account.account_id, mailbox_id, [uid], key=key, only_deleted=False)
    if not delta.vanished:
        raise Refused(RefusedCode.NO_MESSAGE, "No such message")
    await _audit(ctx, caller, account, "message.remove", {"message": _name(message)})
    return Response(status_code=204)


def _name(message: str) -> str:
    """A message's name in its one form. Refused NO_MESSAGE."""
    return message_id_of(*parse_message_id(message))


async def _audit(ctx: Context, caller: Token, account: Target, action: str, details: dict[str, object]) -> None:
    if not account.own:
        await ctx.audit_log.record(caller, action, account.address, details)
