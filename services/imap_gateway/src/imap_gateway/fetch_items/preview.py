"""PREVIEW (RFC 8970): the text that was made when the message arrived, so LAZY has nothing to put off.

A message without text has an empty preview, never NIL: there will be no better answer later. Text that isn't ASCII is
a literal in every session, because a quoted string may hold UTF-8 only where that is enabled.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_store_client.types import BodyField
from mailboat_wire.imap.response import nstring

from ..render import Block, Item


class Preview(Item):
    """PREVIEW and PREVIEW (LAZY)."""

    fragment = b"PREVIEW %b"
    needs = BodyField.PREVIEW

    def values(self, block: Block) -> Sequence[bytes]:
        texts = [None if info is None else info.preview for info in block.infos]
        # Releases before this one kept NUL in what they stored, and no string of IMAP may hold it.
        return [nstring(None if text is None else text.replace("\0", "").encode()) for text in texts]
