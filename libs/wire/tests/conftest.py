"""What the wire tests share: a receiver driven by a policy, with any chunking."""

from collections.abc import Callable

import pytest
from mailboat_wire.imap import AppendFrame, ContinuationLine, Event, Frame, ImapReceiver, Limits, LiteralChunk

WIDE = Limits(line=1000, literal=500, literals=800, append=10_000, discard=2000, buffered=2000)


def pieces(data: bytes, step: int) -> list[bytes]:
    return [data[place : place + step] for place in range(0, len(data), step)]


def drive(data: bytes, step: int, limits: Limits = WIDE, *, refuse: bool = False) -> list[Event | bytes]:
    """All events of `data` given `step` bytes at a time. Message chunks are joined; IDLE is followed by expect_line().

    A bytes item is what accept_literal() asked to send.
    """
    receiver = ImapReceiver(limits)
    seen: list[Event | bytes] = []
    message = b""
    for piece in pieces(data, step):
        receiver.receive_data(piece)
        while (event := receiver.next_event()) is not None:
            if isinstance(event, AppendFrame):
                seen.append(event)
                if refuse:
                    receiver.refuse_literal()
                else:
                    seen.append(receiver.accept_literal())
                continue
            if isinstance(event, LiteralChunk):
                message += event.data
                if not event.last:
                    continue
                event, message = message, b""
            seen.append(event)
            if isinstance(event, Frame) and event.texts[0].endswith(b" IDLE"):
                receiver.expect_line()
            assert not isinstance(event, ContinuationLine) or receiver.between_commands
    return seen


@pytest.fixture(params=[1, 2, 7, 1 << 20], ids=["byte by byte", "by two", "by seven", "whole"])
def imap_events(request: pytest.FixtureRequest) -> Callable[..., list[Event | bytes]]:
    """`drive` with one chunking: a test that uses it runs with each."""
    return lambda data, limits=WIDE, **keywords: drive(data, request.param, limits, **keywords)
