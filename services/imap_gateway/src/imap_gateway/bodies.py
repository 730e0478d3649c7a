"""What is rendered of messages, kept by body id: bodies never change, so what was read once stays right.

One LRU for the process, bounded in bytes. Whole messages are kept only while they are small (a client that reads part
1,
then part 2 of a message asks the store once).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from mailboat_store_client.ports import MailboxRead
from mailboat_store_client.types import AccountId, BodyField, BodyId, BodyInfo

INFO_BATCH = 1000
CONTENT_BATCH = 64
CONTENT_BYTES = 1 << 20
KEPT_CONTENT_BYTES = 256 * 1024
_OVERHEAD = 400


class Bodies:
    """Body infos and small contents, at most `limit` bytes of them."""

    def __init__(self, read: MailboxRead, limit: int) -> None:
        self._read = read
        self._limit = limit
        self._infos: OrderedDict[BodyId, tuple[BodyInfo, BodyField, int]] = OrderedDict()
        self._contents: OrderedDict[BodyId, bytes] = OrderedDict()
        self.bytes = 0

    async def infos(
        self, account_id: AccountId, body_ids: Sequence[BodyId], fields: BodyField
    ) -> list[BodyInfo | None]:
        """Infos with at least `fields`, in order; None for a body that is gone."""
        found: dict[BodyId, BodyInfo | None] = {}
        missing: list[BodyId] = []
        for body_id in body_ids:
            known = self._infos.get(body_id)
            if known is not None and fields in known[1]:
                self._infos.move_to_end(body_id)
                found[body_id] = known[0]
            else:
                missing.append(body_id)
        for start in range(0, len(missing), INFO_BATCH):
            batch = missing[start : start + INFO_BATCH]
            for body_id, info in zip(batch, await self._read.body_infos(account_id, batch, fields), strict=True):
                found[body_id] = None if info is None else self._keep(info, fields)
        return [found[body_id] for body_id in body_ids]

    async def contents(self, account_id: AccountId, body_ids: Sequence[BodyId]) -> list[bytes | None]:
        """Whole messages, in order; None for one that is gone. The caller bounds their sum (CONTENT_BYTES)."""
        found: dict[BodyId, bytes | None] = {}
        for body_id in body_ids:
            kept = self._contents.get(body_id)
            if kept is not None:
                self._contents.move_to_end(body_id)
                found[body_id] = kept
        while missing := [body_id for body_id in body_ids if body_id not in found]:
            batch = missing[:CONTENT_BATCH]
            for body_id, content in zip(
                batch, await self._read.contents(account_id, batch, CONTENT_BYTES), strict=False
            ):
                found[body_id] = content
                if content is not None and len(content) <= KEPT_CONTENT_BYTES:
                    self._keep_content(body_id, content)
        return [found[body_id] for body_id in body_ids]

    def _keep(self, info: BodyInfo, fields: BodyField) -> BodyInfo:
        known = self._infos.pop(info.body_id, None)
        if known is not None:
            self.bytes -= known[2]
            info = _join(known[0], info)
            fields |= known[1]
        texts = (info.header, info.structure, info.envelope, info.bodystructure, info.body, info.sort_keys)
        size = _OVERHEAD + sum(len(text) for text in texts if text)
        self._infos[info.body_id] = info, fields, size
        self.bytes += size
        self._shrink()
        return info

    def _keep_content(self, body_id: BodyId, content: bytes) -> None:
        if body_id not in self._contents:
            self._contents[body_id] = content
            self.bytes += len(content) + _OVERHEAD
            self._shrink()

    def _shrink(self) -> None:
        """Contents go first: they are large, and a client seldom reads one twice."""
        while self.bytes > self._limit and self._contents:
            self.bytes -= len(self._contents.popitem(last=False)[1]) + _OVERHEAD
        while self.bytes > self._limit and self._infos:
            self.bytes -= self._infos.popitem(last=False)[1][2]


def _join(old: BodyInfo, new: BodyInfo) -> BodyInfo:
    """Both infos' fields: each was asked for on its own."""
    return replace(
        new,
        header=new.header if new.header is not None else old.header,
        structure=new.structure if new.structure is not None else old.structure,
        envelope=new.envelope if new.envelope is not None else old.envelope,
        bodystructure=new.bodystructure if new.bodystructure is not None else old.bodystructure,
        body=new.body if new.body is not None else old.body,
        preview=new.preview if new.preview is not None else old.preview,
        thread=new.thread if new.thread is not None else old.thread,
        sort_keys=new.sort_keys if new.sort_keys is not None else old.sort_keys,
    )
