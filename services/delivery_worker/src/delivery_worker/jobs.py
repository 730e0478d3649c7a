"""What becomes of a job from RabbitMQ.

Jobs arrive through the quorum queue `mailboat.delivery`. A job only says "try this queue document now"; the document
in MongoDB is the truth, so a job whose document can't exist is never acknowledged as if it had been done: it goes to
the dead-letter queue `mailboat.delivery.dead`, where an operator sees it.

No release writes queue documents yet (submission refuses remote recipients with 450), so every job is such a one.
"""

from __future__ import annotations

from mailboat_common.bus import DeadLetter, WorkQueue

from . import metrics

QUEUE = WorkQueue("mailboat.delivery")
REJECTED = metrics.attempts.labels("rejected")


async def work(body: bytes) -> None:
    """Refuse the job. Raises DeadLetter."""
    REJECTED.inc()
    raise DeadLetter(f"a job of {len(body)} octets, but no queue documents exist yet")
