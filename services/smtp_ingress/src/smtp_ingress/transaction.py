"""One mail transaction: the envelope, and the message while it comes in.

Octets are held under the process's budget; a message that breaks a bound is thrown away at once, but its data is still
read to the end, because only then may the reply be given (RFC 5321 4.2.5).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mailboat_wire.smtp import LineEndCheck

from . import reply as replies

if TYPE_CHECKING:
    from mailboat_common.limits import ByteBudget
    from mailboat_store_client.types import EnvelopeRecipient

    from .reply import Reply

BUDGET_SECONDS = 60.0


class Transaction:
    """Opened by MAIL. `chunked` once BDAT has begun; `fault` is the reply that awaits a message that can't be taken.

    `began` (MAIL), `data` and `data_end` are ms since the epoch.
    """

    __slots__ = (
        "_budget",
        "_chunks",
        "_limit",
        "_line_ends",
        "began",
        "chunked",
        "data",
        "data_end",
        "envid",
        "fault",
        "recipients",
        "ret",
        "reverse_path",
        "size",
        "smtputf8",
    )

    def __init__(
        self,
        budget: ByteBudget,
        limit: int,
        *,
        reverse_path: str,
        smtputf8: bool = False,
        ret: str = "",
        envid: str = "",
        began: int = 0,
    ) -> None:
        self._budget = budget
        self._limit = limit
        self._chunks: list[bytes] = []
        self._line_ends = LineEndCheck()
        self.reverse_path = reverse_path
        self.smtputf8 = smtputf8
        self.ret = ret
        self.envid = envid
        self.began = began
        self.data = 0
        self.data_end = 0
        self.recipients: list[EnvelopeRecipient] = []
        self.chunked = False
        self.fault: Reply | None = None
        self.size = 0

    async def add(self, chunk: bytes) -> None:
        """Keep the next octets. While the process holds too much, this waits, and so nothing is read."""
        if self.fault is not None or not chunk:
            return
        if self.size + len(chunk) > self._limit:
            self.refuse(replies.TOO_BIG)
        elif not await self._budget.acquire(len(chunk), BUDGET_SECONDS):
            self.refuse(replies.TOO_BUSY)
        else:
            self.size += len(chunk)
            self._chunks.append(chunk)

    async def add_chunk(self, piece: bytes) -> None:
        """`add` for a piece of a BDAT chunk, whose line ends nobody has checked yet."""
        self._line_ends.feed(piece)
        await self.add(piece)

    def bare_line_end(self) -> bool:
        """Whether the chunks hold a bare CR or LF."""
        return self._line_ends.finish()

    def refuse(self, fault: Reply) -> None:
        """Throw the octets away; `fault` is answered when the data ends."""
        self.release()
        self.fault = fault

    def content(self) -> bytes:
        """The message as it came."""
        if len(self._chunks) != 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0]

    def sha256(self) -> bytes:
        """Of the message as it came."""
        return hashlib.sha256(self.content()).digest()

    def release(self) -> None:
        """Give the octets back."""
        self._budget.release(self.size)
        self._chunks = []
        self.size = 0
