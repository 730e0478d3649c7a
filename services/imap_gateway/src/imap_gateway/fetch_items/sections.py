"""BODY[section]<partial> and RFC822…: exact bytes of the message (RFC 9051 6.4.5, 7.5.2).

Where the bytes come from depends on the message: small ones are read whole, many at a time (`values`); of large ones
only the range that is asked for, in chunks (`open`). Both ways share `extent`, so both give the same bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from mailboat_mime import Part, resolve, select_fields
from mailboat_store_client.types import BodyField, BodyInfo
from mailboat_wire.imap.response import literal
from mailboat_wire.imap.types import Section, SectionText

from ..render import Block, Item

NIL = b"NIL"
Read = Callable[[int, int], AsyncIterator[bytes]]
"""(offset, octets) of the message to be read → its chunks."""

_FIELDS = (SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT)
_HEADERS = (SectionText.HEADER, *_FIELDS)


@dataclass(frozen=True, slots=True)
class Opened:
    """A value about to be sent: how it begins, how many octets are still to come, and where from."""

    text: bytes
    left: int = 0
    rest: AsyncIterator[bytes] | None = None


class SectionItem(Item):
    """One section of a message, as bytes. `absent`: the value where there is no such section."""

    absent = Opened(NIL)

    def __init__(
        self, label: bytes, section: Section, *, peek: bool = False, partial: tuple[int, int] | None = None
    ) -> None:
        self.fragment = label.replace(b"%", b"%%") + b" %b"
        self.section = section
        self.partial = partial
        self.sets_seen = not peek
        self.of_header = not section.part and section.text in _HEADERS
        self.whole = not section.part and section.text is SectionText.ALL
        self.content = not self.of_header
        if self.of_header:
            self.needs = BodyField.HEADER
        elif not self.whole:
            self.needs = BodyField.STRUCTURE if section.part else BodyField.NONE

    @property
    def key(self) -> bytes:
        return self.fragment if self.partial is None else b"%b%d.%d" % (self.fragment, *self.partial)

    def extent(self, info: BodyInfo | None, size: int) -> tuple[int, int] | None:
        """Where the section is in the message, before fields are chosen and a part of it is cut; None: there is
        none.
        """
        if self.whole:
            return 0, size
        if info is None:
            return None
        if self.section.part:
            if info.structure is None:
                return None
            kind = SectionText.HEADER if self.section.text in _FIELDS else self.section.text
            return resolve(Part.from_bytes(info.structure), self.section.part, kind.value.decode("ascii"))
        return (0, info.header_size) if self.of_header else (info.header_size, size)

    @property
    def chooses_fields(self) -> bool:
        """Whether the bytes of the extent are still to be sifted (`finish`), so that its length isn't the section's."""
        return self.section.text in _FIELDS

    def finish(self, data: bytes) -> bytes:
        """The section from the bytes of its extent."""
        if self.chooses_fields:
            negate = self.section.text is SectionText.HEADER_FIELDS_NOT
            data = select_fields(data, self.section.fields, negate=negate)
        if self.partial is not None:
            first, count = self.partial
            data = data[first : first + count]
        return data

    def values(self, block: Block) -> Sequence[bytes]:
        if self.of_header:
            return [
                NIL if info is None or info.header is None else literal(self.finish(info.header))
                for info in block.infos
            ]
        infos = block.infos or (None,) * len(block.contents)
        return [self._value(info, content) for info, content in zip(infos, block.contents, strict=True)]

    def _value(self, info: BodyInfo | None, content: bytes | None) -> bytes:
        if content is None:
            return NIL
        extent = self.extent(info, len(content))
        return NIL if extent is None else literal(self.finish(content[extent[0] : extent[1]]))

    async def open(self, read: Read, info: BodyInfo | None, size: int) -> Opened:
        """The section's length and beginning, so that what can fail fails before anything is said.

        Raises Refused if the message is gone.
        """
        if self.of_header and info is not None and info.header is not None:
            return Opened(literal(self.finish(info.header)))
        extent = self.extent(info, size)
        if extent is None:
            return self.absent
        start, end = extent
        if self.chooses_fields:
            return Opened(literal(self.finish(b"".join([chunk async for chunk in read(start, end - start)]))))
        if self.partial is not None:
            start = min(end, start + self.partial[0])
            end = min(end, start + self.partial[1])
        if start == end:
            return Opened(literal(b""))
        chunks = read(start, end - start)
        begin = await anext(chunks)
        return Opened(b"{%d}\r\n%b" % (end - start, begin), end - start - len(begin), chunks)
