"""What is made of a message once, when it arrives: the body document and the segments stored beside it.

A message up to 64 KB is whole in its document: header block and text apart, so that a header is read without the text.
A larger one is cut into segments: MIME leaf bodies over 64 KB alone (the same attachment is then the same segment in
every message), the rest in the document as long as 64 KB suffice, else in segments of up to 4 MB. Segments in order
are the message, to the byte.

Bounds: a header block over 256 KB is segments; ENVELOPE, BODYSTRUCTURE and BODY are bounded by mailboat_mime; a message
whose MIME tree is over 256 KB is shown as one leaf, and if even that is too much (its Content-Type field alone is) as
application/octet-stream, with a tree that says the same.

Nothing here waits or knows a database.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import mailboat_mime as mime

from . import bodies_zstd, dictionaries

VERSION = 1
INLINE_LIMIT = 64 * 1024
PART_THRESHOLD = 64 * 1024
HEADER_LIMIT = 256 * 1024
FIELD_LIMIT = 256 * 1024
SEGMENT_LIMIT = 4 * 1024 * 1024
MAX_PARTS = 1000

_SEGMENT = struct.Struct("<II")


class Source(enum.IntEnum):
    """Where a segment's octets are. Stored: 2 and above is the position in the document's `blobs`, plus 2."""

    HEADER = 0
    TEXT = 1
    FIRST_BLOB = 2


@dataclass(frozen=True, slots=True)
class Segment:
    """Octets [offset, offset + length) of the message."""

    offset: int
    length: int
    source: int

    @property
    def blob(self) -> int | None:
        """Position in the document's `blobs`, None for a segment within the document."""
        return self.source - Source.FIRST_BLOB if self.source >= Source.FIRST_BLOB else None


@dataclass(frozen=True, slots=True)
class Piece:
    """Content for the blob store: octets [start, end) of the message."""

    sha256: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message as it will be stored, for any account. `fields` lacks only `_id`, `a` and perhaps `thread`."""

    size: int
    fields: Mapping[str, object]
    pieces: tuple[Piece, ...]
    transaction_bytes: int


def render(content: bytes) -> Rendered:
    """Scan and render; costs CPU only. Never fails on any content."""
    root, tree, bodystructure, body = _structure(content)
    header_size = root.body_start
    block = content[:header_size]
    segments, pieces = cut(content, root)
    whole = len(content) <= INLINE_LIMIT
    text = content[header_size:] if whole else _joined(content, segments)
    small = max(header_size, len(text)) < bodies_zstd.DICTIONARY_LIMIT
    dictionary = dictionaries.CURRENT if small else bodies_zstd.NO_DICTIONARY
    fields: dict[str, object] = {
        "v": VERSION,
        "size": len(content),
        "header_size": header_size,
        "dict": dictionary,
        "text": bodies_zstd.compress(text, dictionary),
        "structure": tree,
        "envelope": mime.envelope(block),
        "bodystructure": bodystructure,
        "body": body,
        "preview": mime.preview(root, content),
        "sort": mime.SortKeys.of(block).to_bytes(),
    }
    if header_size <= HEADER_LIMIT:
        fields["header"] = bodies_zstd.compress(block, dictionary)
    thread = mime.thread_id(block)
    if thread is not None:
        fields["thread"] = thread
    if not whole:
        fields["segments"] = pack(segments)
    if pieces:
        fields["blobs"] = [piece.sha256 for piece in pieces]
    weight = sum(len(value) for value in fields.values() if isinstance(value, bytes | str)) + 40 * len(pieces) + 256
    return Rendered(len(content), fields, tuple(pieces), weight)


def _structure(content: bytes) -> tuple[mime.Part, bytes, bytes, bytes]:
    """The tree, its stored form, BODYSTRUCTURE and BODY: within the bounds (IMAP's texts are bounded by mailboat_mime)
    and agreeing with each other."""
    for max_parts in (MAX_PARTS, 1):
        root = mime.scan(content, max_parts=max_parts)
        tree = root.to_bytes()
        if len(tree) <= FIELD_LIMIT:
            return root, tree, *mime.structures(root, content)
    leaf = mime.Kind.LEAF
    root = mime.Part(
        0, root.body_start, root.body_end, leaf, b"application", b"octet-stream", b"8bit", b"", 0, True, ()
    )
    shown = b'("application" "octet-stream" NIL NIL NIL "8bit" %d' % root.size
    return root, root.to_bytes(), shown + b" NIL NIL NIL NIL)", shown + b")"


def cut(content: bytes, root: mime.Part) -> tuple[list[Segment], list[Piece]]:
    """The segments of a message, and the distinct pieces for the blob store in the order `Segment.blob` counts."""
    header_size = root.body_start
    segments: list[Segment] = []
    blobs: dict[bytes, int] = {}
    pieces: list[Piece] = []
    room = INLINE_LIMIT
    view = memoryview(content)

    def add_blob(start: int, end: int) -> None:
        digest = hashlib.sha256(view[start:end]).digest()
        index = blobs.setdefault(digest, len(blobs))
        if index == len(pieces):
            pieces.append(Piece(digest, start, end))
        segments.append(Segment(start, end - start, Source.FIRST_BLOB + index))

    def add_rest(start: int, end: int) -> None:
        nonlocal room
        if 0 < end - start <= room:
            room -= end - start
            segments.append(Segment(start, end - start, Source.TEXT))
            return
        for at in range(start, end, SEGMENT_LIMIT):
            add_blob(at, min(at + SEGMENT_LIMIT, end))

    if 0 < header_size <= HEADER_LIMIT:
        segments.append(Segment(0, header_size, Source.HEADER))
    else:
        for at in range(0, header_size, SEGMENT_LIMIT):
            add_blob(at, min(at + SEGMENT_LIMIT, header_size))
    if len(content) <= INLINE_LIMIT:
        add_rest(header_size, len(content))
        return segments, pieces
    done = header_size
    for start, end in mime.large_parts(root, PART_THRESHOLD):
        add_rest(done, start)
        add_blob(start, end)
        done = end
    add_rest(done, len(content))
    return segments, pieces


def _joined(content: bytes, segments: list[Segment]) -> bytes:
    return b"".join(content[s.offset : s.offset + s.length] for s in segments if s.source == Source.TEXT)


def pack(segments: list[Segment]) -> bytes:
    """Length and source of each segment, u32 little-endian; offsets follow from the lengths."""
    return b"".join(_SEGMENT.pack(s.length, s.source) for s in segments)


def unpack(data: bytes) -> list[Segment]:
    """What `pack` packed."""
    out, offset = [], 0
    for length, source in _SEGMENT.iter_unpack(data):
        out.append(Segment(offset, length, source))
        offset += length
    return out


def segments_of(document: Mapping[str, object]) -> list[Segment]:
    """The segments of a body document (of which size, header_size and segments were read)."""
    packed = document.get("segments")
    if isinstance(packed, bytes):
        return unpack(packed)
    size, header_size = document["size"], document["header_size"]
    assert isinstance(size, int) and isinstance(header_size, int)
    whole = [Segment(0, header_size, Source.HEADER), Segment(header_size, size - header_size, Source.TEXT)]
    return [segment for segment in whole if segment.length]
