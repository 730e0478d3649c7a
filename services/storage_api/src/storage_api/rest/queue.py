"""/v1/queue: mail on its way out, in operators' hands; /v1/transports: where it goes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from mailboat_common.ids import encode_id
from mailboat_store_client.queue import Transport

from ..queue.bounce import Return
from ..queue.operators import Action
from . import paging
from .context import Caller, Context, Ctx
from .models import Page
from .problems import described
from .queue_models import (
    BounceIn,
    CountsOut,
    CountsPage,
    DoneOut,
    QueuedOut,
    RerouteIn,
    SelectionIn,
    State,
    TableEntry,
    TransportIn,
)

router = APIRouter(tags=["queue"])
QueueText = Annotated[str, Path(max_length=64)]
Key = Annotated[str, Path(max_length=255, description="A domain, or *")]


@router.get("/queue", summary="List mail on its way out", responses=described(400, 404))
async def list_queue(
    ctx: Ctx,
    _caller: Caller,
    *,
    domain: Annotated[str, Query(max_length=255, description="The destination")] = "",
    sender: Annotated[str, Query(max_length=512, description="The reverse-path; <> for the null one")] = "",
    state: Annotated[State | None, Query(description="Without it: all but done")] = None,
    cursor: paging.Cursor = "",
    limit: paging.Limit = 100,
) -> Page[QueuedOut]:
    """Messages on their way out, oldest first; each is for one destination domain."""
    found = await ctx.queue.page(domain, sender, state or "", paging.decode(cursor), limit + 1)
    more = paging.encode(encode_id(bytes(found[limit - 1]["_id"]))) if len(found) > limit else None
    return Page(items=[QueuedOut.of(document) for document in found[:limit]], next=more)


@router.get("/queue/domains", summary="Count mail on its way out")
async def count_queue(ctx: Ctx, _caller: Caller) -> CountsPage:
    """What waits, by destination domain, most first; up to 1,000 of them."""
    return CountsPage(items=[CountsOut.of(count) for count in await ctx.queue.counts()])


@router.get("/queue/{queue_id}", summary="Show a message on its way out", responses=described(404))
async def show_queued(queue_id: QueueText, ctx: Ctx, _caller: Caller) -> QueuedOut:
    """One message: why it waits, what the remote server said of each recipient. Kept for 30 days once it is done."""
    return QueuedOut.of(await ctx.queue.get(queue_id))


@router.post("/queue:retry", summary="Try now", responses=described(400, 404))
async def retry_queue(body: SelectionIn, ctx: Ctx, caller: Caller) -> DoneOut:
    """Tries now what would be tried later."""
    return await _act(ctx, caller, Action.RETRY, body)


@router.post("/queue:hold", summary="Hold", responses=described(400, 404))
async def hold_queue(body: SelectionIn, ctx: Ctx, caller: Caller) -> DoneOut:
    """No attempts until they are released; one that is running ends first."""
    return await _act(ctx, caller, Action.HOLD, body)


@router.post("/queue:release", summary="Release", responses=described(400, 404))
async def release_queue(body: SelectionIn, ctx: Ctx, caller: Caller) -> DoneOut:
    """Ends a hold and tries at once."""
    return await _act(ctx, caller, Action.RELEASE, body)


@router.post("/queue:reroute", summary="Send another way", responses=described(400, 404))
async def reroute_queue(body: RerouteIn, ctx: Ctx, caller: Caller) -> DoneOut:
    """Sends them another way from their next attempt on."""
    return await _act(ctx, caller, Action.REROUTE, body)


@router.post("/queue:remove", summary="Remove from the queue", responses=described(400, 404))
async def remove_queue(body: SelectionIn, ctx: Ctx, caller: Caller) -> DoneOut:
    """Gives them up; their senders aren't told (`queue:bounce` tells them)."""
    return await _act(ctx, caller, Action.REMOVE, body)


@router.post("/queue:bounce", summary="Return to the senders", responses=described(400, 404))
async def bounce_queue(body: BounceIn, ctx: Ctx, caller: Caller) -> DoneOut:
    """Gives them up now; their senders get a bounce with the reason, if they want to be told of failures."""
    changed = await ctx.queue.bounce(body.selection(), Return(caller.name, body.reason, body.status))
    details = {"changed": changed, "reason": body.reason, "status": body.status}
    await ctx.audit_log.record(caller, "queue.bounce", body.target(), details)
    return DoneOut(changed=changed)


async def _act(ctx: Context, caller: Caller, action: Action, body: SelectionIn) -> DoneOut:
    route = body.route() if isinstance(body, RerouteIn) else None
    changed = await ctx.queue.act(action, body.selection(), caller.name, route)
    details: dict[str, object] = {"changed": changed}
    if isinstance(route, Transport):
        details |= {"host": route.host, "port": route.port, "tls": route.tls.value, "username": route.username}
    elif action is Action.REROUTE:
        details["transport_of"] = route
    await ctx.audit_log.record(caller, f"queue.{action.value}", body.target(), details)
    return DoneOut(changed=changed)


@router.get("/transports", summary="List transports", responses=described(400))
async def list_transports(
    ctx: Ctx, _caller: Caller, cursor: paging.Cursor = "", limit: paging.Limit = 100
) -> Page[TableEntry]:
    """The transport table, without passwords."""
    found = await ctx.transports.page(paging.decode(cursor), limit + 1)
    more = paging.encode(found[limit - 1][0]) if len(found) > limit else None
    return Page(items=[TableEntry.entry(*one) for one in found[:limit]], next=more)


@router.put("/transports/{key}", summary="Set a transport", responses=described(400))
async def put_transport(key: Key, body: TransportIn, ctx: Ctx, caller: Caller) -> TableEntry:
    """Says where mail for a domain goes, from the next attempt on."""
    transport = body.transport()
    domain = await ctx.transports.put(key, transport)
    details = {"host": transport.host, "port": transport.port, "tls": body.tls, "username": transport.username}
    await ctx.audit_log.record(caller, "transport.put", domain, details)
    return TableEntry.entry(domain, transport)


@router.get("/transports/{key}", summary="Show a transport", responses=described(400, 404))
async def show_transport(key: Key, ctx: Ctx, _caller: Caller) -> TableEntry:
    """One entry, without its password."""
    return TableEntry.entry(key, await ctx.transports.get(key))


@router.delete("/transports/{key}", status_code=204, summary="Remove a transport", responses=described(400, 404))
async def remove_transport(key: Key, ctx: Ctx, caller: Caller) -> Response:
    """Mail for the domain goes as `*` says, else to its MX."""
    await ctx.transports.remove(key)
    await ctx.audit_log.record(caller, "transport.remove", key)
    return Response(status_code=204)
