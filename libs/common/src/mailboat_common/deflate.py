"""Compression of a connection with raw DEFLATE, both ways, as RFC 4978 has it for IMAP.

Rules:
- Every joined write ends with a sync flush, so the peer can read all of it at once.
- What a peer sends is inflated CHUNK_BYTES at a time and only while someone takes it: some bytes of input can't become
  gigabytes of memory, they wait as they are.
- Memory per connection is fixed: about 70 KB to compress (a window of 8 KB instead of 32: 64 KB for state, and answers
  of a server repeat themselves at short distance) and up to 42 KB to inflate (the window is the peer's choice).
"""

import zlib

from mailboat_common.errors import PeerError

CHUNK_BYTES = 64 * 1024
LEVEL = 1  # the event loop waits for it; higher ones gain some percent and cost twice the time
WINDOW_BITS = -13  # negative: raw, without zlib's header
MEMORY_LEVEL = 6
MAX_WINDOW_BITS = -15


class Deflate:
    """The two streams of one connection."""

    __slots__ = ("_deflater", "_inflater", "_waiting", "_whole")

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL)
        self._inflater = zlib.decompressobj(MAX_WINDOW_BITS)
        self._waiting = b""
        self._whole = True  # nothing of what was received is left inside the inflater

    def compress(self, data: bytes) -> bytes:
        """What to send for `data`."""
        return self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)

    def receive(self, data: bytes) -> None:
        """Take what the peer sent."""
        self._waiting = self._waiting + data if self._waiting else data
        self._whole = False

    @property
    def waiting(self) -> bool:
        """Whether `take` may give more without further input."""
        return not self._whole

    def take(self) -> bytes:
        """The next piece of what was received, at most CHUNK_BYTES; may be b"". PeerError if it can't be inflated."""
        try:
            data = self._inflater.decompress(self._waiting, CHUNK_BYTES)
        except zlib.error as error:
            raise PeerError(private=f"not DEFLATE: {error}") from error
        if self._inflater.eof:
            raise PeerError(private="the compressed stream ended")
        self._waiting = self._inflater.unconsumed_tail
        # A full piece may have left some bytes inside even though all input was consumed.
        self._whole = not self._waiting and len(data) < CHUNK_BYTES
        return data
