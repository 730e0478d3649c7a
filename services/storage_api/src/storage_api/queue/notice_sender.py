"""Notices on their way: filed for senders of ours, queued for those elsewhere, with the null reverse-path.

Any number of workers do it at once. A notice for an account is filed by the ordinary delivery under the notice's trace
id, whose receipt makes a repeat harmless, and then removed; one for another server goes into the queue in the
transaction that removes it. A notice that can't reach anyone ends here: it is never answered by another.
"""

from __future__ import annotations

import hashlib

from mailboat_common import crash
from mailboat_common.errors import Failure
from mailboat_common.log import get_logger
from mailboat_store_client.queue import QueuedRecipient
from mailboat_store_client.types import (
    NO_ACCOUNT,
    AccountId,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientStatus,
    Resolution,
)

from ..db import schema
from ..db.driver import DeleteOne, Document
from ..directory.resolve import MongoDirectory
from ..store.delivery import NOTICE_LISTENER, Sign
from ..store.hooks import Hooks, TraceEvent
from ..store.mongo import MongoStore
from ..store.mutation import Mutation
from ..store.workspace import Needs, Workspace
from . import metrics
from .notify import NOTHING_TOLD, Outcomes
from .submit import Outgoing, enqueue, prepare_small
from .suppressed import entries_for, suppressed

log = get_logger(__name__)

LIMIT = 100
RETRY_MS = 30_000
_DONE = (DeliveryStatus.FILED, DeliveryStatus.ACCEPTED, DeliveryStatus.DUPLICATE, DeliveryStatus.QUEUED)
_LATER = (DeliveryStatus.UNAVAILABLE, DeliveryStatus.OVER_QUOTA)
_OURS = (RecipientStatus.LOCAL, RecipientStatus.OVER_QUOTA)


class NoticeSender:
    """The worker role's rounds for notices."""

    def __init__(
        self, store: MongoStore, directory: MongoDirectory, hooks: Hooks | None = None, sign: Sign | None = None
    ) -> None:
        """`sign` is given the platform's hostname."""
        self._notices = store.db[schema.NOTICES]
        self._committer = store.committer
        self._delivery = store.delivery
        self._directory = directory
        self._hooks = hooks or Hooks()
        self._sign = sign

    async def run(self, now: int) -> bool:
        """Send what is due; True if more is. A failure leaves a notice for the next try."""
        due = await self._notices.find({"due": {"$lte": now}}, {"due": 1}, sort=[("due", 1)], limit=LIMIT)
        for found in due:
            query = {"_id": found["_id"], "due": found["due"]}
            notice = await self._notices.find_one_and_update(query, {"$set": {"due": now + RETRY_MS}})
            if notice is not None:  # else another worker has it
                await self._send(notice)
        return len(due) == LIMIT

    async def _send(self, notice: Document) -> None:
        try:
            (resolution,) = await self._directory.resolve([notice["recipient"]])
            notice = await self._signed(notice)
            if resolution.status is RecipientStatus.NOT_LOCAL:
                told = await self._committer.submit(QueueNotice(notice))
                metrics.count(told.bounced, told.notices)
            elif resolution.status in _OURS and resolution.account_id is not None:
                await self._file(notice, resolution, resolution.account_id)
            else:
                await self._drop(notice, resolution.status.value)
        except Failure as error:
            log.warning("a notice waits", trace_id=notice["_id"], cause=error.private)

    async def _signed(self, notice: Document) -> Document:
        """Signed as of the time it was written, so that a repeat gives the same octets."""
        if self._sign is None:
            return notice
        content = bytes(notice["content"])
        fields = await self._sign(self._committer.policy.hostname, content, notice["at"] // 1000)
        return notice | {"content": fields + content}

    async def _file(self, notice: Document, resolution: Resolution, account_id: AccountId) -> None:
        content = b"Return-Path: <>\r\n" + bytes(notice["content"])
        envelope = Envelope(
            trace_id=notice["_id"],
            reverse_path="",
            recipients=(EnvelopeRecipient(notice["recipient"], account_id, resolution.mailbox),),
            content_sha256=hashlib.sha256(content).digest(),
            listener=NOTICE_LISTENER,
            smtputf8=notice["smtputf8"],
        )
        (result,) = (await self._delivery.deliver(envelope, content)).recipients
        given_up = notice["at"] + self._committer.policy.schedule.lifetime_ms < self._committer.now()
        if result.status in _DONE:
            crash.point("notice.filed")
            await self._notices.delete_one({"_id": notice["_id"]})
        elif result.status not in _LATER or given_up:
            await self._drop(notice, result.status.value)

    async def _drop(self, notice: Document, why: str) -> None:
        """Nobody is there to be told."""
        metrics.notices.labels("untold").inc()
        details = {"notice": notice["_id"], "recipient": notice["recipient"], "reason": why}
        self._hooks.on_trace([TraceEvent(notice["about"], self._committer.now(), "untold", details=details)])
        await self._notices.delete_one({"_id": notice["_id"]})


class QueueNotice(Mutation[Outcomes]):
    """Queue a notice for a sender elsewhere, and remove it here; nothing if it isn't here any more.

    The result says what it counts as if its recipient is suppressed.
    """

    kind = "notice"

    def __init__(self, notice: Document) -> None:
        super().__init__(NO_ACCOUNT, None, len(notice["content"]))
        self._id: str = notice["_id"]
        self._hold_reason: str = notice.get("hold_reason", "")
        message = Outgoing(
            trace_id=self._id,
            reverse_path="",
            recipients=(QueuedRecipient(notice["recipient"], "NEVER"),),  # RFC 3461 6.1
            content=bytes(notice["content"]),
            smtputf8=notice["smtputf8"],
        )
        self._prepared = prepare_small(message, b"notice:" + self._id.encode(), notice["at"])

    @property
    def accounts(self) -> set[AccountId]:
        return set()

    def needs(self) -> Needs:
        return Needs(documents={schema.NOTICES: {self._id}, **entries_for(self._prepared.message.recipients)})

    def apply(self, ws: Workspace) -> Outcomes:
        if ws.document(schema.NOTICES, self._id) is None:
            return NOTHING_TOLD
        told = enqueue(
            ws, self._prepared, suppressed(ws, self._prepared.message.recipients), hold_reason=self._hold_reason
        )
        ws.operate(schema.NOTICES, self._id, DeleteOne({"_id": self._id}))
        return told

    def receipt(self, result: Outcomes) -> Document:
        return {}

    def repeat(self, ws: Workspace, receipt: Document) -> Outcomes:
        return NOTHING_TOLD
