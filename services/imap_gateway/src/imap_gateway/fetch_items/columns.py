"""FETCH items that the view itself answers (RFC 9051 7.5.2, RFC 8514)."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_wire.imap.response import internal_date

from ..render import Block, Item


class Size(Item):
    """RFC822.SIZE: the octets of the message."""

    fragment = b"RFC822.SIZE %d"

    def values(self, block: Block) -> Sequence[int]:
        return block.column(block.viewer.view.sizes)


class InternalDate(Item):
    """INTERNALDATE, in UTC."""

    fragment = b"INTERNALDATE %b"

    def values(self, block: Block) -> Sequence[bytes]:
        return [internal_date(ms // 1000) for ms in block.column(block.viewer.view.internal_dates)]


class SaveDate(Item):
    """SAVEDATE (RFC 8514 4.3), in UTC."""

    fragment = b"SAVEDATE %b"

    def values(self, block: Block) -> Sequence[bytes]:
        return [internal_date(ms // 1000) for ms in block.column(block.viewer.view.save_dates)]
