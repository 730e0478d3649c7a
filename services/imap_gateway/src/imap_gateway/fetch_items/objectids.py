"""EMAILID and THREADID (RFC 8474 5)."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_store_client.types import BodyField

from ..objectid import email_ids, thread_id
from ..render import Block, Item


class EmailId(Item):
    """EMAILID: the view knows it."""

    fragment = b"EMAILID (%b)"

    def values(self, block: Block) -> Sequence[bytes]:
        ids, rows = block.viewer.view.body_ids, block.rows
        if isinstance(rows, range):
            return email_ids(ids[16 * rows.start : 16 * rows.stop])
        return email_ids(b"".join([ids[16 * row : 16 * row + 16] for row in rows]))


class ThreadId(Item):
    """THREADID; NIL only of a message that is gone by now."""

    fragment = b"THREADID %b"
    needs = BodyField.THREAD

    def values(self, block: Block) -> Sequence[bytes]:
        threads = [None if info is None else info.thread for info in block.infos]
        return [b"NIL" if thread is None else b"(%b)" % thread_id(thread) for thread in threads]
