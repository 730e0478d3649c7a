"""/v1/events: what happens, as it happens (docs/events.md)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import encode_id
from pydantic import BaseModel, Field

from ..directory.addresses import normalise_domain, parse
from ..feed.event import KINDS, Filter
from ..outage import database_errors
from ..tokens import DOMAIN, Token
from . import paging
from .context import Caller, Context, Ctx, is_own, not_permitted, own_account, still_admitted
from .models import example
from .problems import described
from .sse import MEDIA_TYPE, EventSource
from .times import Moment, moment

router = APIRouter(tags=["events"])

_EVENT: dict[str, Any] = {
    "id": "00000cmb9e4g0q8v7cmf3t0b9g-0",
    "type": "message.received",
    "time": "2026-11-26T00:00:00.000Z",
    "position": 4712,
    "domain": "example.test",
    "account": "alice@example.test",
    "account_id": "01jdm5x2wq8v7cmf3t0b9ghz4k",
    "seq": 17,
    "data": {
        "message": "01jdm5x2wq8v7cmf3t0b9ghz4m.3",
        "mailbox": "INBOX",
        "sender": "bob@example.com",
        "recipient": "alice@example.test",
        "size": 2048,
        "trace_id": "01jdm5x2wq8v7cmf3t0b9ghz4n",
    },
}


class EventsOut(BaseModel):
    """A part of the stream. `next`: where to go on, as `after`; `lost`: events before these were removed unread."""

    model_config = example(items=[_EVENT], next=4712, lost=False)
    items: list[dict[str, Any]] = Field(description="Events in order (docs/events.md)")
    next: int
    lost: bool


LOOKED_THROUGH = 1_000
_STREAM = {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {**described(400), 200: _STREAM}

Kinds = Annotated[list[str], Query(alias="type", max_length=20, description="Types of events; none named: all")]
Names = Annotated[list[str], Query(max_length=100)]
Position = Annotated[int, Query(ge=0, lt=1 << 62)]


@router.get("/events", response_model=EventsOut, summary="Follow what happens", responses=_ANSWERS)
async def stream_events(
    request: Request,
    ctx: Ctx,
    caller: Caller,
    *,
    kinds: Kinds = [],  # noqa: B006 - FastAPI copies it
    domain: Names = [],  # noqa: B006
    account: Names = [],  # noqa: B006
    after: Annotated[Position | None, Query(description="Events behind this position; without it: from now on")] = None,
    since: Annotated[Moment | None, Query(description="Events relayed since then, where `after` isn't given")] = None,
    limit: paging.Limit = 100,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    accept: Annotated[str, Header()] = "",
) -> EventSource | EventsOut:
    """What happens to accounts and mail: as a stream of Server-Sent Events if `Accept` names `text/event-stream`, else
    a page of what is there. `Last-Event-ID`, which browsers send by themselves, comes before `after`.
    """
    unknown = set(kinds) - KINDS
    if unknown:
        raise Refused(RefusedCode.INVALID, f"No such type of event; there are {', '.join(sorted(KINDS))}")
    if is_own(request):
        own = await own_account(ctx, caller)
        wanted = Filter(frozenset(kinds) or None, None, frozenset({encode_id(own.account_id)}))
    else:
        wanted = Filter(frozenset(kinds) or None, domains_for(caller, domain), accounts_of(account))
    async with database_errors():
        position = await _position(ctx, last_event_id, after, since)
        if MEDIA_TYPE not in accept.lower():
            return await _page(ctx, position, wanted, limit)
    ctx.streams.check(caller.token_id)
    return EventSource(ctx.streams, caller.token_id, position, wanted, partial(still_admitted, request, ctx))


async def _page(ctx: Context, position: int, wanted: Filter, limit: int) -> EventsOut:
    """Up to `limit` wanted events among the next 1,000; further ones are behind `next`."""
    page = await ctx.streams.stream.after(position, LOOKED_THROUGH)
    items: list[dict[str, Any]] = []
    for event in page.events:
        if len(items) == limit:
            break
        if wanted.admits(event):
            items.append(event.members())
        position = event.position
    if page.lost and not page.events:
        position = (await ctx.streams.stream.head()).following(position) - 1
    return EventsOut(items=items, next=position, lost=page.lost)


async def _position(ctx: Context, last_event_id: str | None, after: int | None, since: str | None) -> int:
    stream = ctx.streams.stream
    last = (await stream.head()).last
    if last_event_id:
        if not last_event_id.isascii() or not last_event_id.isdigit():
            raise Refused(RefusedCode.INVALID, "Last-Event-ID is no position of ours")
        after = int(last_event_id)
    if after is not None:
        if after > last:
            raise Refused(RefusedCode.INVALID, f"The stream ends at position {last}")
        return after
    return last if since is None else await stream.before(moment(since))


def domains_for(caller: Token, named: list[str]) -> frozenset[str] | None:
    """The domains whose events a caller asks for and may have; None: all. Refused NOT_PERMITTED, INVALID."""
    domains = [normalise_domain(name) for name in named]
    if any(domain is None for domain in domains):
        raise Refused(RefusedCode.INVALID, "Not a domain")
    asked = frozenset(domain for domain in domains if domain is not None)
    if caller.platform:
        return asked or None
    own = frozenset(scope.removeprefix(DOMAIN) for scope in caller.scopes if scope.startswith(DOMAIN))
    if foreign := asked - own:
        raise not_permitted(f"domain:{min(foreign)}")
    return asked or own


def accounts_of(named: list[str]) -> frozenset[str] | None:
    """Addresses as accounts have them; None: all. Refused INVALID."""
    parsed = [parse(address) for address in named]
    if any(address is None for address in parsed):
        raise Refused(RefusedCode.INVALID, "Not an address")
    return frozenset(address.full for address in parsed if address is not None) or None
