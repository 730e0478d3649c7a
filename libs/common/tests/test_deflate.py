"""The two streams of a compressed connection: round trips, flushes, bombs, nonsense."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_common.deflate import CHUNK_BYTES, Deflate
from mailboat_common.errors import PeerError


def taken(deflate: Deflate) -> bytes:
    """All that can be taken now."""
    pieces = []
    while deflate.waiting:
        pieces.append(deflate.take())
        assert len(pieces[-1]) <= CHUNK_BYTES
    return b"".join(pieces)


def sync(deflater: zlib._Compress, data: bytes) -> bytes:
    return deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)


@given(st.lists(st.binary(max_size=5000)), st.sampled_from([-9, -12, -15]), st.integers(1, 40))
def test_both_ways(writes: list[bytes], window: int, step: int) -> None:
    ours, theirs = Deflate(), zlib.decompressobj(-15)
    client = zlib.compressobj(wbits=window)
    for data in writes:
        assert theirs.decompress(ours.compress(data)) == data, "each write can be read at once"
        sent = sync(client, data)
        heard = b""
        for start in range(0, len(sent), step):
            ours.receive(sent[start : start + step])
            heard += taken(ours)
        assert heard == data


@pytest.mark.parametrize("size", [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_nothing_stays_inside_at_the_edges_of_a_piece(size: int) -> None:
    deflate = Deflate()
    deflate.receive(sync(zlib.compressobj(wbits=-15), b"x" * size))
    assert taken(deflate) == b"x" * size
    assert not deflate.waiting


def test_a_bomb_waits_as_it_came() -> None:
    bomb = sync(zlib.compressobj(9, wbits=-15), bytes(100_000_000))
    assert len(bomb) < 120_000
    deflate = Deflate()
    deflate.receive(bomb)
    tracemalloc.start()
    assert len(deflate.take()) == CHUNK_BYTES
    assert deflate.waiting
    assert tracemalloc.get_traced_memory()[1] < 4 * CHUNK_BYTES + len(bomb)
    tracemalloc.stop()


@pytest.mark.parametrize(
    "sent",
    [
        b"a NOOP\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        zlib.compress(b"with a header"),
        zlib.compressobj(wbits=-15).flush(),
    ],
)
def test_what_is_no_stream_or_ends_it_is_the_peers_fault(sent: bytes) -> None:
    deflate = Deflate()
    deflate.receive(sent)
    with pytest.raises(PeerError):
        taken(deflate)


def test_memory_of_a_connection() -> None:
    tracemalloc.start()
    kept = []
    sent = sync(zlib.compressobj(wbits=-15), b"abc" * 20_000)
    for _ in range(20):
        deflate = Deflate()
        deflate.compress(b"* 1 EXISTS\r\n" * 1000)
        deflate.receive(sent)
        taken(deflate)
        kept.append(deflate)
    assert tracemalloc.get_traced_memory()[0] / len(kept) < 120_000
    tracemalloc.stop()
