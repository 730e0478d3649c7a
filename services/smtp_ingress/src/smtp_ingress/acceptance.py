"""From the end of the data to the reply: content checks, trace fields, one Deliver call.

The rules of the answer: 250 only if every recipient is filed, queued, kept in an `accepted` document, or has the
message already from a transaction whose 250 the client never confirmed. If one can't be served now, all of it is asked
for again (451): the recipients that were filed are then known by their duplicate key, so nobody gets it twice.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mailboat_common import crash
from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.ids import trace_id
from mailboat_common.log import get_logger
from mailboat_mime import count_received, header_block
from mailboat_store_client.types import NO_ACCOUNT, Answered, DeliverResult, DeliveryStatus, Envelope, Reception

from . import metrics, submission
from . import reply as replies
from .received import Hop, trace_fields

if TYPE_CHECKING:
    from .reply import Reply
    from .session import Session
    from .transaction import Transaction

log = get_logger(__name__)

MAX_HEADER = 256 * 1024
MAX_RECEIVED = 100
_HEADER_TOO_BIG = replies.reply(552, "5.3.4", "Header block is too big")
_LOOP = replies.reply(554, "5.4.6", "Too many Received fields, mail is looping")
_FROM_NOT_OWNED = replies.reply(550, "5.7.1", "From address is not yours")
_NO_FROM = replies.reply(550, "5.6.0", "Message has no From address")
_GONE = replies.reply(550, "5.1.1", "No such user here")
_CAME_BACK = replies.reply(554, "5.4.6", "The message went through this group before, mail is looping")
_AGAIN = replies.reply(451, "4.2.0", "Not every recipient could be served, try again")
_KEPT = (DeliveryStatus.FILED, DeliveryStatus.ACCEPTED, DeliveryStatus.DUPLICATE, DeliveryStatus.QUEUED)


async def accept(session: Session, transaction: Transaction) -> Reply:
    """The final reply to DATA or BDAT LAST; ends the transaction."""
    try:
        answer = transaction.fault or await _accept(session, transaction)
    except Refused as error:
        log.info("message refused", cause=str(error))
        answer = replies.STORAGE_FULL if error.code is RefusedCode.STORAGE_FULL else replies.UNAVAILABLE
    except Failure as error:
        log.warning("store failed at delivery", cause=str(error))
        answer = replies.UNAVAILABLE
    finally:
        session.end_transaction()
    kind = {2: "accepted", 4: "deferred"}.get(answer.code // 100, "rejected")
    metrics.messages.labels(session.peer.listener.name, kind).inc()
    return answer


async def _accept(session: Session, transaction: Transaction) -> Reply:
    content = transaction.content()
    block = header_block(content[: MAX_HEADER + 4])
    if len(block) > MAX_HEADER:
        return _HEADER_TOO_BIG
    if count_received(block) >= MAX_RECEIVED:
        return _LOOP
    added = b""
    if session.account_id is not None:
        fault = await _check_from(session, block)
        if fault is not None:
            return fault
        added = submission.missing_fields(block, session.service.settings.hostname, time.time())
    trace = trace_id()
    fields = _trace_fields(session, transaction, trace)
    confirmed, answered = session.take_confirmed()
    envelope = Envelope(
        trace,
        transaction.reverse_path,
        tuple(transaction.recipients),
        transaction.sha256(),
        session.peer.listener.name,
        session.client,
        session.helo,
        session.login,
        transaction.smtputf8,
        transaction.envid,
        transaction.ret,
        confirmed,
        session.account_id or NO_ACCOUNT,
        _reception(session, transaction),
        answered,
    )
    size = transaction.size
    start = time.perf_counter()
    result = await session.service.store.delivery.deliver(envelope, b"".join((fields, added, content)))
    metrics.duration.labels("deliver").observe(time.perf_counter() - start)
    crash.point("smtp.before_250")
    answer = _answer(trace, result)
    log.info(
        "message",
        trace_id=trace,
        listener=session.peer.listener.name,
        client=session.client,
        size=size,
        recipients=len(transaction.recipients),
        reply=answer.code,
    )
    session.answered.append(Answered(trace, session.moments.now(), answer.data.decode().strip()))
    if answer.code == 250:
        metrics.size.observe(size)
        session.unconfirmed = trace
    return answer


def _reception(session: Session, transaction: Transaction) -> Reception:
    """What the trace tells of the way here."""
    moments = session.moments
    return Reception(
        moments.connected,
        moments.first_command,
        moments.secured,
        transaction.began,
        transaction.data,
        transaction.data_end,
        session.tls,
        session.transactions,
    )


async def _check_from(session: Session, block: bytes) -> Reply | None:
    senders = submission.from_addresses(block)
    if not senders:
        return _NO_FROM
    assert session.account_id is not None
    owned = await session.service.store.directory.owns(session.account_id, senders)
    return None if all(owned) else _FROM_NOT_OWNED


def _trace_fields(session: Session, transaction: Transaction, trace: str) -> bytes:
    hop = Hop(
        session.service.settings.hostname,
        session.helo,
        session.client,
        session.esmtp,
        session.tls,
        session.account_id is not None,
        transaction.smtputf8,
    )
    only = transaction.recipients[0].address if len(transaction.recipients) == 1 else None
    return trace_fields(hop, trace, transaction.reverse_path, only, time.time())


def _answer(trace: str, result: DeliverResult) -> Reply:
    statuses = {recipient.status for recipient in result.recipients}
    if statuses == {DeliveryStatus.LOOP}:
        return _CAME_BACK
    statuses.discard(DeliveryStatus.LOOP)  # that recipient has it; the others decide
    if statuses <= set(_KEPT):
        first = {recipient.duplicate_of for recipient in result.recipients}
        if statuses == {DeliveryStatus.DUPLICATE} and len(first) == 1:
            return replies.reply(250, "2.0.0", f"Ok: id {trace} duplicate of {first.pop()}")
        return replies.reply(250, "2.0.0", f"Ok: id {trace}")
    if DeliveryStatus.UNAVAILABLE in statuses:
        return replies.UNAVAILABLE
    if statuses == {DeliveryStatus.OVER_QUOTA}:
        return replies.OVER_QUOTA
    if statuses == {DeliveryStatus.GONE}:
        return _GONE
    return _AGAIN
