"""The registry of FETCH items: the client's atom → what renders it. A new item is one class and one line here.

RFC 9051 6.4.5, RFC 3501 6.4.5 (RFC822…), RFC 7162 (MODSEQ), RFC 8514 (SAVEDATE), RFC 3516 (BINARY), RFC 8474 (EMAILID,
THREADID), RFC 8970 (PREVIEW).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mailboat_wire.imap import types as t

from ..render import Flags, Item, ModSeq, Uid
from .binary import BinaryItem, BinarySize
from .columns import InternalDate, SaveDate, Size
from .infos import Body, BodyStructure, Envelope
from .objectids import EmailId, ThreadId
from .preview import Preview
from .sections import SectionItem

_TEXT = t.Section(text=t.SectionText.TEXT)
_HEADER = t.Section(text=t.SectionText.HEADER)


def _section(item: t.FetchItem) -> Item:
    assert isinstance(item, t.FetchSection), "the parser makes sections of what has brackets"
    return SectionItem(item.label(), item.section, peek=item.peek, partial=item.partial)


def _binary(item: t.FetchItem) -> Item:
    assert isinstance(item, t.FetchSection), "the parser makes sections of what has brackets"
    return BinaryItem(item.label(), item.section, peek=item.peek, partial=item.partial)


def _binary_size(item: t.FetchItem) -> Item:
    assert isinstance(item, t.FetchSection), "the parser makes sections of what has brackets"
    return BinarySize(item.label(), item.section, peek=True)


FETCH_ITEMS: Mapping[bytes, Callable[[t.FetchItem], Item]] = {
    b"FLAGS": lambda _item: Flags(),
    b"UID": lambda _item: Uid(),
    b"MODSEQ": lambda _item: ModSeq(),
    b"INTERNALDATE": lambda _item: InternalDate(),
    b"SAVEDATE": lambda _item: SaveDate(),
    b"EMAILID": lambda _item: EmailId(),
    b"THREADID": lambda _item: ThreadId(),
    b"PREVIEW": lambda _item: Preview(),
    b"RFC822.SIZE": lambda _item: Size(),
    b"ENVELOPE": lambda _item: Envelope(),
    b"BODYSTRUCTURE": lambda _item: BodyStructure(),
    b"BODY": lambda _item: Body(),
    b"BODY[": _section,
    b"BINARY[": _binary,
    b"BINARY.SIZE[": _binary_size,
    b"RFC822": lambda _item: SectionItem(b"RFC822", t.Section()),
    b"RFC822.HEADER": lambda _item: SectionItem(b"RFC822.HEADER", _HEADER, peek=True),
    b"RFC822.TEXT": lambda _item: SectionItem(b"RFC822.TEXT", _TEXT),
}
