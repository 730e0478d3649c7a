"""Jobs of mail out on RabbitMQ: the quorum queue `mailboat.delivery` and what one of its messages says.

A job says only "try this queue document now, for the n-th time". It may be lost, late or doubled; the document decides.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from mailboat.events.v1 import events_pb2 as events
from mailboat_common.bus import WorkQueue

from .queue import Job, QueueId

DELIVERY = WorkQueue("mailboat.delivery")


def encode_job(job: Job) -> bytes:
    """The body of a job."""
    return events.DeliveryJob(queue_id=job.queue_id, attempt=job.attempt, domain=job.domain).SerializeToString()


def decode_job(body: bytes) -> Job:
    """A job. Raises ValueError if the body is none."""
    try:
        message = events.DeliveryJob.FromString(body)
    except DecodeError as error:
        raise ValueError("not a DeliveryJob") from error
    if len(message.queue_id) != 16 or not message.attempt:
        raise ValueError("a DeliveryJob without a document or an attempt")
    return Job(QueueId(message.queue_id), message.attempt, message.domain)
