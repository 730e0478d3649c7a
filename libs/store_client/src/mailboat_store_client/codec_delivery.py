"""Mail in, and what traces are told of it, as protobuf messages and back; the rules are `codec`'s."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailboat.storage.v1 import delivery_pb2 as delivery

from .codec import known, reverse
from .types import (
    AccountId,
    Answered,
    DeliverResult,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    MailboxId,
    Reception,
    RecipientResult,
)

DELIVERY_STATUSES = {
    DeliveryStatus.FILED: delivery.DELIVERY_STATUS_FILED,
    DeliveryStatus.ACCEPTED: delivery.DELIVERY_STATUS_ACCEPTED,
    DeliveryStatus.DUPLICATE: delivery.DELIVERY_STATUS_DUPLICATE,
    DeliveryStatus.OVER_QUOTA: delivery.DELIVERY_STATUS_OVER_QUOTA,
    DeliveryStatus.GONE: delivery.DELIVERY_STATUS_GONE,
    DeliveryStatus.UNAVAILABLE: delivery.DELIVERY_STATUS_UNAVAILABLE,
    DeliveryStatus.QUEUED: delivery.DELIVERY_STATUS_QUEUED,
    DeliveryStatus.LOOP: delivery.DELIVERY_STATUS_LOOP,
}
_DELIVERY_STATUSES_BACK = reverse(DELIVERY_STATUSES)


def to_envelope(envelope: Envelope, size: int) -> delivery.DeliverRequest:
    """Question of Deliver, without the mail's bytes."""
    out = delivery.DeliverRequest(
        trace_id=envelope.trace_id,
        reverse_path=envelope.reverse_path,
        content_sha256=envelope.content_sha256,
        listener=envelope.listener,
        client=envelope.client,
        helo=envelope.helo,
        authenticated=envelope.authenticated,
        smtputf8=envelope.smtputf8,
        envid=envelope.envid,
        ret=envelope.ret,
        size=size,
        confirmed=envelope.confirmed,
        account_id=envelope.account_id,
        reception=None if envelope.reception is None else _to_reception(envelope.reception),
        answered=to_answered(envelope.answered),
    )
    for one in envelope.recipients:
        out.recipients.add(
            address=one.address,
            account_id=one.account_id,
            mailbox=one.mailbox or "",
            notify=one.notify,
            orcpt=one.orcpt,
        )
    return out


def from_envelope(message: delivery.DeliverRequest) -> Envelope:
    """Question of Deliver, without the mail's bytes."""
    return Envelope(
        trace_id=message.trace_id,
        reverse_path=message.reverse_path,
        recipients=tuple(
            EnvelopeRecipient(one.address, AccountId(one.account_id), one.mailbox or None, one.notify, one.orcpt)
            for one in message.recipients
        ),
        content_sha256=message.content_sha256,
        listener=message.listener,
        client=message.client,
        helo=message.helo,
        authenticated=message.authenticated,
        smtputf8=message.smtputf8,
        envid=message.envid,
        ret=message.ret,
        confirmed=tuple(message.confirmed),
        account_id=AccountId(message.account_id),
        reception=_from_reception(message.reception) if message.HasField("reception") else None,
        answered=from_answered(message.answered),
    )


def _to_reception(reception: Reception) -> delivery.Reception:
    return delivery.Reception(
        connected=reception.connected,
        first_command=reception.first_command,
        secured=reception.secured,
        mail=reception.mail,
        data=reception.data,
        data_end=reception.data_end,
        tls=reception.tls,
        number=reception.number,
    )


def _from_reception(message: delivery.Reception) -> Reception:
    return Reception(
        message.connected,
        message.first_command,
        message.secured,
        message.mail,
        message.data,
        message.data_end,
        message.tls,
        message.number,
    )


def to_answered(answered: Sequence[Answered]) -> list[delivery.Answered]:
    """What clients were told."""
    return [delivery.Answered(trace_id=one.trace_id, at=one.at, reply=one.reply) for one in answered]


def from_answered(messages: Iterable[delivery.Answered]) -> tuple[Answered, ...]:
    """What clients were told."""
    return tuple(Answered(one.trace_id, one.at, one.reply) for one in messages)


def to_deliver_result(result: DeliverResult) -> delivery.DeliverResponse:
    """Answer of Deliver."""
    out = delivery.DeliverResponse()
    for one in result.recipients:
        out.recipients.add(
            address=one.address,
            status=DELIVERY_STATUSES[one.status],
            uid=one.uid,
            mailbox_id=one.mailbox_id or b"",
            duplicate_of=one.duplicate_of,
        )
    return out


def from_deliver_result(message: delivery.DeliverResponse) -> DeliverResult:
    """Answer of Deliver."""
    return DeliverResult(
        tuple(
            RecipientResult(
                one.address,
                known(_DELIVERY_STATUSES_BACK, one.status),
                one.uid,
                MailboxId(one.mailbox_id) if one.mailbox_id else None,
                one.duplicate_of,
            )
            for one in message.recipients
        )
    )
