"""The maildrop of one session (RFC 1939 4 to 6): what INBOX held when the lease was taken, and what is marked deleted.

Rules: the lease is exclusive across pods and outlives its holder by at most LEASE_SECONDS; it is renewed while the
session lives and once more right before messages are removed, so a session that lost it touches nothing. Message
numbers never change within a session.

Retrieved is a message that RETR gave whole and whose client then went on: it said QUIT, or sent something after all of
our answer had left the process. So a connection that breaks within an answer, or right behind it, begins no message's
days. The record is written in one call when the session ends, however it ends; a gateway that is killed loses it, and
those messages stay longer. Where nothing may be left (0 days) QUIT removes what was retrieved (RFC 2449 6.7).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable

from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.log import get_logger
from mailboat_store_client.ports import Store
from mailboat_store_client.types import AccountId, BodyId, MailboxChanges, MaildropLease

from .ahead import ReadAhead

log = get_logger(__name__)

LEASE_SECONDS = 60
RENEW_SECONDS = 20.0
RETRY_SECONDS = 2.0  # after a renewal that failed: a call may have taken half the lease's time already
AHEAD_MESSAGES = 64
AHEAD_BYTES = 1024 * 1024


class Maildrop:
    """Opened by `open_maildrop`. Message numbers are 1-based; `deleted` holds numbers.

    `days`: what was retrieved is removed so many days later; None: never.
    """

    def __init__(
        self,
        store: Store,
        ahead: ReadAhead,
        account_id: AccountId,
        lease: MaildropLease,
        inbox: MailboxChanges,
        *,
        days: int | None,
    ) -> None:
        self._store = store
        self._ahead = ahead
        self._account_id = account_id
        self._lease = lease
        self._mailbox_id = inbox.head.mailbox_id
        self._uid_validity = inbox.head.first_uid_validity or inbox.head.uid_validity
        self._uids, self._sizes, self._body_ids = inbox.changed.uids, inbox.changed.sizes, inbox.changed.body_ids
        self._fetched: list[BodyId] = []
        self._renewing: asyncio.Task[None] | None = None
        self._sent: set[int] = set()
        self._retrieved: set[int] = set()
        self.days = days
        self.deleted: set[int] = set()
        self.lost = False

    def __len__(self) -> int:
        return len(self._uids)

    def numbers(self) -> Iterable[int]:
        """Messages that are not marked deleted."""
        everything = range(1, len(self) + 1)
        return [n for n in everything if n not in self.deleted] if self.deleted else everything

    def exists(self, number: int) -> bool:
        """Whether the number names a message that is not marked deleted."""
        return 1 <= number <= len(self) and number not in self.deleted

    def size(self, number: int) -> int:
        """Octets of a message."""
        return self._sizes[number - 1]

    def unique_id(self, number: int) -> bytes:
        """UIDL (RFC 1939 7): the UID and the UIDVALIDITY that INBOX was made with, so stable for ever.

        After a restore too: the store gives no UID again then (`restore_job`).
        """
        return b"%08x%08x" % (self._uids[number - 1], self._uid_validity)

    async def content(self, number: int, *, keep: bool = False) -> AsyncGenerator[bytes, None]:
        """A message's octets in chunks. Refused NO_MESSAGE if it vanished meanwhile.

        `keep`: it will be asked for again (TOP), so what was read ahead stays.
        """
        body_id = self._body_id(number)
        look = self._ahead.peek if keep else self._ahead.take
        held = look(self._account_id, body_id)
        if held is None and self.size(number) <= AHEAD_BYTES:
            await self._read_ahead(number)
            held = look(self._account_id, body_id)
        if held is not None:
            yield held
            return
        async for chunk in self._store.read.read(self._account_id, body_id):
            yield chunk

    def sent(self, number: int) -> None:
        """RETR gave the whole message."""
        self._sent.add(number)

    def client_went_on(self) -> None:
        """The client spoke after everything sent so far had left the process."""
        self._retrieved |= self._sent
        self._sent.clear()

    async def update(self) -> None:
        """The UPDATE state: remove what is marked, in one transaction (RFC 1939 6).

        Refused IN_USE if the lease was lost; nothing is removed then.
        """
        self.client_went_on()
        gone = self.deleted | self._retrieved if self.days == 0 else self.deleted
        if gone:
            # From here the lease lasts longer than the call may take.
            await self._store.write.renew_maildrop(self._account_id, self._lease.token, LEASE_SECONDS)
            uids = [self._uids[n - 1] for n in sorted(gone)]
            await self._store.write.expunge(
                self._account_id, self._mailbox_id, uids, key=os.urandom(16), only_deleted=False
            )
            self._retrieved -= gone

    async def close(self) -> None:
        """Record what was retrieved, and give the lease back."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._ahead.forget(self._account_id, self._fetched)
        await self._record()
        await _release(self._store, self._account_id, self._lease)

    async def _record(self) -> None:
        """A record that fails keeps messages longer, and is no reason to tell the client of a failure."""
        if not self._retrieved:
            return
        uids = [self._uids[n - 1] for n in sorted(self._retrieved)]
        self._retrieved.clear()
        try:
            await self._store.write.record_retrieved(self._account_id, self._mailbox_id, uids, key=os.urandom(16))
        except (Failure, Refused) as error:
            log.warning("retrieved messages not recorded, they stay", count=len(uids), cause=str(error))

    def keep_lease(self) -> None:
        """Renew the lease until `close`."""
        self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        pause = RENEW_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                await self._store.write.renew_maildrop(self._account_id, self._lease.token, LEASE_SECONDS)
                pause = RENEW_SECONDS
            except Refused as error:
                if error.code is not RefusedCode.IN_USE:
                    log.error("lease not renewed", cause=str(error))
                self.lost = True
                return
            except Failure as error:  # if it runs out meanwhile and nobody takes it, it can still be renewed
                log.warning("lease not renewed", cause=str(error))
                pause = RETRY_SECONDS

    def _body_id(self, number: int) -> BodyId:
        return BodyId(bytes(self._body_ids[16 * (number - 1) : 16 * number]))

    async def _read_ahead(self, number: int) -> None:
        self._ahead.forget(self._account_id, self._fetched)
        wanted: list[BodyId] = []
        total = 0
        for n in range(number, min(number + AHEAD_MESSAGES, len(self) + 1)):
            if n in self.deleted:
                continue
            if wanted and total + self.size(n) > AHEAD_BYTES:
                break
            total += self.size(n)
            wanted.append(self._body_id(n))
        self._fetched = wanted
        await self._ahead.fetch(self._account_id, wanted, total)


async def open_maildrop(store: Store, ahead: ReadAhead, account_id: AccountId, holder: str) -> Maildrop:
    """Take the lease, then look at INBOX. Refused IN_USE while another session holds it.

    `holder` is unique to this attempt.
    """
    lease = await store.write.lease_maildrop(account_id, holder, LEASE_SECONDS)
    try:
        head = await store.read.head(account_id, "INBOX")
        inbox, days = await asyncio.gather(
            store.read.changes(account_id, head.mailbox_id, 0), store.read.maildrop_retention(account_id)
        )
    except BaseException:
        await _release(store, account_id, lease)
        raise
    drop = Maildrop(store, ahead, account_id, lease, inbox, days=days)
    drop.keep_lease()
    return drop


async def _release(store: Store, account_id: AccountId, lease: MaildropLease) -> None:
    try:
        await store.write.release_maildrop(account_id, lease.token)
    except (Failure, Refused) as error:  # it runs out by itself
        log.warning("lease not released", cause=str(error))
