"""What is rendered of messages, kept by body id: bodies never change, so what was read once stays right.

One LRU for the process, bounded in bytes: infos, contents, and sort keys (in a table of their own: SORT and THREAD want
those of whole mailboxes, and a BodyInfo is several times their size). Whole messages are kept only while they are small
(a client that reads part 1, then part 2 of a message asks the store once).
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
USUAL_SORT_KEYS = 128  # bytes of one body's
_OVERHEAD = 400
_KEYS_OVERHEAD = 200


class Bodies:
    """Body infos and small contents, at most `limit` bytes of them."""

    def __init__(self, read: MailboxRead, limit: int) -> None:
        self._read = read
        self._limit = limit
        # With the fields as a number: of 10,000 bodies, the operators of a Flag took a third of the time.
        self._infos: OrderedDict[BodyId, tuple[BodyInfo, int, int]] = OrderedDict()
        self._contents: OrderedDict[BodyId, bytes] = OrderedDict()
        self._sort_keys: OrderedDict[BodyId, bytes] = OrderedDict()
        self.bytes = 0

    async def infos(
        self, account_id: AccountId, body_ids: Sequence[BodyId], fields: BodyField
    ) -> list[BodyInfo | None]:
        """Infos with at least `fields`, in order; None for a body that is gone."""
        found: dict[BodyId, BodyInfo | None] = {}
        missing: list[BodyId] = []
        wanted, kept = fields.value, self._infos
        for body_id in body_ids:
            known = kept.get(body_id)
            if known is not None and wanted & known[1] == wanted:
                kept.move_to_end(body_id)
                found[body_id] = known[0]
            else:
                missing.append(body_id)
        for start in range(0, len(missing), INFO_BATCH):
            batch = missing[start : start + INFO_BATCH]
            for body_id, info in zip(batch, await self._read.body_infos(account_id, batch, fields), strict=True):
                found[body_id] = None if info is None else self._keep(info, wanted)
        return [found[body_id] for body_id in body_ids]

    def keeps_sort_keys_of(self, bodies: int) -> bool:
        """Whether so many bodies' sort keys may be kept: half the cache at most, lest one mailbox take it all."""
        return bodies * (_KEYS_OVERHEAD + USUAL_SORT_KEYS) <= self._limit // 2

    async def sort_keys(
        self, account_id: AccountId, body_ids: Sequence[BodyId], *, keep: bool = True
    ) -> list[bytes | None]:
        """Serialised SortKeys, in order; None for a body that is gone. At most INFO_BATCH bodies at a time."""
        kept = self._sort_keys
        found: dict[BodyId, bytes | None] = {}
        missing = []
        for body_id in body_ids:
            keys = kept.get(body_id)
            if keys is None:
                missing.append(body_id)
            else:
                kept.move_to_end(body_id)
                found[body_id] = keys
        if missing:
            infos = await self._read.body_infos(account_id, missing, BodyField.SORT_KEYS)
            for body_id, info in zip(missing, infos, strict=True):
                found[body_id] = keys = None if info is None else info.sort_keys
                if keep and keys is not None and body_id not in kept:
                    kept[body_id] = keys
                    self.bytes += len(keys) + _KEYS_OVERHEAD
            self._shrink()
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

    def _keep(self, info: BodyInfo, fields: int) -> BodyInfo:
        known = self._infos.pop(info.body_id, None)
        if known is not None:
            self.bytes -= known[2]
            info = _join(known[0], info)
            fields |= known[1]
        size = _OVERHEAD + sum(
            len(part) for part in (info.header, info.structure, info.envelope, info.bodystructure, info.body) if part
        )
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
        while self.bytes > self._limit and self._sort_keys:
            self.bytes -= len(self._sort_keys.popitem(last=False)[1]) + _KEYS_OVERHEAD
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
    )
