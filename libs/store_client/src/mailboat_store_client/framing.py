"""Bodies of Deliver, Append and Contents: a message, then raw contents.

4-byte little-endian length, that many bytes of protobuf, then the contents one after the other; the message says how
long each is. What contradicts itself raises ValueError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_FRAME = struct.Struct("<I")


def frame(head: bytes, contents: Iterable[bytes] = ()) -> list[bytes]:
    """The pieces of a framed body."""
    return [_FRAME.pack(len(head)), head, *contents]


def unframe(body: bytes) -> tuple[bytes, int]:
    """(message, offset at which the contents begin)."""
    if len(body) < 4:
        raise ValueError("a framed body is at least 4 bytes")
    (length,) = _FRAME.unpack_from(body)
    if 4 + length > len(body):
        raise ValueError("the framed message is longer than its body")
    return body[4 : 4 + length], 4 + length


def cut(body: bytes, offset: int, sizes: Iterable[int]) -> list[bytes | None]:
    """Contents of these sizes from `offset` to exactly the end; a size of -1 is None and takes no bytes."""
    view = memoryview(body)
    contents: list[bytes | None] = []
    for size in sizes:
        if size < 0:
            contents.append(None)
            continue
        if offset + size > len(body):
            raise ValueError("the contents are shorter than announced")
        contents.append(bytes(view[offset : offset + size]))
        offset += size
    if offset != len(body):
        raise ValueError("the contents are longer than announced")
    return contents
