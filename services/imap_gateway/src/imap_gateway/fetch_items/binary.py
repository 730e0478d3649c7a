"""BINARY[part]<partial> and BINARY.SIZE[part]: content without its transfer encoding (RFC 3516, RFC 9051 6.4.5, 7.5.2).

Rules:
- What has no transfer encoding of its own is given as it is: the whole message (`BINARY[]`), multiparts and embedded
  messages (RFC 2045 6.4 lets them have none). RFC 9051 asks clients for leaf parts only.
- A literal8 only for octets with NUL, which a literal can't hold. No stored message holds NUL, so what isn't encoded
  needs no look.
- An encoding that nobody knows: the message is passed over, unseen, and the command ends in NO [UNKNOWN-CTE].
- Parts that aren't there: NIL, and size 0.
- Large parts are decoded in a stream. The length stands before the octets, so they are read once to be counted and
  once more to be sent, unless what was asked for is small enough to be kept from the first time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from mailboat_mime import IDENTITY as NO_ENCODING
from mailboat_mime import Decoder, Kind, Part, find_part, transfer_decoder
from mailboat_store_client.types import BodyInfo
from mailboat_wire.imap.response import literal, literal8

from ..bodies import CONTENT_BYTES
from ..render import Block
from .sections import NIL, Opened, Read, SectionItem

_IDENTITY = b"binary"


class BinaryItem(SectionItem):
    """A part's content, decoded."""

    def encoding(self, info: BodyInfo | None) -> bytes:
        """The transfer encoding of the section, `binary` where there is none to be undone."""
        if self.whole or info is None or info.structure is None:
            return _IDENTITY
        part = find_part(Part.from_bytes(info.structure), self.section.part)
        return _IDENTITY if part is None or part.kind is not Kind.LEAF or part.flattened else part.encoding

    def decodes(self, info: BodyInfo | None) -> bool:
        """Whether the section's encoding is one we know."""
        return transfer_decoder(self.encoding(info)) is not None

    def decode(self, info: BodyInfo | None, data: bytes) -> bytes:
        """All of the section's octets at once."""
        decoder = self._decoder(info)
        return decoder.feed(data) + decoder.finish()

    def _decoder(self, info: BodyInfo | None) -> Decoder:
        decoder = transfer_decoder(self.encoding(info))
        assert decoder is not None, "messages that can't be decoded were passed over"
        return decoder

    def _value(self, info: BodyInfo | None, content: bytes | None) -> bytes:
        extent = self.extent(info, len(content)) if content is not None else None
        if content is None or extent is None:
            return NIL
        return _literal8(self.finish(self.decode(info, content[extent[0] : extent[1]])))

    async def open(self, read: Read, info: BodyInfo | None, size: int) -> Opened:
        """The decoded section, counted."""
        if self.encoding(info).lower() in NO_ENCODING:
            return await super().open(read, info, size)
        extent = self.extent(info, size)
        if extent is None:
            return self.absent
        wanted = self.partial or (0, 2 * size)  # no decoding makes more of it
        length, has_nul, kept = 0, False, bytearray()
        async with aclosing(self._decoded(_range(read, extent), info, wanted)) as pieces:
            async for piece in pieces:
                length += len(piece)
                has_nul = has_nul or b"\0" in piece
                if length <= CONTENT_BYTES:
                    kept += piece
                else:
                    kept.clear()
        head = b"~{%d}\r\n" % length if has_nul else b"{%d}\r\n" % length
        if length <= CONTENT_BYTES:
            return Opened(head + kept)
        return Opened(head, length, self._decoded(_range(read, extent), info, wanted))

    async def _decoded(
        self, chunks: AsyncIterator[bytes], info: BodyInfo | None, wanted: tuple[int, int]
    ) -> AsyncGenerator[bytes, None]:
        """`wanted` (first octet, count) of the decoded section, in pieces; what is after that isn't read."""
        skip, left = wanted
        async for piece in _decoding(chunks, self._decoder(info)):
            shown = piece[skip : skip + left]
            skip = max(0, skip - len(piece))
            left -= len(shown)
            if shown:
                yield shown
            if not left:
                break


class BinarySize(BinaryItem):
    """The size of a part's content, decoded: what BINARY would send."""

    absent = Opened(b"0")

    def values(self, block: Block) -> Sequence[bytes]:
        infos = block.infos or (None,) * len(block.contents)
        return [self._size(info, content) for info, content in zip(infos, block.contents, strict=True)]

    def _size(self, info: BodyInfo | None, content: bytes | None) -> bytes:
        extent = self.extent(info, len(content)) if content is not None else None
        if content is None or extent is None:
            return b"0"
        return b"%d" % len(self.decode(info, content[extent[0] : extent[1]]))

    async def open(self, read: Read, info: BodyInfo | None, size: int) -> Opened:
        """The size, counted; without reading where nothing is encoded."""
        extent = self.extent(info, size)
        if extent is None:
            return self.absent
        start, end = extent
        if self.encoding(info).lower() in NO_ENCODING:
            return Opened(b"%d" % (end - start))
        length = 0
        async for piece in self._decoded(_range(read, extent), info, (0, 2 * size)):
            length += len(piece)
        return Opened(b"%d" % length)


def _literal8(data: bytes) -> bytes:
    """A literal8 if there is NUL in it, else a literal, which every client reads."""
    return literal8(data) if b"\0" in data else literal(data)


async def _decoding(chunks: AsyncIterator[bytes], decoder: Decoder) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield decoder.feed(chunk)
    yield decoder.finish()


async def _range(read: Read, extent: tuple[int, int]) -> AsyncIterator[bytes]:
    """The octets of an extent, which may have none."""
    start, end = extent
    if end > start:
        async for chunk in read(start, end - start):
            yield chunk
