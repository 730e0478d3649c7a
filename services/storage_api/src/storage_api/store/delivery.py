"""The Delivery port on MongoDB (design.md, section 6).

Local recipients are items for the committer. If they fit into one transaction they are filed by it, and nothing else is
written. If not, they are all kept in an `accepted` document first (the message in `accepted_parts`, durable before),
each item then strikes its recipient in its own transaction, and `sweep_accepted` finishes what a dead process left.
Remote recipients of a submission are one item more, which commits with the others or with the `accepted` document. So
whenever `deliver` returns, every recipient reported filed, queued, accepted or duplicate is committed on a majority.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from mailboat_common import crash
from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.log import get_logger
from mailboat_store_client.types import (
    NO_ACCOUNT,
    AccountId,
    Answered,
    DeliverResult,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientResult,
)

from ..db import schema
from ..db.driver import Database, Document, InsertOne, PyMongoError, is_duplicate_key
from ..directory.routes import Routes
from ..queue import metrics
from ..queue.expanded import TellExpanded
from ..queue.forward import Forwarded, prepare_forwards
from ..queue.notify import header_of, success_wanted
from ..queue.submit import Submit, outgoing_of, prepare, submission_key
from .bodies import Bodies
from .committer import MAX_BYTES, MAX_ITEMS, Committer
from .deliver import Accept, Deliver, GiveUp
from .failures import guarded
from .fanout import fan_out
from .hooks import Hooks, TraceEvent
from .mutation import Mutation
from .reception import made_at, received

log = get_logger(__name__)

PART_BYTES = 8 << 20
FIRST_SWEEP_MS = 5_000
RETRY_MS = 30_000
SWEEP_LIMIT = 100
CONFIRM_SECONDS = 0.2
ORPHAN_MS = 24 * 3600 * 1000
NOTICE_LISTENER = "notice"
"""What an envelope of our own says instead of a listener's name."""
ALWAYS_ACCEPTED = ("postmaster", "abuse")  # never over quota (RFC 5321 4.5.1)

Sign = Callable[[str, bytes, int], Awaitable[bytes]]
"""From a domain, a message and a time (seconds since the epoch) to the fields to put on top (`storage_api.signer`)."""

ByAccount = dict[AccountId, list[EnvelopeRecipient]]


class MongoDelivery:
    """Mail in, for one database."""

    def __init__(
        self,
        db: Database,
        committer: Committer,
        bodies: Bodies,
        hooks: Hooks | None = None,
        sign: Sign | None = None,
    ) -> None:
        self._db = db
        self._committer = committer
        self._bodies = bodies
        self.routes = Routes(db, committer.now)
        self._hooks = hooks or Hooks()
        self._sign = sign
        self._confirmed: list[str] = []
        self._confirming: asyncio.Task[None] | None = None

    @guarded
    async def deliver(self, envelope: Envelope, content: bytes) -> DeliverResult:
        """File `content` for each recipient, or keep it in an `accepted` document."""
        self._tell_answered(envelope.confirmed, envelope.answered)
        self._confirm_later(envelope.confirmed)
        content = await self._signed(envelope, content)
        fanout = await fan_out(self.routes, envelope, content)
        by_account = fanout.by_account
        submit = await self._submit(envelope, content)
        forwards = await prepare_forwards(self._db, envelope, fanout.forwards, self._committer.now())
        expanded = [TellExpanded(envelope, fanout.expanded, header_of(content))] if fanout.expanded else []
        out: list[Mutation[Any]] = [*submit, *forwards, *expanded]
        always = fanout.always | {account_id for account_id, of_it in by_account.items() if _exempt(of_it)}
        items = await self._items(envelope, by_account, content, accepted=False, exempt=always)
        total = sum(item.size for item in items) + sum(item.size for item in out)
        if not items or len(items) + len(out) <= 1 or (len(items) + len(out) <= MAX_ITEMS and total <= MAX_BYTES):
            outcomes = await self._committer.submit_all([*out, *items])
            queued = outcomes[: len(out)]
            results = dict(zip(by_account, [_status(outcome) for outcome in outcomes[len(out) :]], strict=True))
            self._tell_refused(envelope, by_account, results)
        else:
            results, queued = await self._deliver_accepted(envelope, by_account, content, out, always)
        crash.point("deliver.after_filed")
        self._tell_received(envelope, len(content))
        remote = _remote_results(envelope, queued[: len(submit)])
        forwarded = [_forwarded(outcome) for outcome in queued[len(submit) : len(submit) + len(forwards)]]
        for failed in queued[len(submit) + len(forwards) :]:
            if isinstance(failed, Exception):
                raise failed
        return DeliverResult(
            tuple(
                remote[r.address] if r.remote else fanout.result(number, r.address, results, forwarded)
                for number, r in enumerate(envelope.recipients)
            )
        )

    async def _signed(self, envelope: Envelope, content: bytes) -> bytes:
        """A submission with its DKIM signatures, below Return-Path; everything else as it came.

        The reverse-path's domain signs: reception has seen to it that the account may use that address, and From too.
        A repeat gives the same octets, because the time is that of the trace id.
        """
        if self._sign is None or envelope.account_id == NO_ACCOUNT or not envelope.reverse_path:
            return content
        domain = envelope.reverse_path.rpartition("@")[2]
        fields = await self._sign(domain, content, made_at(envelope.trace_id) // 1000)
        top = content.find(b"\r\n") + 2 if content[:12].lower() == b"return-path:" else 0
        return content[:top] + fields + content[top:] if fields else content

    async def _submit(self, envelope: Envelope, content: bytes) -> list[Submit]:
        """The item that queues a submission for other servers, if it has recipients there.

        Refused NOT_PERMITTED for what isn't a submission: nobody is relayed for.
        """
        remote = [recipient for recipient in envelope.recipients if recipient.remote]
        if not remote:
            return []
        if envelope.account_id == NO_ACCOUNT:
            raise Refused(RefusedCode.NOT_PERMITTED, "Relaying denied", "remote recipients without a sender's account")
        message = outgoing_of(envelope, remote, content)
        key = submission_key(envelope.trace_id)
        return [Submit(envelope, await prepare(self._db, message, key, self._committer.now()))]

    async def _items(
        self,
        envelope: Envelope,
        by_account: ByAccount,
        content: bytes,
        *,
        accepted: bool,
        exempt: AbstractSet[AccountId],
    ) -> list[Deliver]:
        if not by_account:
            return []
        notice = envelope.listener == NOTICE_LISTENER  # a sender over quota learns of a bounce all the same
        header = header_of(content) if success_wanted(envelope.recipients) else b""
        bodies = await self._bodies.prepare_for(tuple(by_account), content)
        return [
            Deliver(
                account_id,
                envelope,
                recipients,
                body,
                accepted=accepted,
                exempt=notice or account_id in exempt,
                header=header,
            )
            for (account_id, recipients), body in zip(by_account.items(), bodies, strict=True)
        ]

    # More than one transaction

    async def _deliver_accepted(
        self,
        envelope: Envelope,
        by_account: ByAccount,
        content: bytes,
        out: Sequence[Mutation[Any]],
        exempt: AbstractSet[AccountId],
    ) -> tuple[dict[AccountId, RecipientResult], list[Any]]:
        """The local recipients' results, and what `out`, which commits with the `accepted` document, came to."""
        crash.point("deliver.before_accepted")
        await self._keep_content(envelope.trace_id, content)
        document = {
            "_id": envelope.trace_id,
            "next_attempt": self._committer.now() + FIRST_SWEEP_MS,
            "envelope": _envelope_document(envelope),
            "size": len(content),
            "always": sorted(exempt),
        }
        accept = Accept(envelope, by_account, document, exempt)
        not_kept, *queued = await self._committer.submit_all([accept, *out])
        if isinstance(not_kept, Exception):
            raise not_kept
        crash.point("deliver.after_accepted")
        results = {account_id: _status(outcome) for account_id, outcome in not_kept.items()}
        self._tell_refused(envelope, by_account, results)
        rest = {a: recipients for a, recipients in by_account.items() if a not in not_kept}
        filed = await self._file_accepted(envelope, rest, content, exempt)
        gone = [account_id for account_id, result in filed.items() if result.status is DeliveryStatus.GONE]
        await self._finish(envelope.trace_id, gone)
        return results | filed, queued

    async def _file_accepted(
        self, envelope: Envelope, by_account: ByAccount, content: bytes, exempt: AbstractSet[AccountId]
    ) -> dict[AccountId, RecipientResult]:
        """File the pending recipients, each in a transaction of its own choosing.

        A failure leaves it accepted, and so does a quota that was used up since: an accepted message is kept.
        """
        results: dict[AccountId, RecipientResult] = {}
        accounts = list(by_account)
        for start in range(0, len(accounts), MAX_ITEMS):
            some = {account_id: by_account[account_id] for account_id in accounts[start : start + MAX_ITEMS]}
            items = await self._items(envelope, some, content, accepted=True, exempt=exempt)
            outcomes = await asyncio.gather(*[self._committer.submit(i) for i in items], return_exceptions=True)
            for account_id, outcome in zip(some, outcomes, strict=True):
                results[account_id] = _status(outcome)
                if results[account_id].status in (DeliveryStatus.UNAVAILABLE, DeliveryStatus.OVER_QUOTA):
                    results[account_id] = RecipientResult("", DeliveryStatus.ACCEPTED)
        self._tell_refused(envelope, by_account, results)
        return results

    async def _keep_content(self, trace_id: str, content: bytes) -> None:
        """The message, durable before the document that names it; a repeated call finds its parts there."""
        now = self._committer.now()
        operations = [
            InsertOne[Document](
                {"_id": {"t": trace_id, "i": number}, "data": content[start : start + PART_BYTES], "at": now}
            )
            for number, start in enumerate(range(0, max(len(content), 1), PART_BYTES))
        ]
        try:
            await self._db[schema.ACCEPTED_PARTS].bulk_write(operations, ordered=False)
        except PyMongoError as error:
            if not is_duplicate_key(error):
                raise

    async def _finish(self, trace_id: str, given_up: Sequence[AccountId] = ()) -> None:
        """Strike recipients that can't be filed; remove the document once nobody is pending, then its message."""
        accepted = self._db[schema.ACCEPTED]
        if given_up:
            await accepted.update_one({"_id": trace_id}, {"$pull": {"pending": {"a": {"$in": list(given_up)}}}})
        await accepted.delete_one({"_id": trace_id, "pending": []})
        if await accepted.find_one({"_id": trace_id}, {"_id": 1}) is None:
            await self._db[schema.ACCEPTED_PARTS].delete_many({"_id.t": trace_id})

    @guarded
    async def sweep_accepted(self, now: int) -> int:
        """Finish due `accepted` documents; for the worker role, any number at once. Returns how many were tried."""
        accepted = self._db[schema.ACCEPTED]
        tried = 0
        for due in await accepted.find({"next_attempt": {"$lte": now}}, {"next_attempt": 1}, limit=SWEEP_LIMIT):
            document = await accepted.find_one_and_update(
                {"_id": due["_id"], "next_attempt": due["next_attempt"]}, {"$set": {"next_attempt": now + RETRY_MS}}
            )
            if document is not None:  # else another worker has it
                tried += 1
                await self._sweep_one(document)
        await self._remove_orphans(now)
        return tried

    async def _sweep_one(self, document: Document) -> None:
        envelope = _envelope_of(document)
        by_account: ByAccount = {}
        for recipient in envelope.recipients:
            by_account.setdefault(recipient.account_id, []).append(recipient)
        if by_account:
            content = await self._content(document)
            exempt = {a for a, of_it in by_account.items() if _exempt(of_it)} | _always(document)
            results = await self._file_accepted(envelope, by_account, content, exempt)
            given_up = [
                r for a, result in results.items() if result.status is DeliveryStatus.GONE for r in by_account[a]
            ]
            if given_up:  # their sender has our 250
                await self._committer.submit(GiveUp(envelope, given_up, header_of(content)))
        await self._finish(envelope.trace_id)

    async def _content(self, document: Document) -> bytes:
        parts = []
        number = size = 0
        while number == 0 or size < document["size"]:
            part = await self._db[schema.ACCEPTED_PARTS].find_one({"_id": {"t": document["_id"], "i": number}})
            if part is None:
                raise Failure("", f"accepted transaction {document['_id']} lacks part {number}")
            parts.append(part["data"])
            size += len(part["data"])
            number += 1
        return b"".join(parts)

    async def _remove_orphans(self, now: int) -> None:
        """Messages whose `accepted` document was never committed, or is long done."""
        parts = self._db[schema.ACCEPTED_PARTS]
        old = await parts.find({"at": {"$lt": now - ORPHAN_MS}}, {"_id": 1}, limit=SWEEP_LIMIT)
        for part in old:
            if await self._db[schema.ACCEPTED].find_one({"_id": part["_id"]["t"]}, {"_id": 1}) is None:
                await parts.delete_one({"_id": part["_id"]})

    # After the 250

    @guarded
    async def confirm(self, trace_ids: Sequence[str], answered: Sequence[Answered] = ()) -> None:
        """The clients have read our 250: the same message may come again on purpose.

        On a majority, because a transaction's snapshot may leave out what only the primary has acknowledged: the next
        delivery would not see the confirmation.
        """
        self._tell_answered(trace_ids, answered)
        if trace_ids:
            query = {"trace": {"$in": list(trace_ids)}}
            await self._db[schema.DEDUPE].update_many(query, {"$set": {"confirmed": True}})

    def _confirm_later(self, trace_ids: Sequence[str]) -> None:
        """The same for what came with a delivery, many at a time: that delivery has looked past these keys itself."""
        self._confirmed.extend(trace_ids)
        if self._confirmed and self._confirming is None:
            self._confirming = asyncio.get_running_loop().create_task(self._confirm_all())

    async def _confirm_all(self) -> None:
        try:
            while self._confirmed:
                await asyncio.sleep(CONFIRM_SECONDS)
                batch, self._confirmed = self._confirmed[:1000], self._confirmed[1000:]
                try:
                    await self.confirm(batch)
                except Failure as error:
                    log.info("confirmations lost", cause=error.private)
        finally:
            self._confirming = None

    # What the trace is told

    def _tell_received(self, envelope: Envelope, size: int) -> None:
        """How the message came here. A repeat of the call tells the same again, which the trace shows once."""
        if envelope.listener != NOTICE_LISTENER:
            self._hooks.on_trace([received(envelope, size)])

    def _tell_answered(self, confirmed: Sequence[str], answered: Sequence[Answered]) -> None:
        if answered:
            read = set(confirmed)
            self._hooks.on_trace(
                [
                    TraceEvent(
                        one.trace_id, one.at, "answered", details={"reply": one.reply, "read": one.trace_id in read}
                    )
                    for one in answered
                ]
            )

    def _tell_refused(
        self, envelope: Envelope, by_account: ByAccount, results: dict[AccountId, RecipientResult]
    ) -> None:
        now = self._committer.now()
        events = [
            TraceEvent(
                envelope.trace_id,
                now,
                result.status.value,
                account_id,
                details={"recipient": by_account[account_id][0].address},
            )
            for account_id, result in results.items()
            if result.status in _FINAL_REFUSALS
        ]
        if events:
            self._hooks.on_trace(events)


_FINAL_REFUSALS = (DeliveryStatus.OVER_QUOTA, DeliveryStatus.GONE)


def _exempt(recipients: Sequence[EnvelopeRecipient]) -> bool:
    return any(r.address.partition("@")[0].partition("+")[0].lower() in ALWAYS_ACCEPTED for r in recipients)


def _always(document: Document) -> set[AccountId]:
    """Accounts of an accepted transaction that take it whatever their quota."""
    return {AccountId(bytes(account_id)) for account_id in document.get("always", ())}


def _forwarded(outcome: Any) -> DeliveryStatus:
    """What became of a message that is sent on."""
    if isinstance(outcome, Forwarded):
        metrics.count(outcome.told.bounced, outcome.told.notices)
        return outcome.status
    log.warning("A forwarded message could not be queued", error=repr(outcome))
    return DeliveryStatus.UNAVAILABLE


def _remote_results(envelope: Envelope, queued: Sequence[Any]) -> dict[str, RecipientResult]:
    """By address, what `Submit` came to."""
    remote = {
        r.address: RecipientResult(r.address, DeliveryStatus.UNAVAILABLE) for r in envelope.recipients if r.remote
    }
    for outcome in queued:
        if isinstance(outcome, Refused):
            raise outcome
        if isinstance(outcome, list):
            remote |= {result.address: result for result in outcome}
        else:
            log.warning("A message could not be queued", error=repr(outcome))
    return remote


def _status(outcome: Any) -> RecipientResult:
    """What the committer said of one recipient."""
    if isinstance(outcome, RecipientResult):
        return outcome
    if isinstance(outcome, Refused):
        if outcome.code is RefusedCode.OVER_QUOTA:
            return RecipientResult("", DeliveryStatus.OVER_QUOTA)
        if outcome.code is RefusedCode.NO_ACCOUNT:
            return RecipientResult("", DeliveryStatus.GONE)
    log.warning("A recipient could not be filed", error=repr(outcome))
    return RecipientResult("", DeliveryStatus.UNAVAILABLE)


def _envelope_document(envelope: Envelope) -> Document:
    return {
        "reverse_path": envelope.reverse_path,
        "content_sha256": envelope.content_sha256,
        "listener": envelope.listener,
        "client": envelope.client,
        "helo": envelope.helo,
        "authenticated": envelope.authenticated,
        "smtputf8": envelope.smtputf8,
        "envid": envelope.envid,
        "ret": envelope.ret,
    }


def _envelope_of(document: Document) -> Envelope:
    """The transaction as it was, with the recipients that are still pending."""
    recipients = tuple(
        EnvelopeRecipient(r["address"], AccountId(r["a"]), r["mailbox"], r.get("notify", ""), r.get("orcpt", ""))
        for r in document["pending"]
    )
    return Envelope(trace_id=document["_id"], recipients=recipients, **document["envelope"])
