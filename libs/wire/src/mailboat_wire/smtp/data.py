"""The message after DATA, read in blocks; and the same check for BDAT.

RFC 5321 4.1.1.4, 4.5.2 (transparency), 2.3.8 (line ends); RFC 3030 (BDAT).

Rules: only CRLF.CRLF ends DATA, whatever else looks like it (a bare LF or CR anywhere makes the message one to refuse,
550 5.6.0, after its end: it is never split there, so nothing can be smuggled past us). Any chunking gives the same
result. Work is done per block by the library's searches, not per line.
"""

from __future__ import annotations

import enum

_END = b"\r\n.\r\n"


class DataFault(enum.Enum):
    """Why the message must be refused once it has ended."""

    BARE_LINE_END = "bare line end"
    TOO_BIG = "too big"


def _has_bare(piece: bytes) -> bool:
    """Whether CR or LF stands alone. `piece` neither begins nor ends within a CRLF.

    Taking every CR out and putting one before each LF gives the same bytes only if all of them were pairs. (Both steps
    are memchr; counting pairs takes four times longer.)
    """
    return piece.replace(b"\r", b"").replace(b"\n", b"\r\n") != piece


class DataReader:
    """DATA's reader: `feed()` until `done`.

    `size` counts the message's bytes so far (unstuffed). After a `fault` nothing more is returned, but the end is
    still found.
    """

    __slots__ = ("_carry", "_max_size", "_virtual", "done", "fault", "rest", "size")

    def __init__(self, max_size: int | None = None) -> None:
        self._max_size = max_size
        # The CRLF of the DATA command counts as the line end before the first line: it is carried in, not given out.
        self._carry = b"\r\n"
        self._virtual = 2
        self.done = False
        self.fault: DataFault | None = None
        self.size = 0
        self.rest = b""  # what came after the end: the next commands

    def feed(self, data: bytes) -> bytes:
        """Take what the peer sent; return the message's bytes that are certain now (perhaps none)."""
        if self.done:
            self.rest += data
            return b""
        block = self._carry + data if self._carry else data
        # Base64 has no dot at all, which costs nothing to see; and the library searches backwards faster than forwards.
        dotted = b"." in block and block.rfind(b"\r\n.") >= 0
        end = block.find(_END) if dotted else -1
        if end >= 0:
            self.done = True
            self.rest = block[end + len(_END) :]
            piece = block[: end + 2]
            self._carry = b""
        else:
            keep = _partial_end(block)
            self._carry = block[len(block) - keep :] if keep else b""
            piece = block[: len(block) - keep] if keep else block
        return self._emit(piece, dotted=dotted)

    def _emit(self, piece: bytes, *, dotted: bool) -> bytes:
        if self.fault is not DataFault.BARE_LINE_END and _has_bare(piece):  # it counts more, wherever a block ends
            self.fault = DataFault.BARE_LINE_END
        if dotted:
            piece = piece.replace(b"\r\n.", b"\r\n")
        if self._virtual and piece:
            piece = piece[self._virtual :]
            self._virtual = 0
        self.size += len(piece)
        if self.fault is None and self._max_size is not None and self.size > self._max_size:
            self.fault = DataFault.TOO_BIG
        return piece if self.fault is None else b""


def _partial_end(block: bytes) -> int:
    """How many of the last bytes may yet turn out to begin CRLF.CRLF."""
    for length in (4, 3, 2, 1):
        if block.endswith(_END[:length]):
            return length
    return 0


class LineEndCheck:
    """Finds bare CR and LF in the chunks of BDAT, which aren't dot-stuffed: `feed()` each, `finish()` at LAST."""

    __slots__ = ("_cr", "bare")

    def __init__(self) -> None:
        self._cr = False
        self.bare = False

    def feed(self, data: bytes) -> None:
        if self.bare or not data:
            return
        if self._cr:
            data = b"\r" + data
        self._cr = data.endswith(b"\r")
        self.bare = _has_bare(data[:-1] if self._cr else data)

    def finish(self) -> bool:
        """Whether there was a bare CR or LF."""
        return self.bare or self._cr
