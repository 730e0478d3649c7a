"""What a contract test sees: one store, one fresh account, and the few things the ports don't show."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from mailboat_store_client.ports import Store
from mailboat_store_client.queue import Job, QueueId, Transport
from mailboat_store_client.types import AccountId, AppendMessage, MailboxChanged, MailboxChanges

MESSAGE = (
    b"From: Ann <ann@elsewhere.example>\r\nTo: a@example.test\r\nSubject: Hello\r\n"
    b"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@elsewhere.example>\r\n\r\nHello there.\r\n"
)


def key() -> bytes:
    """A fresh idempotency key."""
    return os.urandom(16)


class MailOut(Protocol):
    """The outbound queue as its scheduler and operators see it, by a submission's trace id."""

    async def jobs(self, trace_id: str) -> list[Job]:
        """What is ready now, whenever it is due, by domain; claims whose lease has ended are taken back first."""

    async def end_lease(self, queue_id: QueueId) -> None:
        """The time of its claim is over; nobody has noticed yet."""

    async def hold(self, queue_id: QueueId) -> None:
        """An operator's hold of a ready document."""

    async def route(self, key: str, transport: Transport) -> None:
        """An entry of the transport table."""


_NOBODY = AccountId(b"")


@dataclass(slots=True)
class World:
    """One store under test. `make_account(octets, messages)`, its quotas, gives (id, address); `usage_of` reads an
    account's octets.
    """

    """One store under test. `make_account(quota)` gives (id, address); `usage_of` reads an account's octets,
    `disable` does as an operator does, `set_retention` sets an account's days of POP3 (-1: never).
    """

    store: Store
    events: asyncio.Queue[MailboxChanged]
    make_account: Callable[[int, int], Awaitable[tuple[AccountId, str]]]
    usage_of: Callable[[AccountId], Awaitable[int]]
    disable: Callable[[AccountId], Awaitable[None]]
    password: str
    set_retention: Callable[[AccountId, int], Awaitable[None]]
    mail_out: MailOut
    make_group: Callable[[list[str], str], Awaitable[str]]
    account: AccountId = _NOBODY
    address: str = ""

    async def new_account(self, quota: int = 0, messages: int = 0) -> AccountId:
        """Another account in the same domain."""
        return (await self.make_account(quota, messages))[0]

    async def usage(self) -> int:
        """Octets used by the world's account."""
        return await self.usage_of(self.account)

    async def inbox(self) -> MailboxChanges:
        """The whole INBOX."""
        head = await self.store.read.head(self.account, "INBOX")
        return await self.store.read.changes(self.account, head.mailbox_id, 0)

    async def fill(self, mailbox: str, count: int) -> None:
        """Append `count` messages, up to 100 a call."""
        for start in range(0, count, 100):
            batch = [AppendMessage(MESSAGE)] * min(100, count - start)
            await self.store.write.append(self.account, mailbox, batch, key=key())

    async def next_event(self) -> MailboxChanged:
        """The next news; fails the test after five seconds."""
        return await asyncio.wait_for(self.events.get(), 5)
