"""FETCH items that were rendered when the message arrived (RFC 9051 7.5.2: ENVELOPE, BODY, BODYSTRUCTURE)."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_store_client.types import BodyField

from ..render import Block, Item

# Of a message that is gone by now: the grammar allows no NIL in these places, so each says "empty" in its own way.
NO_ENVELOPE = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
NO_BODY = b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0)'


class Envelope(Item):
    """ENVELOPE."""

    fragment = b"ENVELOPE %b"
    needs = BodyField.ENVELOPE

    def values(self, block: Block) -> Sequence[bytes]:
        return [NO_ENVELOPE if info is None else info.envelope or NO_ENVELOPE for info in block.infos]


class BodyStructure(Item):
    """BODYSTRUCTURE, with extension data."""

    fragment = b"BODYSTRUCTURE %b"
    needs = BodyField.BODYSTRUCTURE

    def values(self, block: Block) -> Sequence[bytes]:
        return [NO_BODY if info is None else info.bodystructure or NO_BODY for info in block.infos]


class Body(Item):
    """BODY without brackets: the structure without extension data."""

    fragment = b"BODY %b"
    needs = BodyField.BODY

    def values(self, block: Block) -> Sequence[bytes]:
        return [NO_BODY if info is None else info.body or NO_BODY for info in block.infos]
