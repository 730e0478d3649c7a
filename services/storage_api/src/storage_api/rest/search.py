"""Search: …/messages with what to look for. Newest first, mailbox by mailbox, a bounded piece of work a request.

Dates, sizes and flags are looked up in the mailbox's columns; header fields are read some at a time; bodies only for
what is left. A request that has looked at enough messages or octets, or for five seconds, ends with what it found and a
cursor to go on. Texts match anywhere in a field or body, whatever the case (as IMAP's SEARCH compares).
"""

from __future__ import annotations

import asyncio
import enum
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Query
from mailboat_common.errors import Refused, RefusedCode
from mailboat_mime import Part, Readable, decode_words, fold, iter_fields, readables, text_of
from mailboat_store_client.types import AccountId, BodyField, BodyId, BodyInfo, Columns, MailboxHead

from . import paging
from .context import Account, Caller, Context, Ctx
from .mail import MAX_PAGE, audit_reading
from .models_mail import MAX_FLAGS, Flag, FoundOut, MessageOut
from .problems import described
from .summaries import CHUNK, FIELDS, message_id_of, parse_message_id, summary
from .times import Moment, moment

router = APIRouter(tags=["messages"])

MAX_EXAMINED = 5_000
MAX_OCTETS = 32 << 20
TEXT_OF_ONE = 1 << 20
SMALL = 64 << 10
SECONDS = 5.0

Words = Annotated[str | None, Query(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; texts are folded. Dates in ms, `before` excluded."""

    text: str = ""
    fields: dict[bytes, str] = field(default_factory=dict)
    since: int | None = None
    before: int | None = None
    larger: int = 0
    flags: tuple[str, ...] = ()
    not_flags: tuple[str, ...] = ()


@router.get("/messages", summary="Search messages", responses=described(400, 404))
async def search_messages(
    *,
    ctx: Ctx,
    caller: Caller,
    account: Account,
    mailbox: Annotated[str | None, Query(max_length=1000, description="Only in this mailbox")] = None,
    text: Annotated[str | None, Query(min_length=1, max_length=200, description="In the header or the body")] = None,
    sender: Annotated[str | None, Query(alias="from", min_length=1, max_length=200)] = None,
    to: Annotated[str | None, Query(min_length=1, max_length=200, description="In To or Cc")] = None,
    subject: Words = None,
    since: Annotated[Moment | None, Query(description="Came at this time or later")] = None,
    before: Annotated[Moment | None, Query(description="Came before this time")] = None,
    larger: Annotated[int, Query(ge=0, lt=1 << 32, description="Octets")] = 0,
    flag: Annotated[list[Flag], Query(max_length=MAX_FLAGS)] = [],  # noqa: B006 - FastAPI copies it
    not_flag: Annotated[list[Flag], Query(max_length=MAX_FLAGS)] = [],  # noqa: B006 - FastAPI copies it
    cursor: paging.Cursor = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> FoundOut:
    """Messages of all mailboxes, or of one, that match everything that is given."""
    given = {b"from": sender, b"to": to, b"subject": subject}
    wanted = Wanted(
        fold(text or ""),
        {name: fold(value) for name, value in given.items() if value is not None},
        None if since is None else moment(since),
        None if before is None else moment(before),
        larger,
        tuple(flag),
        tuple(not_flag),
    )
    await audit_reading(ctx, caller, account, "message.search", {"mailbox": mailbox})
    run = _Run(ctx, account.account_id, wanted, limit)
    await run.over(await _mailboxes(ctx, account.account_id, mailbox), paging.decode(cursor))
    more = None if run.position is None else paging.encode(run.position)
    return FoundOut(items=run.found, next=more, examined=run.examined)


async def _mailboxes(ctx: Context, account_id: AccountId, name: str | None) -> Sequence[MailboxHead]:
    if name is not None:
        return [await ctx.mailboxes.head(account_id, name)]
    return (await ctx.mailboxes.tree(account_id)).mailboxes


class _Run:
    """One request's search. `position` is where the next one goes on, None once everything was looked at."""

    def __init__(
        self,
        ctx: Context,
        account_id: AccountId,
        wanted: Wanted,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ctx = ctx
        self._account_id = account_id
        self._wanted = wanted
        self._limit = limit
        self._octets = 0
        self._clock = clock
        self._until = clock() + SECONDS
        self.found: list[MessageOut] = []
        self.examined = 0
        self.position: str | None = None

    async def over(self, mailboxes: Sequence[MailboxHead], position: str) -> None:
        """Looks through the mailboxes, behind `position`. Refused INVALID if its mailbox isn't among them."""
        first, after = 0, None
        if position:
            try:
                mailbox_id, after = parse_message_id(position)
                first = [head.mailbox_id for head in mailboxes].index(mailbox_id)
            except (Refused, ValueError):
                raise Refused(RefusedCode.INVALID, "The cursor leads nowhere; begin anew") from None
        for head in mailboxes[first:]:
            if head.messages and not await self._through(head, after):
                return
            after = None
        self.position = None

    async def _through(self, head: MailboxHead, after: int | None) -> bool:
        """Whether the mailbox was looked through to its end."""
        try:
            changes = await self._ctx.mailboxes.changes(self._account_id, head.mailbox_id, 0)
        except Refused as refused:
            if refused.code is not RefusedCode.NO_MAILBOX:
                raise
            return True  # deleted meanwhile
        head, columns = changes.head, changes.changed
        end = len(columns) if after is None else bisect_left(columns.uids, after)
        rows = [row for row in range(end - 1, -1, -1) if _column_match(self._wanted, head, columns, row)]
        for start in range(0, len(rows), CHUNK):
            if not await self._some(head, columns, rows[start : start + CHUNK]):
                return False
        return True

    async def _some(self, head: MailboxHead, columns: Columns, rows: Sequence[int]) -> bool:
        """A chunk; False when the request's work is done."""
        wanted = FIELDS | (BodyField.STRUCTURE if self._wanted.text else BodyField.NONE)
        body_ids = [columns.body_id(row) for row in rows]
        infos = await self._ctx.mailboxes.body_infos(self._account_id, body_ids, wanted)
        verdicts = [None if info is None else _header_verdict(self._wanted, info) for info in infos]
        small = await self._small_matches(
            [info for info, verdict in zip(infos, verdicts, strict=True) if info and verdict is Verdict.BODY_DECIDES]
        )
        for row, info, verdict in zip(rows, infos, verdicts, strict=True):
            enough = self.examined >= MAX_EXAMINED or self._octets >= MAX_OCTETS or self._clock() > self._until
            if len(self.found) >= self._limit or (enough and self.examined):
                return False
            self.examined += 1
            self.position = message_id_of(head.mailbox_id, columns.uids[row])
            if info is None or verdict is Verdict.NO:
                continue
            if verdict is Verdict.BODY_DECIDES:
                matches = info.body_id in small if info.size <= SMALL else await self._in_body(info, self._wanted.text)
                if not matches:
                    continue
            self.found.append(summary(head, columns, row, info))
        return True

    async def _small_matches(self, infos: Sequence[BodyInfo]) -> set[BodyId]:
        """Which of these bodies, of those up to 64 KiB, hold the text: read together, looked at in one thread."""
        wanted = [info for info in infos if info.size <= SMALL]
        contents: list[bytes | None] = []
        while len(contents) < len(wanted):
            body_ids = [info.body_id for info in wanted[len(contents) :]]
            contents += await self._ctx.mailboxes.contents(self._account_id, body_ids, CHUNK * SMALL)
        self._octets += sum(len(content or b"") for content in contents)
        pairs = list(zip(wanted, contents, strict=True))
        return await asyncio.to_thread(_holding, self._wanted.text, pairs) if pairs else set()

    async def _in_body(self, info: BodyInfo, text: str) -> bool:
        """Whether a body holds the text: its readable pieces, the first mebibyte of them."""
        left = TEXT_OF_ONE
        for piece in readables(Part.from_bytes(info.structure or b"")):
            size = min(piece.end - piece.start, left)
            if size <= 0:
                continue
            chunks = self._ctx.mailboxes.read(self._account_id, info.body_id, piece.start, size)
            octets = b"".join([chunk async for chunk in chunks])
            self._octets += size
            left -= size
            if text in await asyncio.to_thread(_folded, piece, octets):
                return True
        return False


class Verdict(enum.Enum):
    """What the header says of a message."""

    NO = enum.auto()
    YES = enum.auto()
    BODY_DECIDES = enum.auto()


def _header_verdict(wanted: Wanted, info: BodyInfo) -> Verdict:
    fields = dict.fromkeys((b"from", b"to", b"cc", b"subject"), "")
    for name, _raw, value in iter_fields(info.header or b""):
        if name.lower() in fields:
            fields[name.lower()] += fold(decode_words(value)) + "\n"
    fields[b"to"] += fields[b"cc"]
    if any(text not in fields[name] for name, text in wanted.fields.items()):
        return Verdict.NO
    if not wanted.text or any(wanted.text in value for value in fields.values()):
        return Verdict.YES
    return Verdict.BODY_DECIDES


def _holding(text: str, bodies: Sequence[tuple[BodyInfo, bytes | None]]) -> set[BodyId]:
    return {
        info.body_id
        for info, content in bodies
        if content is not None and text in fold(text_of(Part.from_bytes(info.structure or b""), content))
    }


def _folded(piece: Readable, octets: bytes) -> str:
    return fold(piece.text(octets))


def _column_match(wanted: Wanted, head: MailboxHead, columns: Columns, row: int) -> bool:
    """What the columns alone can say."""
    at = columns.internal_dates[row]
    if (wanted.since is not None and at < wanted.since) or (wanted.before is not None and at >= wanted.before):
        return False
    if columns.sizes[row] <= wanted.larger and wanted.larger:
        return False
    words = columns.words(row)
    return all(_has(head, words, name) for name in wanted.flags) and not any(
        _has(head, words, name) for name in wanted.not_flags
    )


def _has(head: MailboxHead, words: Sequence[int], name: str) -> bool:
    bit = head.flag_table.bit(name)
    return bit is not None and bit[0] < len(words) and bool(words[bit[0]] & bit[1])
