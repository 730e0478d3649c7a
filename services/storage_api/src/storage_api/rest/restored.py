"""/v1/restored: a backup of MongoDB was put back (docs/operations.md, "Backup and restore")."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from ..restored.restores import MAX_LABEL, Restore
from . import paging
from .context import Caller, Ctx
from .models import Page, Strict, example
from .problems import described
from .times import Moment, moment

router = APIRouter(tags=["restored"])

_NEW: dict[str, Any] = {"label": "disk of 26 November", "backup_time": "2026-11-26T03:00:00Z"}
_SHOWN: dict[str, Any] = {
    "label": "disk of 26 November",
    "reason": "restored from a backup of 2026-11-26 03:00:00Z",
    "backup_at": 1795662000000,
    "asked_at": 1795681800000,
    "by": "bootstrap",
    "state": "running",
    "phase": "accounts",
    "total": 100000,
    "accounts": 42000,
    "mailboxes": 252000,
    "queue": 37,
    "notices": 0,
    "done_at": 0,
    "runs": 1,
}
LabelText = Annotated[str, Path(max_length=MAX_LABEL)]


class RestoreIn(Strict):
    """A restore: a name for it, and when the backup was made that was put back."""

    model_config = example(**_NEW)

    label: Annotated[str, Field(min_length=1, max_length=MAX_LABEL, pattern=r"^[^\x00-\x1f\x7f]+$")]
    backup_time: Moment = Field(description="When the backup was made; what was done since is undone")
    again: bool = Field(False, description="Also if it was done already")


class RestoreOut(BaseModel):
    """How far a restore is. Times in ms since the epoch; 0: not yet."""

    model_config = example(**_SHOWN)

    label: str
    reason: str = Field(description="What `why` says of the messages it holds")
    backup_at: int
    asked_at: int
    by: str
    state: Literal["running", "done"]
    phase: Literal["queue", "notices", "accounts", ""] = Field(description="What is being worked off")
    total: int = Field(description="Accounts there were when it began")
    accounts: int = Field(description="Accounts dealt with")
    mailboxes: int = Field(description="Mailboxes with a new UIDVALIDITY")
    queue: int = Field(description="Messages held in the queue")
    notices: int = Field(description="Notices to senders that are held if they go elsewhere")
    done_at: int
    runs: int

    @classmethod
    def of(cls, restore: Restore) -> RestoreOut:
        """As shown."""
        return cls(**{name: getattr(restore, name) for name in Restore.__slots__})


@router.post(
    "/restored", status_code=202, summary="Put the platform right after a restore", responses=described(400, 409)
)
async def begin_restore(body: RestoreIn, ctx: Ctx, caller: Caller) -> RestoreOut:
    """Holds the outbound queue, and raises every mailbox's UIDVALIDITY; the worker does it, and until it is done no
    mail is taken or changed. Asked again meanwhile: how far it is.
    """
    restore = await ctx.restores.begin(body.label, moment(body.backup_time), caller.name, again=body.again)
    details: dict[str, object] = {"backup_at": restore.backup_at, "again": body.again}
    await ctx.audit_log.record(caller, "restored", restore.label, details)
    return RestoreOut.of(restore)


@router.get("/restored", summary="List restores", responses=described(400))
async def list_restores(
    ctx: Ctx, _caller: Caller, cursor: paging.Cursor = "", limit: paging.Limit = 100
) -> Page[RestoreOut]:
    """Restores that this database knows of, by label."""
    found = await ctx.restores.page(paging.decode(cursor), limit + 1)
    more = paging.encode(found[limit - 1].label) if len(found) > limit else None
    return Page(items=[RestoreOut.of(restore) for restore in found[:limit]], next=more)


@router.get("/restored/{label:encoded}", summary="Follow a restore", responses=described(404))
async def show_restore(label: LabelText, ctx: Ctx, _caller: Caller) -> RestoreOut:
    """How far a restore is."""
    return RestoreOut.of(await ctx.restores.get(label))
