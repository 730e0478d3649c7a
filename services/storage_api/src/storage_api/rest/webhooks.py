"""/v1/webhooks: events sent to others' URLs (docs/events.md). A domain's token has those of its domains alone."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Response
from mailboat_common.errors import Refused, RefusedCode, Unavailable
from pydantic import BaseModel, Field

from ..feed.webhooks import Webhook
from ..tokens import Token
from . import paging
from .context import Caller, Context, Ctx
from .events import accounts_of, domains_for
from .models import AddressText, DomainText, Page, Strict, example
from .problems import described
from .times import Moment, moment

router = APIRouter(tags=["webhooks"])

TEST_SECONDS = 25.0
LOOK_SECONDS = 0.1
MAX_OVERLAP_HOURS = 30 * 24
HOUR_MS = 3_600_000

_URL = "https://crm.example.test/mailboat"
_WEBHOOK: dict[str, Any] = {
    "id": "01jdm5x2wq8v7cmf3t0b9ghz4k",
    "url": _URL,
    "description": "CRM",
    "types": ["message.received"],
    "domains": ["example.test"],
    "accounts": [],
    "state": "active",
    "reason": "",
    "position": 4711,
    "pending": 2,
    "lag_seconds": 0.4,
    "failures": 1,
    "failing_since": 1764115200000,
    "next_attempt_at": 1764115205000,
    "last_success_at": 1764115190000,
    "last_error": {"at": 1764115200000, "status": 503, "error": "status 503: the receiver refused it"},
    "lost_events": False,
    "created_at": 1764028800000,
    "old_secrets_until": 0,
}


class NewWebhook(Strict):
    """An endpoint. What isn't named isn't filtered by."""

    model_config = example(url=_URL, types=["message.received"], domains=["example.test"])
    url: Annotated[str, Field(min_length=8, max_length=2000, examples=["https://crm.example.test/mailboat"])]
    types: Annotated[list[str], Field(max_length=20, examples=[["message.received"]])] = Field(default_factory=list)
    domains: Annotated[list[DomainText], Field(max_length=100)] = Field(default_factory=list)
    accounts: Annotated[list[AddressText], Field(max_length=100)] = Field(default_factory=list)
    description: Annotated[str, Field(max_length=200)] = ""


class LastError(BaseModel):
    """The last request that wasn't taken. `at` in ms; `status` 0: there was no answer."""

    model_config = example(**_WEBHOOK["last_error"])
    at: int
    status: int
    error: str


class WebhookOut(BaseModel):
    """An endpoint. Times in ms since the epoch, 0: never. `pending` events lie between it and the stream's end, wanted
    ones or not; `lag_seconds` is the age of the oldest of them. `lost_events`: some were removed before they were sent.
    """

    model_config = example(**_WEBHOOK)
    id: str
    url: str
    description: str
    types: list[str]
    domains: list[str]
    accounts: list[str]
    state: Annotated[str, Field(description="active, paused or disabled", examples=["active"])]
    reason: str
    position: int
    pending: int
    lag_seconds: float
    failures: Annotated[int, Field(description="in a row")]
    failing_since: int
    next_attempt_at: int
    last_success_at: int
    last_error: LastError | None
    lost_events: bool
    created_at: int
    old_secrets_until: Annotated[int, Field(description="Until then a secret before the present one signs as well")]

    @classmethod
    def of(cls, webhook: Webhook) -> WebhookOut:
        """As the API shows it."""
        return cls(**_members(webhook))


class NewWebhookOut(WebhookOut):
    """An endpoint with its new secret, which is never shown again."""

    model_config = example(**_WEBHOOK | {"secret": "whsec_bm90IGEgc2VjcmV0IGJ1dCBhbiBleGFtcGxlIG9mIG9uZQ=="})
    secret: str


class Replay(Strict):
    """From where to send again; exactly one."""

    model_config = example(position=4700)
    position: Annotated[int | None, Field(ge=0, lt=1 << 62, description="Events behind this position")] = None
    since: Annotated[Moment | None, Field(description="Events relayed since then")] = None


class Rotation(Strict):
    """For how long the old secret signs as well: enough to tell the receiver the new one; 0 if others know it."""

    model_config = example(overlap_hours=24)
    overlap_hours: Annotated[int, Field(ge=0, le=MAX_OVERLAP_HOURS)] = 24


class TestOut(BaseModel):
    """What came of a test delivery. `status` 0: there was no answer; `error` "": it was taken."""

    model_config = example(status=204, error="", seconds=0.061)
    status: int
    error: str
    seconds: float


def _members(webhook: Webhook) -> dict[str, Any]:
    members = asdict(webhook)
    members["id"] = members.pop("webhook_id")
    members["types"] = members.pop("kinds")
    del members["secret"]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in members.items()}


def _may(caller: Token, webhook: Webhook) -> bool:
    return caller.platform or (bool(webhook.domains) and all(map(caller.may_manage, webhook.domains)))


async def _own(ctx: Context, caller: Token, webhook_id: str) -> Webhook:
    """An endpoint of the caller's; one of others isn't there for him. Refused NOT_FOUND."""
    webhook = await ctx.webhooks.get(webhook_id)
    if not _may(caller, webhook):
        raise Refused(RefusedCode.NOT_FOUND, "No such webhook")
    return webhook


@router.post("/webhooks", status_code=201, summary="Make a webhook", responses=described(400))
async def create_webhook(body: NewWebhook, ctx: Ctx, caller: Caller, response: Response) -> NewWebhookOut:
    """Makes an endpoint for events from now on. The secret is in this answer and nowhere else."""
    webhook = await ctx.webhooks.create(
        body.url,
        kinds=body.types,
        domains=sorted(domains_for(caller, body.domains) or ()),
        accounts=sorted(accounts_of(body.accounts) or ()),
        description=body.description,
    )
    await ctx.audit_log.record(caller, "webhook.create", webhook.webhook_id, {"url": webhook.url})
    response.headers["cache-control"] = "no-store"
    return NewWebhookOut(**_members(webhook), secret=webhook.secret)


@router.get("/webhooks", summary="List webhooks", responses=described(400))
async def list_webhooks(
    ctx: Ctx, caller: Caller, cursor: paging.Cursor = "", limit: paging.Limit = 100
) -> Page[WebhookOut]:
    """Endpoints, oldest first."""
    found = await ctx.webhooks.page(paging.decode(cursor), limit + 1)
    more = paging.encode(found[limit - 1].webhook_id) if len(found) > limit else None
    return Page(items=[WebhookOut.of(each) for each in found[:limit] if _may(caller, each)], next=more)


@router.get("/webhooks/{webhook_id}", summary="Show a webhook", responses=described(404))
async def show_webhook(webhook_id: str, ctx: Ctx, caller: Caller) -> WebhookOut:
    """One endpoint: its state, how far it is behind, what went wrong last."""
    return WebhookOut.of(await _own(ctx, caller, webhook_id))


@router.post("/webhooks/{webhook_id}/pause", summary="Pause a webhook", responses=described(404))
async def pause_webhook(webhook_id: str, ctx: Ctx, caller: Caller) -> WebhookOut:
    """Sends nothing until it is resumed; events wait for as long as the stream keeps them."""
    await _own(ctx, caller, webhook_id)
    await ctx.audit_log.record(caller, "webhook.pause", webhook_id)
    return WebhookOut.of(await ctx.webhooks.pause(webhook_id))


@router.post("/webhooks/{webhook_id}/resume", summary="Resume a webhook", responses=described(404))
async def resume_webhook(webhook_id: str, ctx: Ctx, caller: Caller) -> WebhookOut:
    """Goes on at once where it stopped, also when it was disabled or rests after a failure."""
    await _own(ctx, caller, webhook_id)
    await ctx.audit_log.record(caller, "webhook.resume", webhook_id)
    return WebhookOut.of(await ctx.webhooks.resume(webhook_id))


@router.post("/webhooks/{webhook_id}/replay", summary="Send events again", responses=described(404))
async def replay_webhook(webhook_id: str, body: Replay, ctx: Ctx, caller: Caller) -> WebhookOut:
    """Sends again what is behind a position or moment, as far as it is kept."""
    await _own(ctx, caller, webhook_id)
    if (body.position is None) == (body.since is None):
        raise Refused(RefusedCode.INVALID, "Either a position or a moment")
    position = body.position
    if position is None:
        position = await ctx.webhooks.position_at(moment(body.since or ""))
    await ctx.audit_log.record(caller, "webhook.replay", webhook_id, {"position": position})
    return WebhookOut.of(await ctx.webhooks.replay(webhook_id, position))


@router.post("/webhooks/{webhook_id}/rotate-secret", summary="Make a new secret", responses=described(404))
async def rotate_webhook_secret(
    webhook_id: str, body: Rotation, ctx: Ctx, caller: Caller, response: Response
) -> NewWebhookOut:
    """Makes a new secret, which is in this answer and nowhere else. During the overlap each request carries a signature
    with either, so the receiver may change over at any moment of it.
    """
    await _own(ctx, caller, webhook_id)
    await ctx.audit_log.record(caller, "webhook.rotate_secret", webhook_id, {"overlap_hours": body.overlap_hours})
    webhook = await ctx.webhooks.rotate_secret(webhook_id, body.overlap_hours * HOUR_MS)
    response.headers["cache-control"] = "no-store"
    return NewWebhookOut(**_members(webhook), secret=webhook.secret)


@router.post("/webhooks/{webhook_id}/test", summary="Try a webhook", responses=described(404))
async def test_webhook(webhook_id: str, ctx: Ctx, caller: Caller) -> TestOut:
    """Has the worker send one `webhook.test` now, whatever the endpoint's state, and says what came of it."""
    await _own(ctx, caller, webhook_id)
    number = await ctx.webhooks.ask_test(webhook_id)
    deadline = asyncio.get_running_loop().time() + TEST_SECONDS
    while (result := await ctx.webhooks.test_result(webhook_id, number)) is None:
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable("no worker has sent the test", retry_after=10.0)
        await asyncio.sleep(LOOK_SECONDS)
    return TestOut(status=result["status"], error=result["error"], seconds=result["seconds"])


@router.delete("/webhooks/{webhook_id}", status_code=204, summary="Remove a webhook", responses=described(404))
async def remove_webhook(webhook_id: str, ctx: Ctx, caller: Caller) -> Response:
    """Ends an endpoint."""
    await _own(ctx, caller, webhook_id)
    await ctx.webhooks.remove(webhook_id)
    await ctx.audit_log.record(caller, "webhook.remove", webhook_id)
    return Response(status_code=204)
