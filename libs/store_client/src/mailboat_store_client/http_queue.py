"""The Queue port over HTTP. Every call may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError
from mailboat.storage.v1 import queue_pb2 as pb
from mailboat_common.errors import Internal

from . import codec_queue
from .channel import Channel
from .queue import AttemptReport, Claimed, ClaimToken, Job, QueueId

R = TypeVar("R")


class HttpQueue:
    """The Queue port."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def claim(self, jobs: Sequence[Job], worker: str, *, max_bytes: int, key: bytes) -> list[Claimed | None]:
        request = codec_queue.to_jobs(jobs, worker, max_bytes, key).SerializeToString()
        answer = await self._channel.call("QueueService/Claim", (request,))
        return _decoded(lambda: codec_queue.from_claims(answer))

    async def content(self, queue_id: QueueId, token: ClaimToken) -> bytes:
        request = pb.ContentRequest(claim=codec_queue.to_claim(queue_id, token)).SerializeToString()
        return await self._channel.call("QueueService/Content", (request,))

    async def renew(self, claims: Sequence[tuple[QueueId, ClaimToken]]) -> list[bool]:
        request = pb.RenewRequest(claims=[codec_queue.to_claim(*claim) for claim in claims]).SerializeToString()
        answer = await self._channel.call("QueueService/Renew", (request,))
        return _decoded(lambda: list(pb.RenewResponse.FromString(answer).renewed))

    async def report(self, reports: Sequence[AttemptReport]) -> list[bool]:
        request = codec_queue.to_reports(reports).SerializeToString()
        answer = await self._channel.call("QueueService/Report", (request,))
        return _decoded(lambda: list(pb.ReportResponse.FromString(answer).taken))


def _decoded(decode: Callable[[], R]) -> R:
    try:
        return decode()
    except (DecodeError, ValueError) as error:
        raise Internal(f"storage's answer doesn't parse: {error!r}") from error
