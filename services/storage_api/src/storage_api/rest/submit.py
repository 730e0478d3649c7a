"""Sending: …/submit takes a message as JSON, …/submit/raw one that is written already, with its envelope.

The sender must be the account's (its own address, its aliases), in the envelope and in From, as in a submission by
SMTP. Recipients here are filed, others are queued, in one transaction with the trace id as its key: a repeat with the
same Idempotency-Key sends nothing twice. 202 if at least one recipient was taken, else 422 with each one's reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from mailboat_common.errors import MailboatError, Refused, RefusedCode, Unavailable
from mailboat_common.ids import encode_id
from mailboat_common.log import get_logger
from mailboat_store_client.types import (
    NO_ACCOUNT,
    AppendMessage,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientResult,
    RecipientStatus,
    Resolution,
    SpecialUse,
)
from pydantic import Field

from ..tokens import Token
from .compose import Outgoing, compose, envelope_address, prepare_raw, trace_fields
from .context import Account, Caller, Context, Ctx, Growing, MutationKey, Target, further_key
from .dsn import Dsn, EnvelopeId, Returned, notify_of_query, one_for_each, orcpt_text, ret_text
from .gate import MAX_MESSAGE
from .mail import raw_body, require_rfc822
from .models import AddressText
from .models_submit import MAX_RECIPIENTS, NewMessage, RecipientOut, SubmittedOut
from .problems import described, problem
from .summaries import message_id_of

router = APIRouter(tags=["sending"])
log = get_logger(__name__)

THREAD_ABOVE = 256 << 10
LISTENER = "api"
NotifyQuery = Annotated[
    str, Field(max_length=30, description="never, or success,failure,delay; for all, or one for each `to`, in order")
]
OrcptQuery = Annotated[str, Field(max_length=320, description="The original recipient; one for each `to`, in order")]

_REFUSED = {
    RecipientStatus.UNKNOWN: "5.1.1 No such user here",
    RecipientStatus.DISABLED: "5.2.1 Mailbox is disabled",
    RecipientStatus.OVER_QUOTA: "5.2.2 Mailbox is full",
    RecipientStatus.NOT_PERMITTED: "5.7.1 The sender may not write to this group",
}
_SUPPRESSED = "5.1.1 Suppressed: its server called this address unknown; the operator can release it"
_REFUSED_LATER = {
    DeliveryStatus.OVER_QUOTA: "5.2.2 Mailbox is full",
    DeliveryStatus.GONE: "5.1.1 No such user here",
    DeliveryStatus.LOOP: "5.4.6 The message went through this group before",
}


@router.post(
    "/submit",
    status_code=202,
    summary="Send a message",
    response_model=SubmittedOut,
    dependencies=[Growing],
    responses=described(400, 404, 413, 507),
)
async def submit_message(
    *, body: NewMessage, ctx: Ctx, caller: Caller, account: Account, key: MutationKey
) -> SubmittedOut | Response:
    """Writes a message and sends it. Date and Message-ID are added."""
    trace = encode_id(key)
    message_id, now = f"<{trace}@{ctx.hostname}>", time.time()
    if sum(len(item.content) for item in body.attachments) + len(body.html or "") > THREAD_ABOVE:
        outgoing = await asyncio.to_thread(compose, body, message_id, now)
    else:
        outgoing = compose(body, message_id, now)
    await _require_owned(ctx, account, [outgoing.sender])
    return await _Submission(ctx, account, key, outgoing).send(caller, save=body.save_to_sent)


@router.post(
    "/submit/raw",
    status_code=202,
    summary="Send a message that is written already",
    response_model=SubmittedOut,
    dependencies=[Growing],
    responses=described(400, 404, 413, 415, 507),
    openapi_extra=raw_body("From: alice@example.test\r\nTo: bob@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"),
)
async def submit_raw(
    *,
    request: Request,
    ctx: Ctx,
    caller: Caller,
    account: Account,
    key: MutationKey,
    to: Annotated[list[AddressText], Query(min_length=1, max_length=MAX_RECIPIENTS, description="May be repeated")],
    sender: Annotated[
        AddressText | None, Query(alias="from", description="The From header's first if not given")
    ] = None,
    notify: Annotated[list[NotifyQuery], Query(max_length=MAX_RECIPIENTS)] = [],  # noqa: B006 - FastAPI copies it
    orcpt: Annotated[list[OrcptQuery], Query(max_length=MAX_RECIPIENTS)] = [],  # noqa: B006
    ret: Returned | None = None,
    envid: EnvelopeId | None = None,
    save_to_sent: bool = False,
) -> SubmittedOut | Response:
    """Sends the body of the request to the recipients named in the query; what the header says of them is not looked
    at. Bcc is taken out, Date and Message-ID are added where they are missing.
    """
    require_rfc822(request)
    trace = encode_id(key)
    content = await request.body()
    content, message_id, senders = prepare_raw(content, f"<{trace}@{ctx.hostname}>", time.time())
    reverse_path = envelope_address(sender or senders[0])
    await _require_owned(ctx, account, [reverse_path, *senders])
    addresses = [envelope_address(address) for address in to]
    recipients = tuple(dict.fromkeys(addresses))
    told = map(notify_of_query, one_for_each(notify * len(to) if len(notify) == 1 else notify, len(to), "notify"))
    first = map(orcpt_text, one_for_each(orcpt, len(to), "orcpt"))
    wanted = dict(reversed(list(zip(addresses, zip(told, first, strict=True), strict=True))))
    smtputf8 = not all(address.isascii() for address in (reverse_path, *recipients))
    dsn = Dsn(ret_text(ret), envid or "", wanted)
    outgoing = Outgoing(content, reverse_path, recipients, message_id, smtputf8, dsn)
    return await _Submission(ctx, account, key, outgoing).send(caller, save=save_to_sent)


async def _require_owned(ctx: Context, account: Target, addresses: Sequence[str]) -> None:
    if not all(await ctx.directory.owns(account.account_id, addresses)):
        raise Refused(RefusedCode.NOT_PERMITTED, "The sender's address is not the account's")


class _Submission:
    """One message on its way."""

    def __init__(self, ctx: Context, account: Target, key: bytes, outgoing: Outgoing) -> None:
        self._ctx = ctx
        self._account = account
        self._key = key
        self._outgoing = outgoing
        self._trace = encode_id(key)

    async def send(self, caller: Token, *, save: bool) -> SubmittedOut | Response:
        """Files and queues it; then the copy for Sent."""
        if len(self._outgoing.content) > MAX_MESSAGE:
            raise Refused(RefusedCode.TOO_BIG, f"A message has at most {MAX_MESSAGE} octets")
        resolutions = await self._ctx.directory.resolve(
            self._outgoing.recipients, sender=self._outgoing.sender, account_id=self._account.account_id
        )
        results = await self._deliver([r for r in resolutions if not _refusal(r)])
        shown = [_shown(resolution, results.get(resolution.address)) for resolution in resolutions]
        taken = any(recipient.status != "refused" for recipient in shown)
        log.info(
            "message",
            trace_id=self._trace,
            listener=LISTENER,
            token=caller.token_id,
            size=len(self._outgoing.content),
            recipients=len(shown),
            taken=taken,
        )
        if not taken:
            recipients = [recipient.model_dump() for recipient in shown]
            return problem(422, "No recipient could be taken", code="no_recipient", recipients=recipients)
        if not self._account.own:
            details = {"trace_id": self._trace, "from": self._outgoing.sender, "recipients": len(shown)}
            await self._ctx.audit_log.record(caller, "message.submit", self._account.address, details)
        sent = await self._save() if save else None
        return SubmittedOut(trace_id=self._trace, message_id=self._outgoing.message_id, recipients=shown, sent=sent)

    async def _deliver(self, wanted: Sequence[Resolution]) -> dict[str, RecipientResult]:
        """By address. Unavailable if any recipient couldn't be served now: a repeat serves the rest."""
        if not wanted:
            return {}
        outgoing = self._outgoing
        envelope = Envelope(
            self._trace,
            outgoing.sender,
            tuple(
                EnvelopeRecipient(r.address, r.account_id or NO_ACCOUNT, r.mailbox, *outgoing.dsn.of(r.address))
                for r in wanted
            ),
            hashlib.sha256(outgoing.content).digest(),
            LISTENER,
            authenticated=self._account.address,
            smtputf8=outgoing.smtputf8,
            envid=outgoing.dsn.envid,
            ret=outgoing.dsn.ret,
            account_id=self._account.account_id,
        )
        fields = trace_fields(self._trace, outgoing.sender, self._ctx.hostname, time.time())
        result = await self._ctx.delivery.deliver(envelope, fields + outgoing.content)
        if any(recipient.status is DeliveryStatus.UNAVAILABLE for recipient in result.recipients):
            raise Unavailable("not every recipient could be served")
        await self._ctx.delivery.confirm([self._trace])  # no SMTP client that may have missed our 250
        return {recipient.address: recipient for recipient in result.recipients}

    async def _save(self) -> str | None:
        """The copy in Sent, which the message doesn't depend on."""
        account_id = self._account.account_id
        tree = await self._ctx.mailboxes.tree(account_id)
        name = next((head.name for head in tree.mailboxes if head.special_use is SpecialUse.SENT), None)
        if name is None:
            return None
        copy = AppendMessage(self._outgoing.content, ("\\Seen",))
        try:
            done = await self._ctx.write.append(account_id, name, [copy], key=further_key(self._key))
        except MailboatError as error:
            log.warning("no copy in Sent", trace_id=self._trace, cause=str(error))
            return None
        return message_id_of(done.delta.mailbox_id, done.uids[0])


def _shown(resolution: Resolution, result: RecipientResult | None) -> RecipientOut:
    if result is None:
        return RecipientOut(address=resolution.address, status="refused", reason=_refusal(resolution))
    if result.status in _REFUSED_LATER:
        return RecipientOut(address=resolution.address, status="refused", reason=_REFUSED_LATER[result.status])
    queued = result.status is DeliveryStatus.QUEUED
    return RecipientOut(address=resolution.address, status="queued" if queued else "delivered", reason=None)


def _refusal(resolution: Resolution) -> str | None:
    """Why nothing is sent to this address at all."""
    return _SUPPRESSED if resolution.suppressed else _REFUSED.get(resolution.status)
