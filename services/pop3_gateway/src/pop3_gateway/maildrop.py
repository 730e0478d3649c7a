"""The maildrop of one session (RFC 1939 4 to 6): what INBOX held when the lease was taken, and what is marked deleted.

Rules: the lease is exclusive across pods and outlives its holder by at most LEASE_SECONDS; it is renewed while the
session lives, and a session that lost it ends without touching anything. Message numbers never change within a session.
Bodies are read ahead in batches, because clients ask for n, n+1, n+2.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from mailboat_common.errors import Failure, Refused
from mailboat_common.log import get_logger
from mailboat_store_client.ports import Store
from mailboat_store_client.types import AccountId, BodyId, MailboxChanges, MaildropLease

log = get_logger(__name__)

LEASE_SECONDS = 60
RENEW_SECONDS = 20.0
AHEAD_MESSAGES = 64
AHEAD_BYTES = 1024 * 1024


class Maildrop:
    """Opened by `open_maildrop`. Message numbers are 1-based; `deleted` holds numbers."""

    def __init__(self, store: Store, account_id: AccountId, lease: MaildropLease, inbox: MailboxChanges) -> None:
        self._store = store
        self._account_id = account_id
        self._lease = lease
        self._mailbox_id = inbox.head.mailbox_id
        self._uid_validity = inbox.head.uid_validity
        self._rows = inbox.changed
        self._ahead: dict[BodyId, bytes] = {}
        self._renewing: asyncio.Task[None] | None = None
        self.deleted: set[int] = set()
        self.lost = False

    def __len__(self) -> int:
        return len(self._rows)

    def numbers(self) -> list[int]:
        """Messages that are not marked deleted."""
        return [n for n in range(1, len(self._rows) + 1) if n not in self.deleted]

    def exists(self, number: int) -> bool:
        """Whether the number names a message that is not marked deleted."""
        return 1 <= number <= len(self._rows) and number not in self.deleted

    def size(self, number: int) -> int:
        """Octets of a message."""
        return self._rows.sizes[number - 1]

    def unique_id(self, number: int) -> bytes:
        """UIDL (RFC 1939 7): UID and UIDVALIDITY of INBOX, which never changes, so stable for ever."""
        return b"%08x%08x" % (self._rows.uids[number - 1], self._uid_validity)

    def keep_lease(self) -> None:
        """Renew the lease until `close`."""
        self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        while not self.lost:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._store.write.renew_maildrop(self._account_id, self._lease.token, LEASE_SECONDS)
            except Refused:
                self.lost = True
            except Failure as error:  # the lease lives for two more tries
                log.warning("lease not renewed", cause=str(error))

    async def content(self, number: int) -> AsyncIterator[bytes]:
        """A message's octets in chunks. Refused NO_MESSAGE if it vanished meanwhile."""
        body_id = self._rows.body_id(number - 1)
        if body_id not in self._ahead and self.size(number) <= AHEAD_BYTES:
            await self._read_ahead(number)
        held = self._ahead.pop(body_id, None)
        if held is not None:
            yield held
            return
        async for chunk in self._store.read.read(self._account_id, body_id):
            yield chunk

    async def _read_ahead(self, number: int) -> None:
        wanted: list[BodyId] = []
        total = 0
        for n in range(number, min(number + AHEAD_MESSAGES, len(self._rows) + 1)):
            if n in self.deleted:
                continue
            total += self.size(n)
            if wanted and total > AHEAD_BYTES:
                break
            wanted.append(self._rows.body_id(n - 1))
        got = await self._store.read.contents(self._account_id, wanted, AHEAD_BYTES)
        found = zip(wanted, got, strict=False)  # the answer may stop early
        self._ahead = {body_id: content for body_id, content in found if content is not None}

    async def update(self) -> None:
        """The UPDATE state: remove what is marked, in one transaction (RFC 1939 6)."""
        if self.deleted:
            uids = [self._rows.uids[n - 1] for n in sorted(self.deleted)]
            await self._store.write.expunge(
                self._account_id, self._mailbox_id, uids, key=os.urandom(16), only_deleted=False
            )

    async def close(self) -> None:
        """Give the lease back."""
        if self._renewing is not None:
            self._renewing.cancel()
        try:
            await self._store.write.release_maildrop(self._account_id, self._lease.token)
        except (Failure, Refused) as error:  # it runs out by itself
            log.warning("lease not released", cause=str(error))


async def open_maildrop(store: Store, account_id: AccountId, holder: str) -> Maildrop:
    """Take the lease, then look at INBOX. Refused IN_USE while another session holds it."""
    lease = await store.write.lease_maildrop(account_id, holder, LEASE_SECONDS)
    try:
        head = await store.read.head(account_id, "INBOX")
        inbox = await store.read.changes(account_id, head.mailbox_id, 0)
    except BaseException:
        await store.write.release_maildrop(account_id, lease.token)
        raise
    drop = Maildrop(store, account_id, lease, inbox)
    drop.keep_lease()
    return drop
