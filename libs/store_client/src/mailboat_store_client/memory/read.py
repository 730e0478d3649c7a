"""The MailboxRead port of the fake."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Sequence

import mailboat_mime as mime
from mailboat_common.errors import Refused, RefusedCode

from .. import names
from ..annotations import SPECIAL_USE
from ..columns import ranges
from ..types import (
    AccountId,
    BodyField,
    BodyId,
    BodyInfo,
    MailboxChanges,
    MailboxHead,
    MailboxId,
    MailboxTree,
    Quota,
    Vanished,
)
from .state import State, columns

_CHUNK = 65536
_MAX_HEADER = 256 * 1024


class MemoryMailboxRead:
    """The MailboxRead port."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def tree(self, account_id: AccountId) -> MailboxTree:
        account = self._state.account(account_id)
        ordered = sorted(account.mailboxes.values(), key=lambda m: names.sort_key(m.name))
        return MailboxTree(
            account.tree_version,
            tuple(self._state.head(account, m) for m in ordered),
            tuple(sorted(account.subscribed)),
        )

    async def head(self, account_id: AccountId, name: str) -> MailboxHead:
        account = self._state.account(account_id)
        return self._state.head(account, self._state.by_name(account, name))

    async def changes(self, account_id: AccountId, mailbox_id: MailboxId, since: int) -> MailboxChanges:
        account, mailbox = self._state.mailbox(account_id, mailbox_id)
        changed = columns(row for row in mailbox.rows.values() if row.modseq > since)
        vanished = array("I", mailbox.vanished_since(since) if since else ())
        return MailboxChanges(
            self._state.head(account, mailbox), since, changed, vanished, 0 < since < mailbox.vanished_floor
        )

    async def vanished(self, account_id: AccountId, mailbox_id: MailboxId, since: int) -> Vanished:
        _account, mailbox = self._state.mailbox(account_id, mailbox_id)
        gone = ranges(mailbox.vanished_since(since))
        return Vanished(mailbox.modseq, gone, floor_reached=since < mailbox.vanished_floor)

    async def poll(self, wanted: Sequence[tuple[AccountId, MailboxId, int]]) -> list[tuple[MailboxId, int]]:
        out = []
        for account_id, mailbox_id, known in wanted:
            account = self._state.accounts.get(account_id)
            mailbox = account.mailboxes.get(mailbox_id) if account and not account.disabled else None
            modseq = mailbox.modseq if mailbox else -1
            if modseq == -1 or modseq > known:
                out.append((mailbox_id, modseq))
        return out

    async def annotations(self, account_id: AccountId, name: str) -> dict[str, bytes]:
        account = self._state.account(account_id)
        if not name:
            return dict(account.annotations)
        mailbox = self._state.by_name(account, name)
        use = {} if mailbox.special_use is None else {SPECIAL_USE: mailbox.special_use.value.encode()}
        return mailbox.annotations | use

    async def quota(self, account_id: AccountId) -> Quota:
        return self._state.account(account_id).quota()

    async def body_infos(
        self, account_id: AccountId, body_ids: Sequence[BodyId], fields: BodyField
    ) -> list[BodyInfo | None]:
        bodies = self._state.account(account_id).bodies
        return [self._info(body_id, bodies[body_id], fields) if body_id in bodies else None for body_id in body_ids]

    def _info(self, body_id: BodyId, content: bytes, fields: BodyField) -> BodyInfo:
        part = mime.scan(content)
        block = content[: part.body_start]
        return BodyInfo(
            body_id,
            len(content),
            len(block),
            header=block if fields & BodyField.HEADER and len(block) <= _MAX_HEADER else None,
            structure=part.to_bytes() if fields & BodyField.STRUCTURE else None,
            envelope=mime.envelope(block) if fields & BodyField.ENVELOPE else None,
            bodystructure=mime.bodystructure(part, content) if fields & BodyField.BODYSTRUCTURE else None,
            body=mime.body(part, content) if fields & BodyField.BODY else None,
            preview=mime.preview(part, content) if fields & BodyField.PREVIEW else None,
            thread=(mime.thread_id(block) or body_id) if fields & BodyField.THREAD else None,
            sort_keys=mime.SortKeys.of(block).to_bytes() if fields & BodyField.SORT_KEYS else None,
        )

    async def contents(self, account_id: AccountId, body_ids: Sequence[BodyId], max_bytes: int) -> list[bytes | None]:
        bodies = self._state.account(account_id).bodies
        out: list[bytes | None] = []
        total = 0
        for body_id in body_ids:
            content = bodies.get(body_id)
            total += len(content or b"")
            if out and total > max_bytes:
                break
            out.append(content)
        return out

    async def read(
        self, account_id: AccountId, body_id: BodyId, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        content = self._state.account(account_id).bodies.get(body_id)
        if content is None:
            raise Refused(RefusedCode.NO_MESSAGE, "Message is gone")
        end = len(content) if length is None else min(len(content), offset + length)
        for start in range(offset, end, _CHUNK):
            yield content[start : min(end, start + _CHUNK)]

    async def maildrop_retention(self, account_id: AccountId | None) -> int | None:
        if account_id is None:
            own = [a.retention_days for a in self._state.accounts.values() if a.retention_days is not None]
            return min((days for days in (*own, *self._state.domain_retention.values()) if days >= 0), default=None)
        account = self._state.account(account_id)
        days = account.retention_days
        if days is None:
            days = self._state.domain_retention.get(account.address.rpartition("@")[2])
        return None if days == -1 else days
