"""Jobs from the broker to the report: the dispatcher on the in-memory queue, delivering to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from delivery_worker import metrics
from delivery_worker.budget import Budget
from delivery_worker.delivery import Work
from delivery_worker.destination import Destinations
from delivery_worker.jobs import Dispatcher, Pending, reached
from mailboat_common.bus import DeadLetter, HandBack
from mailboat_common.errors import Unavailable
from mailboat_store_client.jobs import encode_job
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.memory.queue import MemoryQueue
from mailboat_store_client.queue import AttemptReport, Claimed, Job, Outcome, QueueId, RecipientReport
from mailboat_store_client.types import NO_ACCOUNT, Envelope, EnvelopeRecipient

from tests.support.outbound import MESSAGE, Outbound, outbound
from tests.support.smtp_sink import PLAIN, Says, Sink, Stalls, smtp_sink

ZONE = """
*.example. 60 A 127.0.0.1
b.example. 60 MX 10 mx.b.example.
mx.b.example. 60 A 127.0.0.1
c.example. 60 A 127.0.0.1
"""


class Shaky:
    """A queue that is away when told to, and remembers who asked."""

    def __init__(self, inner: MemoryQueue) -> None:
        self.inner = inner
        self.away: dict[str, int] = {}
        self.calls: list[tuple[str, int]] = []
        self.keys: list[bytes] = []
        self.may_report = asyncio.Event()
        self.may_report.set()

    def _may_fail(self, name: str, size: int) -> None:
        self.calls.append((name, size))
        if self.away.get(name, 0):
            self.away[name] -= 1
            raise Unavailable("told to be away")

    async def claim(self, jobs: Sequence[Job], worker: str, *, max_bytes: int, key: bytes) -> list[Claimed | None]:
        self.keys.append(key)
        self._may_fail("claim", len(jobs))
        return await self.inner.claim(jobs, worker, max_bytes=max_bytes, key=key)

    async def content(self, queue_id: Any, token: Any) -> bytes:
        self._may_fail("content", 1)
        return await self.inner.content(queue_id, token)

    async def renew(self, claims: Sequence[Any]) -> list[bool]:
        self._may_fail("renew", len(claims))
        return await self.inner.renew(claims)

    async def report(self, reports: Sequence[AttemptReport]) -> list[bool]:
        self._may_fail("report", len(reports))
        await self.may_report.wait()
        return await self.inner.report(reports)


@dataclass
class Running:
    """A dispatcher with all that it works on."""

    sink: Sink
    out: Outbound
    queue: MemoryQueue
    shaky: Shaky
    dispatcher: Dispatcher

    def submit(self, *addresses: str, content: bytes = MESSAGE) -> list[bytes]:
        """Queue a message; the jobs that came of it."""
        before = set(self.queue.documents)
        recipients = [EnvelopeRecipient(address, NO_ACCOUNT) for address in addresses]
        self.queue.submit(ENVELOPE, recipients, content)
        return [encode_job(job) for job in self.queue.jobs() if job.queue_id not in before]

    async def work(self, jobs: Sequence[bytes]) -> list[BaseException | None]:
        """What becomes of the jobs."""
        return await asyncio.gather(*(self.dispatcher.work(job) for job in jobs), return_exceptions=True)


ENVELOPE = Envelope("0" * 26, "ann@a.example", (), b"", "submission")


@asynccontextmanager
async def running(*, at_once: int = 50, octets: int = 10_000_000, limit: int = 20) -> AsyncIterator[Running]:
    async with smtp_sink() as sink, outbound(ZONE, port=sink.port, limit=limit) as out:
        queue = MemoryStore().queue
        shaky = Shaky(queue)
        destinations = Destinations[Pending](limit=limit, room=at_once * 4)
        out.deliverer.routed = destinations.learn
        dispatcher = Dispatcher(shaky, out.deliverer, destinations, Budget(octets), worker="test", at_once=at_once)
        task = asyncio.create_task(dispatcher.run())
        try:
            yield Running(sink, out, queue, shaky, dispatcher)
        finally:
            task.cancel()
            await asyncio.wait([task])


def counted(result: str) -> float:
    return metrics.attempts.labels(result)._value.get()


async def test_jobs_are_claimed_delivered_and_reported_many_per_call() -> None:
    before = counted("delivered")
    async with running() as run:
        jobs = [job for number in range(60) for job in run.submit(f"p{number}@d{number % 20}.example")]
        assert await run.work(jobs) == [None] * 60
        assert len(run.sink.messages) == 60
        assert all(not document.waiting for document in run.queue.documents.values())
        assert sum(name == "claim" for name, _ in run.shaky.calls) < 30
        assert counted("delivered") == before + 60
        assert run.dispatcher.budget.free == 10_000_000


async def test_a_message_for_several_domains_is_a_document_for_each() -> None:
    async with running() as run:
        jobs = run.submit("bob@b.example", "eve@c.example", "ann@b.example")
        assert len(jobs) == 2
        await run.work(jobs)
        assert sorted(len(taken.rcpts) for taken in run.sink.messages) == [1, 2]


async def test_a_void_job_is_done_with() -> None:
    async with running() as run:
        (job,) = run.submit("bob@b.example")
        assert await run.work([job, job]) == [None, None]
        assert await run.work([job]) == [None]
        unknown = encode_job(Job(QueueId(b"x" * 16), 1, "b.example"))
        assert await run.work([unknown]) == [None]
        assert len(run.sink.messages) == 1


@pytest.mark.parametrize("body", [b"", b"\x00" * 1000, b"\xff", encode_job(Job(QueueId(b"x" * 16), 1, ""))])
async def test_what_is_no_job_goes_to_the_dead_letters(body: bytes) -> None:
    async with running() as run:
        with pytest.raises(DeadLetter):
            await run.dispatcher.work(body)


async def test_deferred_then_tried_again_for_the_rest() -> None:
    async with running() as run:
        run.sink.on["RCPT <eve@b.example>"] = [Says("450 4.2.1 Later")]
        await run.work(run.submit("bob@b.example", "eve@b.example"))
        ((_, document),) = run.queue.documents.items()
        assert list(document.waiting) == ["eve@b.example"]
        assert document.results["eve@b.example"].outcome is Outcome.DEFERRED
        await run.work([encode_job(job) for job in run.queue.jobs()])
        assert not document.waiting
        assert [len(taken.rcpts) for taken in run.sink.messages] == [1, 1]


async def test_contents_wait_for_room_in_memory() -> None:
    content = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n"
    async with running(octets=200) as run:
        jobs = [job for number in range(12) for job in run.submit(f"p{number}@d{number}.example", content=content)]
        jobs += run.submit("large@b.example", content=content * 10)
        assert await run.work(jobs) == [None] * 13
        assert len(run.sink.messages) == 13
        assert any(name == "content" for name, _ in run.shaky.calls)
        assert run.dispatcher.budget.free == 200


async def test_a_storage_authority_that_is_away_is_waited_for_and_nothing_is_sent_twice() -> None:
    async with running() as run:
        run.shaky.away = {"claim": 2, "report": 3}
        assert await run.work(run.submit("bob@b.example")) == [None]
        assert len(run.sink.messages) == 1
        assert not next(iter(run.queue.documents.values())).waiting
        assert len(set(run.shaky.keys)) == 1


async def test_a_lost_claim_is_broken_off_before_the_end_of_data() -> None:
    before = counted("broken_off")
    async with running() as run:
        run.sink.extensions = PLAIN
        (job,) = run.submit("bob@b.example")
        run.sink.on["RCPT"] = [Stalls()]
        task = asyncio.create_task(run.dispatcher.work(job))
        await run.sink.until(command="RCPT")
        (document,) = run.queue.documents.values()
        document.claimed = False  # as if its lease had ended and another had it
        run.out.clock.now += 1
        (lease,) = run.dispatcher.leases._held
        lease.until = run.dispatcher._clock() + 1
        await run.dispatcher.leases.renew_due()
        assert lease.lost
        next(iter(run.dispatcher._running)).cancel()
        with pytest.raises(HandBack):
            await task
        assert not run.sink.messages
    assert counted("broken_off") == before + 1


async def test_leases_are_renewed_many_per_call() -> None:
    async with running() as run:
        run.sink.extensions = PLAIN
        run.sink.on["DATA"] = Stalls()
        jobs = [job for number in range(5) for job in run.submit(f"p{number}@b.example")]
        tasks = [asyncio.create_task(run.dispatcher.work(job)) for job in jobs]
        await run.sink.until(command="DATA", times=5)
        for lease in run.dispatcher.leases._held:
            lease.until -= lease.seconds / 2
        assert all(run.dispatcher.leases.holds(lease) for lease in run.dispatcher.leases._held)
        run.shaky.away["renew"] = 1
        await run.dispatcher.leases.renew_due()
        await run.dispatcher.leases.renew_due()
        assert [size for name, size in run.shaky.calls if name == "renew"] == [5, 5]
        await run.dispatcher.leases.renew_due()
        assert [size for name, size in run.shaky.calls if name == "renew"] == [5, 5]
        await run.dispatcher.drain(asyncio.get_running_loop().time())
        assert len(await asyncio.gather(*tasks, return_exceptions=True)) == 5


async def test_the_end_of_the_process_hands_back_what_waits_and_breaks_off_what_hangs() -> None:
    async with running(limit=1) as run:
        run.sink.extensions = PLAIN
        jobs = [job for number in range(10) for job in run.submit(f"p{number}@b.example")]
        run.sink.on["RCPT"] = Stalls()
        tasks = [asyncio.create_task(run.dispatcher.work(job)) for job in jobs]
        await run.sink.until(command="RCPT")
        await run.dispatcher.drain(asyncio.get_running_loop().time())
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, HandBack) for error in ended)
        assert not run.sink.messages
        assert not any(document.claimed for document in run.queue.documents.values())
        with pytest.raises(HandBack):
            await run.dispatcher.work(jobs[0])


async def test_the_end_of_the_process_waits_for_an_answer_after_the_message() -> None:
    async with running() as run:
        run.sink.extensions = PLAIN
        answered = asyncio.Event()
        (job,) = run.submit("bob@b.example")
        task = asyncio.create_task(run.dispatcher.work(job))
        await run.sink.until(messages=1)
        drained = asyncio.create_task(run.dispatcher.drain(asyncio.get_running_loop().time() + 20))
        await asyncio.gather(task, drained)
        answered.set()
        assert not next(iter(run.queue.documents.values())).waiting


async def test_a_turn_ends_with_the_answer_and_not_with_the_report() -> None:
    async with running(limit=1) as run:
        run.shaky.may_report.clear()
        jobs = [job for number in range(4) for job in run.submit(f"p{number}@b.example")]
        tasks = [asyncio.create_task(run.dispatcher.work(job)) for job in jobs]
        await run.sink.until(messages=4)
        assert not any(task.done() for task in tasks), "a job is acknowledged after its report"
        assert len(run.dispatcher.leases._held) == 4, "claims are renewed until the report is committed"
        run.shaky.may_report.set()
        assert await asyncio.gather(*tasks) == [None] * 4
        assert not any(document.waiting for document in run.queue.documents.values())
        assert run.dispatcher.budget.free == 10_000_000


async def test_reports_that_wait_are_bounded_with_the_attempts() -> None:
    async with running(at_once=3) as run:
        run.shaky.may_report.clear()
        jobs = [job for number in range(8) for job in run.submit(f"p{number}@b.example")]
        tasks = [asyncio.create_task(run.dispatcher.work(job)) for job in jobs]
        await run.sink.until(messages=3)
        assert sum(document.claimed for document in run.queue.documents.values()) == 3
        run.shaky.may_report.set()
        assert await asyncio.gather(*tasks) == [None] * 8


@pytest.mark.parametrize(
    ("outcomes", "hop", "unreachable", "expected"),
    [
        ([Outcome.DELIVERED, Outcome.DEFERRED], "mx", False, True),
        ([Outcome.FAILED], "mx", False, True),
        ([Outcome.DEFERRED, Outcome.DEFERRED], "mx", False, False),
        ([Outcome.DEFERRED], "mx", True, False),
        ([Outcome.DELIVERED, Outcome.DEFERRED], "mx", True, False),
        ([], "mx", False, True),
        ([], "", False, None),
    ],
)
async def test_what_an_attempt_says_of_its_destination(
    outcomes: list[Outcome], hop: str, unreachable: bool, expected: bool | None
) -> None:
    queue = MemoryStore().queue
    queue.submit(ENVELOPE, [EnvelopeRecipient("bob@b.example", NO_ACCOUNT)], MESSAGE)
    (claimed,) = await queue.claim(queue.jobs(), "w", max_bytes=0, key=bytes(16))
    assert claimed is not None
    work = Work(claimed, no_content, lambda: True, no_report, hop=hop, unreachable=unreachable)
    work.results = [RecipientReport("bob@b.example", outcome, "") for outcome in outcomes]
    assert reached(work) is expected


async def no_content() -> bytes:
    return b""


async def no_report(_results: Sequence[RecipientReport], _final: bool) -> None:
    return None


async def test_a_destination_that_hangs_does_not_hold_up_the_others() -> None:
    async with running(at_once=30, limit=8) as run:
        run.sink.extensions = PLAIN
        for number in range(50):
            run.sink.on[f"RCPT <slow{number}@b.example>"] = Stalls()
        slow = [job for number in range(50) for job in run.submit(f"slow{number}@b.example")]
        tasks = [asyncio.create_task(run.dispatcher.work(job)) for job in slow]
        await run.sink.until(command="RCPT", times=5)
        quick = [job for number in range(40) for job in run.submit(f"p{number}@c{number % 9}.example")]
        assert await run.work(quick) == [None] * 40
        assert len(run.sink.messages) == 40
        assert not any(task.done() for task in tasks)
        await run.dispatcher.drain(asyncio.get_running_loop().time())
        await asyncio.gather(*tasks, return_exceptions=True)
