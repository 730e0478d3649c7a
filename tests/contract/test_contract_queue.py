"""Contract of mail out: submission's remote recipients, claims, leases and reports."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import trace_id, uuid7
from mailboat_store_client.queue import (
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
from mailboat_store_client.types import NO_ACCOUNT, DeliveryStatus, Envelope, EnvelopeRecipient

from tests.support.contract import MESSAGE, World, key

MAX_BYTES = 1 << 20


def submission(world: World, *addresses: str, content: bytes = MESSAGE, smtputf8: bool = False) -> Envelope:
    return Envelope(
        trace_id(),
        "a@example.test",
        tuple(EnvelopeRecipient(address, NO_ACCOUNT, None, "FAILURE", f"rfc822;{address}") for address in addresses),
        hashlib.sha256(content).digest(),
        "submission",
        smtputf8=smtputf8,
        envid="E1",
        ret="HDRS",
        account_id=world.account,
    )


async def submit(world: World, *addresses: str, content: bytes = MESSAGE) -> tuple[str, list[Job]]:
    envelope = submission(world, *addresses, content=content)
    await world.store.delivery.deliver(envelope, content)
    return envelope.trace_id, await world.mail_out.jobs(envelope.trace_id)


async def claim(world: World, jobs: Sequence[Job], max_bytes: int = MAX_BYTES) -> list[Claimed | None]:
    return await world.store.queue.claim(jobs, "worker-1", max_bytes=max_bytes, key=key())


async def claim_one(world: World, job: Job) -> Claimed:
    (claimed,) = await claim(world, [job])
    assert claimed is not None
    return claimed


def report(claimed: Claimed, *results: RecipientReport, final: bool = True) -> AttemptReport:
    return AttemptReport(claimed.queue_id, claimed.token, results, final)


async def test_a_report_may_say_how_long_its_parts_took(world: World) -> None:
    _, (job,) = await submit(world, "x@far.example")
    claimed = await claim_one(world, job)
    timed = replace(report(claimed, delivered("x@far.example")), phases=Phases(lookup=0, mail=2**31, reply=7))
    assert await world.store.queue.report([timed]) == [True]


def delivered(address: str) -> RecipientReport:
    return RecipientReport(address, Outcome.DELIVERED, "2.0.0", "250 2.0.0 Ok", "", "mx.far.example [192.0.2.1]:25")


def deferred(address: str) -> RecipientReport:
    return RecipientReport(address, Outcome.DEFERRED, "4.2.0", "450 4.2.0 Later")


async def test_remote_recipients_of_a_submission_are_queued_by_domain(world: World) -> None:
    envelope = submission(world, "x@far.example", "z@near.example", "y@FAR.example")
    result = await world.store.delivery.deliver(envelope, MESSAGE)
    assert [(r.address, r.status) for r in result.recipients] == [
        (r.address, DeliveryStatus.QUEUED) for r in envelope.recipients
    ]
    jobs = await world.mail_out.jobs(envelope.trace_id)
    assert [(job.domain, job.attempt) for job in jobs] == [("far.example", 1), ("near.example", 1)]
    far, near = await claim(world, jobs)
    assert far is not None
    assert near is not None
    assert far.recipients == (
        QueuedRecipient("x@far.example", "FAILURE", "rfc822;x@far.example"),
        QueuedRecipient("y@FAR.example", "FAILURE", "rfc822;y@FAR.example"),
    )
    assert (far.trace_id, far.reverse_path, far.envid, far.ret) == (envelope.trace_id, "a@example.test", "E1", "HDRS")
    assert far.content == near.content == MESSAGE
    assert far.size == len(MESSAGE)
    assert far.transport == Transport()
    assert not far.eight_bit
    assert not far.smtputf8
    assert far.expires_at > far.lease_until


async def test_local_and_remote_recipients_of_one_submission(world: World) -> None:
    mail = submission(world, "x@far.example")
    both = replace(mail, recipients=(EnvelopeRecipient("a@example.test", world.account), *mail.recipients))
    result = await world.store.delivery.deliver(both, MESSAGE)
    assert [r.status for r in result.recipients] == [DeliveryStatus.FILED, DeliveryStatus.QUEUED]
    assert (await world.inbox()).head.messages == 1
    assert len(await world.mail_out.jobs(mail.trace_id)) == 1


async def test_nobody_is_relayed_for(world: World) -> None:
    mail = replace(submission(world, "x@far.example"), account_id=NO_ACCOUNT)
    with pytest.raises(Refused) as refused:
        await world.store.delivery.deliver(mail, MESSAGE)
    assert refused.value.code is RefusedCode.NOT_PERMITTED
    assert await world.mail_out.jobs(mail.trace_id) == []


async def test_an_account_that_was_disabled_sends_no_more(world: World) -> None:
    mail = submission(world, "x@far.example")
    await world.disable(world.account)
    with pytest.raises(Refused) as refused:
        await world.store.delivery.deliver(mail, MESSAGE)
    assert refused.value.code is RefusedCode.NOT_PERMITTED


async def test_the_same_submission_again_has_no_second_effect(world: World) -> None:
    mail = submission(world, "x@far.example", "z@near.example")
    first = await world.store.delivery.deliver(mail, MESSAGE)
    assert await world.store.delivery.deliver(mail, MESSAGE) == first
    assert len(await world.mail_out.jobs(mail.trace_id)) == 2


async def test_a_submission_offered_again_before_its_250_was_read_is_queued_once(world: World) -> None:
    first, second, third = (submission(world, "x@far.example") for _ in range(3))
    await world.store.delivery.deliver(first, MESSAGE)
    (again,) = (await world.store.delivery.deliver(second, MESSAGE)).recipients
    assert (again.status, again.duplicate_of) == (DeliveryStatus.DUPLICATE, first.trace_id)
    assert await world.mail_out.jobs(second.trace_id) == []
    await world.store.delivery.confirm([first.trace_id])
    (on_purpose,) = (await world.store.delivery.deliver(third, MESSAGE)).recipients
    assert on_purpose.status is DeliveryStatus.QUEUED


async def test_an_address_named_twice_gets_one_copy(world: World) -> None:
    _, (job,) = await submit(world, "x@far.example", "x@far.example")
    assert [r.address for r in (await claim_one(world, job)).recipients] == ["x@far.example"]


async def test_what_the_message_needs_of_the_remote_server(world: World) -> None:
    text = "From: a@example.test\r\nSubject: plain\r\n\r\nGrüße\r\n".encode()
    _, (job,) = await submit(world, "x@far.example", content=text)
    claimed = await claim_one(world, job)
    assert (claimed.eight_bit, claimed.smtputf8) == (True, False)
    content = "From: a@example.test\r\nSubject: Grüße\r\n\r\nx\r\n".encode()
    mail = submission(world, "x@far.example", content=content, smtputf8=True)
    await world.store.delivery.deliver(mail, content)
    claimed = await claim_one(world, (await world.mail_out.jobs(mail.trace_id))[0])
    assert (claimed.eight_bit, claimed.smtputf8) == (True, True)


async def test_a_large_message_is_fetched_by_itself(world: World) -> None:
    content = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 150_000
    _, jobs = await submit(world, "x@far.example", "z@near.example", content=content)
    for claimed in await claim(world, jobs, len(content) - 1):
        assert claimed is not None
        assert (claimed.content, claimed.size) == (None, len(content))
        assert await world.store.queue.content(claimed.queue_id, claimed.token) == content


async def test_content_only_under_the_claim(world: World) -> None:
    _, (job,) = await submit(world, "x@far.example")
    claimed = await claim_one(world, job)
    with pytest.raises(Refused) as refused:
        await world.store.queue.content(claimed.queue_id, ClaimToken(key()))
    assert refused.value.code is RefusedCode.NO_MESSAGE


async def test_max_bytes_bounds_all_contents_of_an_answer(world: World) -> None:
    _, jobs = await submit(world, "x@far.example", "y@mid.example", "z@near.example")
    claims = await claim(world, jobs, 2 * len(MESSAGE))
    assert sorted(c.content is None for c in claims if c is not None) == [False, False, True]


async def test_a_document_is_claimed_once(world: World) -> None:
    _, (job,) = await submit(world, "x@far.example")
    assert await claim_one(world, job)
    assert await claim(world, [job]) == [None]
    assert await claim(world, [Job(QueueId(uuid7()), 1, "far.example")]) == [None]


async def test_a_repeated_claim_gets_the_same_claims(world: World) -> None:
    _, jobs = await submit(world, "x@far.example", "z@near.example")
    same = key()
    first = await world.store.queue.claim(jobs, "worker-1", max_bytes=MAX_BYTES, key=same)
    again = await world.store.queue.claim(jobs, "worker-1", max_bytes=MAX_BYTES, key=same)
    assert [c and (c.queue_id, c.token) for c in again] == [c and (c.queue_id, c.token) for c in first]


async def test_a_job_of_another_attempt_is_void(world: World) -> None:
    trace, (job,) = await submit(world, "x@far.example")
    assert await claim(world, [replace(job, attempt=2), replace(job, attempt=0)]) == [None, None]
    claimed = await claim_one(world, job)
    assert await world.store.queue.report([report(claimed, deferred("x@far.example"))]) == [True]
    assert await claim(world, [job]) == [None]
    (next_job,) = await world.mail_out.jobs(trace)
    assert next_job == replace(job, attempt=2)
    assert (await claim_one(world, next_job)).attempt == 2


async def test_a_held_document_isnt_claimed(world: World) -> None:
    trace, (job,) = await submit(world, "x@far.example")
    await world.mail_out.hold(job.queue_id)
    assert await claim(world, [job]) == [None]
    assert await world.mail_out.jobs(trace) == []


async def test_recipients_are_reported_one_by_one(world: World) -> None:
    trace, (job,) = await submit(world, "x@far.example", "y@far.example", "z@far.example")
    claimed = await claim_one(world, job)
    some = report(claimed, delivered("x@far.example"), final=False)
    assert await world.store.queue.report([some]) == [True]
    assert await world.store.queue.report([some]) == [True]
    failed = RecipientReport("y@far.example", Outcome.FAILED, "5.1.1", "550 5.1.1 No such user")
    assert await world.store.queue.report([report(claimed, failed)]) == [True]
    (next_job,) = await world.mail_out.jobs(trace)
    again = await claim_one(world, next_job)
    assert [r.address for r in again.recipients] == ["z@far.example"], "the attempt was broken off for it"


async def test_a_delivered_message_is_never_tried_again(world: World) -> None:
    trace, (job,) = await submit(world, "x@far.example")
    claimed = await claim_one(world, job)
    assert await world.store.queue.report([report(claimed, delivered("x@far.example"))]) == [True]
    assert await world.mail_out.jobs(trace) == []
    assert await claim(world, [job, replace(job, attempt=2)]) == [None, None]
    again = report(claimed, deferred("x@far.example"))
    assert await world.store.queue.report([again]) == [True], "a repeat is no error"
    assert await world.mail_out.jobs(trace) == []


async def test_a_stale_token_changes_nothing(world: World) -> None:
    trace, (job,) = await submit(world, "x@far.example")
    first = await claim_one(world, job)
    await world.mail_out.end_lease(first.queue_id)
    (next_job,) = await world.mail_out.jobs(trace)
    assert next_job.attempt == 2
    second = await claim_one(world, next_job)
    assert await world.store.queue.report([report(first, delivered("x@far.example"))]) == [False]
    assert await world.store.queue.renew([(first.queue_id, first.token)]) == [False]
    with pytest.raises(Refused):
        await world.store.queue.content(first.queue_id, first.token)
    assert await world.store.queue.report([report(second, delivered("x@far.example"))]) == [True]
    nobody = AttemptReport(QueueId(uuid7()), ClaimToken(key()), (), True)
    assert await world.store.queue.report([nobody]) == [False]


async def test_a_late_report_is_believed_while_nobody_else_has_the_claim(world: World) -> None:
    trace, (job,) = await submit(world, "x@far.example")
    claimed = await claim_one(world, job)
    await world.mail_out.end_lease(claimed.queue_id)
    assert len(await world.mail_out.jobs(trace)) == 1
    assert await world.store.queue.renew([(claimed.queue_id, claimed.token)]) == [False]
    assert await world.store.queue.report([report(claimed, delivered("x@far.example"))]) == [True]
    assert await world.mail_out.jobs(trace) == []


async def test_a_lease_is_renewed_for_those_who_hold_it(world: World) -> None:
    _, jobs = await submit(world, "x@far.example", "z@near.example")
    claims = [(c.queue_id, c.token) for c in await claim(world, jobs) if c is not None]
    stranger = (claims[0][0], ClaimToken(key()))
    assert await world.store.queue.renew([claims[0], stranger, claims[1]]) == [True, False, True]
    assert await world.store.queue.renew([]) == []


async def test_many_reports_in_one_call(world: World) -> None:
    trace, jobs = await submit(world, *(f"x@d{n}.example" for n in range(30)))
    claims = [c for c in await claim(world, jobs) if c is not None]
    assert len(claims) == 30
    reports = [report(c, delivered(c.recipients[0].address)) for c in claims]
    assert await world.store.queue.report(reports) == [True] * 30
    assert await world.mail_out.jobs(trace) == []


async def test_the_transport_table_decides_where_mail_goes(world: World) -> None:
    relay = Transport("relay.example", 587, TlsMode.VERIFY, "us", "secret")
    await world.mail_out.route("routed.example", relay)
    _, jobs = await submit(world, "x@routed.example", "z@unrouted.example")
    routed, other = await claim(world, jobs)
    assert routed is not None
    assert other is not None
    assert routed.transport == relay
    assert other.transport == Transport()
    assert "secret" not in repr(routed)
