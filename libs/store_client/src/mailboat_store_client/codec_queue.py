"""The Queue port's types as protobuf messages and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from mailboat.storage.v1 import queue_pb2 as pb

from .codec import known, reverse
from .columns import I64, pack_numbers, unpack
from .framing import cut, frame, unframe
from .queue import (
    AttemptReport,
    Claimed,
    ClaimToken,
    Job,
    Outcome,
    Phases,
    QueuedRecipient,
    QueueId,
    RecipientReport,
    TlsMode,
    Transport,
)

_ID = 16
_PHASES = frozenset(field.name for field in fields(Phases))
TLS_MODES = {
    TlsMode.NONE: pb.TLS_MODE_NONE,
    TlsMode.MAY: pb.TLS_MODE_MAY,
    TlsMode.ENCRYPT: pb.TLS_MODE_ENCRYPT,
    TlsMode.VERIFY: pb.TLS_MODE_VERIFY,
    TlsMode.IMPLICIT: pb.TLS_MODE_IMPLICIT,
}
OUTCOMES = {
    Outcome.DELIVERED: pb.OUTCOME_DELIVERED,
    Outcome.DEFERRED: pb.OUTCOME_DEFERRED,
    Outcome.FAILED: pb.OUTCOME_FAILED,
}
_TLS_MODES_BACK = reverse(TLS_MODES)
_OUTCOMES_BACK = reverse(OUTCOMES)


def _sixteen(value: bytes) -> bytes:
    if len(value) != _ID:
        raise ValueError("an id or token isn't 16 bytes")
    return value


def to_jobs(jobs: Sequence[Job], worker: str, max_bytes: int, key: bytes) -> pb.ClaimRequest:
    """Question of Claim."""
    out = pb.ClaimRequest(worker=worker, max_bytes=max_bytes, key=key)
    for job in jobs:
        out.jobs.add(queue_id=job.queue_id, attempt=job.attempt, domain=job.domain)
    return out


def from_jobs(message: pb.ClaimRequest) -> list[Job]:
    """Question of Claim."""
    return [Job(QueueId(_sixteen(job.queue_id)), job.attempt, job.domain) for job in message.jobs]


def to_claims(claims: Sequence[Claimed | None]) -> list[bytes]:
    """Answer of Claim, framed, in pieces."""
    out = pb.ClaimResponse()
    for claim in claims:
        one = out.documents.add(claimed=claim is not None)
        if claim is not None:
            _to_claimed(claim, one)
    contents = [claim.content if claim is not None else None for claim in claims]
    out.sizes = pack_numbers(I64, [-1 if content is None else len(content) for content in contents])
    return frame(out.SerializeToString(), [content for content in contents if content])


def _to_claimed(claim: Claimed, out: pb.ClaimResponse.Document) -> None:
    out.queue_id = claim.queue_id
    out.attempt = claim.attempt
    out.token = claim.token
    out.lease_until = claim.lease_until
    out.trace_id = claim.trace_id
    out.domain = claim.domain
    out.transport.host = claim.transport.host
    out.transport.port = claim.transport.port
    out.transport.tls = TLS_MODES[claim.transport.tls]
    out.transport.username = claim.transport.username
    out.transport.password = claim.transport.password
    out.reverse_path = claim.reverse_path
    for recipient in claim.recipients:
        out.recipients.add(address=recipient.address, notify=recipient.notify, orcpt=recipient.orcpt)
    out.size = claim.size
    out.eight_bit = claim.eight_bit
    out.smtputf8 = claim.smtputf8
    out.envid = claim.envid
    out.ret = claim.ret
    out.expires_at = claim.expires_at


def from_claims(body: bytes) -> list[Claimed | None]:
    """Answer of Claim."""
    head, offset = unframe(body)
    message = pb.ClaimResponse.FromString(head)
    contents = cut(body, offset, unpack(I64, message.sizes))
    return [
        _from_claimed(one, content) if one.claimed else None
        for one, content in zip(message.documents, contents, strict=True)
    ]


def _from_claimed(one: pb.ClaimResponse.Document, content: bytes | None) -> Claimed:
    transport = one.transport
    return Claimed(
        queue_id=QueueId(_sixteen(one.queue_id)),
        attempt=one.attempt,
        token=ClaimToken(_sixteen(one.token)),
        lease_until=one.lease_until,
        trace_id=one.trace_id,
        domain=one.domain,
        transport=Transport(
            transport.host,
            transport.port,
            known(_TLS_MODES_BACK, transport.tls),
            transport.username,
            transport.password,
        ),
        reverse_path=one.reverse_path,
        recipients=tuple(QueuedRecipient(r.address, r.notify, r.orcpt) for r in one.recipients),
        size=one.size,
        content=content,
        eight_bit=one.eight_bit,
        smtputf8=one.smtputf8,
        envid=one.envid,
        ret=one.ret,
        expires_at=one.expires_at,
    )


def to_claim(queue_id: QueueId, token: ClaimToken) -> pb.Claim:
    """A claim's name."""
    return pb.Claim(queue_id=queue_id, token=token)


def from_claim(message: pb.Claim) -> tuple[QueueId, ClaimToken]:
    """A claim's name."""
    return QueueId(_sixteen(message.queue_id)), ClaimToken(_sixteen(message.token))


def to_reports(reports: Sequence[AttemptReport]) -> pb.ReportRequest:
    """Question of Report."""
    out = pb.ReportRequest()
    for report in reports:
        attempt = out.attempts.add(
            claim=to_claim(report.queue_id, report.token), final=report.final, phases=_to_phases(report.phases)
        )
        for one in report.recipients:
            attempt.recipients.add(
                address=one.address,
                outcome=OUTCOMES[one.outcome],
                status=one.status,
                reply=one.reply,
                reason=one.reason,
                host=one.host,
                tls=one.tls,
                dsn_passed_on=one.dsn_passed_on,
            )
    return out


def from_reports(message: pb.ReportRequest) -> list[AttemptReport]:
    """Question of Report."""
    return [
        AttemptReport(
            *from_claim(attempt.claim),
            tuple(
                RecipientReport(
                    one.address,
                    known(_OUTCOMES_BACK, one.outcome),
                    one.status,
                    one.reply,
                    one.reason,
                    one.host,
                    one.tls,
                    one.dsn_passed_on,
                )
                for one in attempt.recipients
            ),
            attempt.final,
            _from_phases(attempt.phases),
        )
        for attempt in message.attempts
    ]


def _to_phases(phases: Phases) -> pb.ReportRequest.Phases:
    return pb.ReportRequest.Phases(
        lookup=phases.lookup,
        wait=phases.wait,
        connect=phases.connect,
        tls=phases.tls,
        mail=phases.mail,
        data=phases.data,
        reply=phases.reply,
    )


def _from_phases(message: pb.ReportRequest.Phases) -> Phases:
    return Phases(**{field.name: value for field, value in message.ListFields() if field.name in _PHASES})
