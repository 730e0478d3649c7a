"""Cutting, packing and compressing messages, without a database."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_common.errors import Internal
from mailboat_mime import Part, scan
from storage_api.store import bodies_zstd, dictionaries
from storage_api.store.bodies_render import (
    FIELD_LIMIT,
    HEADER_LIMIT,
    INLINE_LIMIT,
    SEGMENT_LIMIT,
    Segment,
    Source,
    cut,
    pack,
    render,
    segments_of,
    unpack,
)
from storage_api.store.dictionaries import train
from storage_api.store.dictionaries.corpus import messages


@given(st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 70000))))
def test_segments_survive_packing(pairs: list[tuple[int, int]]) -> None:
    segments, offset = [], 0
    for length, source in pairs:
        segments.append(Segment(offset, length, source))
        offset += length
    assert unpack(pack(segments)) == segments


@given(st.binary(max_size=4000))
def test_any_bytes_can_be_rendered_and_their_segments_are_the_message(content: bytes) -> None:
    rendered = render(content)
    segments = segments_of(rendered.fields)
    assert rendered.size == len(content)
    assert sum(s.length for s in segments) == len(content)
    assert [s.source for s in segments] in ([], [Source.HEADER], [Source.TEXT], [Source.HEADER, Source.TEXT])


def test_segments_cover_a_large_message_without_gaps() -> None:
    rng = random.Random(1)
    part = b"--b\r\n\r\n" + rng.randbytes(70_000) + b"\r\n"
    content = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 3 + b"--b\r\n\r\n" + b"t" * 9 + b"\r\n--b--\r\n"
    )
    segments, pieces = cut(content, scan(content))
    offset = 0
    for segment in segments:
        assert segment.offset == offset
        assert segment.length > 0
        offset += segment.length
    assert offset == len(content)
    assert len(pieces) == 1  # three times the same part
    assert sum(s.length for s in segments if s.blob is None) < INLINE_LIMIT


def test_text_too_large_for_the_document_goes_to_bounded_segments() -> None:
    content = b"Subject: x\r\n\r\n" + b"--b\r\n" * 2_000_000
    root = scan(content)
    segments, pieces = cut(content, root)
    assert len(pieces) == 1
    nested = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + random.Random(1).randbytes(9_000_000)
    segments, pieces = cut(nested, scan(nested))
    assert all(s.length <= SEGMENT_LIMIT for s in segments)
    assert len(pieces) == 3


@pytest.mark.parametrize("size", [HEADER_LIMIT, HEADER_LIMIT + 1])
def test_the_header_bound(size: int) -> None:
    content = b"X: ".ljust(size - 4, b"v") + b"\r\n\r\n" + b"body"
    fields = render(content).fields
    assert fields["header_size"] == size
    assert ("header" in fields) == (size <= HEADER_LIMIT)


def test_no_rendered_field_is_over_its_bound() -> None:
    names = b"Content-Type: " + b"x" * 300_000 + b"/" + b"y" * 300_000 + b"\r\n\r\nbody"
    parts = b"".join(b"--b\r\nContent-Type: %s%d/z\r\n\r\n\r\n" % (b"w" * 700, i) for i in range(1200))
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"
    addresses = b"To: " + b", ".join(b"<%d@%s.example>" % (i, b"d" * 200) for i in range(5000)) + b"\r\n\r\n"
    for content in (names, many, addresses):
        fields = render(content).fields
        for name in ("structure", "envelope", "bodystructure", "body", "preview"):
            value = fields[name]
            assert isinstance(value, bytes | str)
            assert len(value) <= FIELD_LIMIT + 65536, name
        structure = fields["structure"]
        assert isinstance(structure, bytes)
        assert Part.from_bytes(structure).body_end == len(content)


@given(st.binary(max_size=3000), st.sampled_from([bodies_zstd.NO_DICTIONARY, dictionaries.CURRENT]))
def test_frames_round_trip(data: bytes, dictionary: int) -> None:
    frame = bodies_zstd.compress(data, dictionary)
    assert bodies_zstd.decompress(frame, len(data), dictionary) == data


@pytest.mark.parametrize("size", [0, 99, 101, 1 << 40])
def test_a_frame_of_another_size_is_refused_before_it_is_unpacked(size: int) -> None:
    frame = bodies_zstd.compress(b"x" * 100)
    with pytest.raises(Internal):
        bodies_zstd.decompress(frame, size)
    with pytest.raises(Internal):
        list(bodies_zstd.stream(frame, size, 0, 10))


def test_garbage_is_refused() -> None:
    with pytest.raises(Internal):
        bodies_zstd.decompress(b"not zstd", 8)
    with pytest.raises(Internal):
        bodies_zstd.decompress(bodies_zstd.compress(b"x" * 1000)[:-3], 1000)


@given(st.integers(0, 300_000), st.integers(0, 300_000))
def test_streams_give_exactly_the_range(begin: int, length: int) -> None:
    data = bytes(range(256)) * 1000
    frame = bodies_zstd.compress(data)
    begin = min(begin, len(data))
    end = min(begin + length, len(data))
    assert b"".join(bodies_zstd.stream(frame, len(data), begin, end)) == data[begin:end]


def test_the_dictionary_in_the_package_is_what_the_script_makes() -> None:
    assert train.train(dictionaries.CURRENT) == dictionaries.load(dictionaries.CURRENT)


def test_the_dictionary_is_worth_its_place() -> None:
    """On mail it wasn't trained on (another seed), it saves at least a quarter of what zstd alone needs."""
    plain = trained = 0
    for message in messages(424242, 200):
        plain += len(bodies_zstd.compress(message))
        trained += len(bodies_zstd.compress(message, dictionaries.CURRENT))
    assert trained < 0.75 * plain
