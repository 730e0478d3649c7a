"""Mailboxes of an account: …/mailboxes, under `/v1/accounts/{address}` and under `/v1/me`.

A name is one segment of the path, its "/" written %2F: `/v1/me/mailboxes/Archive%2F2026`. INBOX is found in any case.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from mailboat_store_client import names
from mailboat_store_client.types import MailboxHead, SpecialUse

from ..tokens import Token
from .context import Account, Caller, Ctx, MutationKey, Target, further_key
from .models_mail import MailboxChange, MailboxesOut, MailboxOut, NewMailbox
from .problems import described

router = APIRouter(tags=["mailboxes"])

Name = Annotated[str, Path(max_length=names.MAX_NAME_BYTES, description="The mailbox's name, its / written %2F")]


@router.get("/mailboxes", summary="List mailboxes", responses=described(404))
async def list_mailboxes(ctx: Ctx, account: Account) -> MailboxesOut:
    """All mailboxes of the account with their counts, INBOX first, then by name."""
    tree = await ctx.mailboxes.tree(account.account_id)
    return MailboxesOut(version=tree.version, items=[MailboxOut.of(head) for head in tree.mailboxes])


@router.post("/mailboxes", status_code=201, summary="Create a mailbox", responses=described(400, 404, 409))
async def create_mailbox(body: NewMailbox, ctx: Ctx, caller: Caller, account: Account, key: MutationKey) -> MailboxOut:
    """Creates a mailbox and the levels above it that are missing."""
    use = None if body.special_use is None else SpecialUse(body.special_use)
    head = await ctx.write.create(account.account_id, body.name, key=key, special_use=use)
    await _audit(ctx, caller, account, "mailbox.create", {"mailbox": head.name})
    return MailboxOut.of(head)


@router.get("/mailboxes/{name:encoded}", summary="Show a mailbox", responses=described(404))
async def show_mailbox(name: Name, ctx: Ctx, account: Account) -> MailboxOut:
    """One mailbox with its counts."""
    return MailboxOut.of(await ctx.mailboxes.head(account.account_id, name))


@router.patch("/mailboxes/{name:encoded}", summary="Rename or subscribe a mailbox", responses=described(400, 404, 409))
async def change_mailbox(
    *, name: Name, body: MailboxChange, ctx: Ctx, caller: Caller, account: Account, key: MutationKey
) -> MailboxOut:
    """Renames a mailbox with all below it, and subscribes or unsubscribes it. Renaming INBOX moves its messages."""
    head = await ctx.mailboxes.head(account.account_id, name)
    shown, details = head.name, dict[str, object]()
    if body.name is not None and names.canonical(body.name) != head.name:
        await ctx.write.rename(account.account_id, head.name, body.name, key=key)
        shown = names.canonical(body.name)
        details["name"] = shown
    if body.subscribed is not None:
        await ctx.write.subscribe(account.account_id, shown, body.subscribed, key=further_key(key))
        details["subscribed"] = body.subscribed
    await _audit(ctx, caller, account, "mailbox.change", {"mailbox": head.name, **details})
    return MailboxOut.of(await ctx.mailboxes.head(account.account_id, shown))


@router.delete("/mailboxes/{name:encoded}", status_code=204, summary="Delete a mailbox", responses=described(400, 404))
async def remove_mailbox(name: Name, ctx: Ctx, caller: Caller, account: Account, key: MutationKey) -> Response:
    """Deletes a mailbox with its messages; INBOX, and one with mailboxes below it, can't be deleted."""
    head: MailboxHead = await ctx.mailboxes.head(account.account_id, name)
    await ctx.write.delete(account.account_id, head.name, key=key)
    await _audit(ctx, caller, account, "mailbox.remove", {"mailbox": head.name, "messages": head.messages})
    return Response(status_code=204)


async def _audit(ctx: Ctx, caller: Token, account: Target, action: str, details: dict[str, object]) -> None:
    if not account.own:
        await ctx.audit_log.record(caller, action, account.address, details)
