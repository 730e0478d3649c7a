"""News of mailboxes: `MailboxChanged` on exchange `mailboat.events`, key `mailbox.NNN` by the account's shard.

News may be lost, doubled or late; whoever needs the truth asks the store. A gateway binds the shards of the accounts
it has sessions for and filters by account itself: a binding per account would stall the exchange when a pod dies.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from google.protobuf.message import DecodeError
from mailboat.events.v1 import events_pb2 as events
from mailboat_common.bus import Bus, Exchange
from mailboat_common.ids import shard
from mailboat_common.log import get_logger

from .types import AccountId, MailboxChanged, MailboxId

log = get_logger(__name__)

EXCHANGE = Exchange("mailboat.events")
QUEUE_LENGTH = 10_000
LINGER_SECONDS = 60.0


def routing_key(account_id: AccountId) -> str:
    """`mailbox.NNN`."""
    return f"mailbox.{shard(account_id):03d}"


def encode(news: MailboxChanged) -> bytes:
    """The body of one piece of news."""
    return events.MailboxChanged(
        account_id=news.account_id,
        mailbox_id=news.mailbox_id,
        modseq=news.modseq,
        committed_at=news.committed_at,
        deleted=news.deleted,
        tree_version=news.tree_version,
        account_closed=news.account_closed,
    ).SerializeToString()


def decode(body: bytes) -> MailboxChanged:
    """One piece of news. Raises ValueError if the body is none."""
    try:
        message = events.MailboxChanged.FromString(body)
    except DecodeError as error:
        raise ValueError("not a MailboxChanged") from error
    if len(message.account_id) != 16 or len(message.mailbox_id) != 16:
        raise ValueError("a MailboxChanged without ids")
    return MailboxChanged(
        AccountId(message.account_id),
        MailboxId(message.mailbox_id),
        message.modseq,
        message.committed_at,
        message.deleted,
        message.tree_version,
        message.account_closed,
    )


class MailboxEvents:
    """A gateway's share of the news: the shards of the accounts it has sessions for.

    `on_changed` is called in the event loop for every piece of news of a bound shard, also for accounts nobody here
    asked for: the caller filters. `on_reconnect` is called when the connection came (back): what was said before is
    unknown, so poll. Create it before `bus.run` is spawned.
    """

    def __init__(
        self,
        bus: Bus,
        on_changed: Callable[[MailboxChanged], None],
        on_reconnect: Callable[[], None] | None = None,
        *,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._bus = bus
        self._linger_seconds = linger_seconds
        self._bound: set[str] = set()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._on_changed = on_changed
        self._users: Counter[str] = Counter()
        self._news = bus.subscribe_shards(EXCHANGE, self._receive, QUEUE_LENGTH, on_reconnect)

    @property
    def connected(self) -> bool:
        """False: no news comes at present, poll every second."""
        return self._bus.connected

    async def subscribe(self, account_id: AccountId) -> bool:
        """One session more for this account. True: its news comes from now on; False: after the next reconnect."""
        key = routing_key(account_id)
        self._users[key] += 1
        if key in self._bound:
            return self._bus.connected
        bound = await self._news.bind(key)
        self._bound.add(key)
        return bound

    async def unsubscribe(self, account_id: AccountId) -> None:
        """One session less; the shard is given up some time after its last session: clients come back."""
        key = routing_key(account_id)
        self._users[key] -= 1
        if not self._users[key] and key not in self._leaving:
            self._leaving[key] = asyncio.create_task(self._leave(key))

    async def _leave(self, key: str) -> None:
        try:
            await asyncio.sleep(self._linger_seconds)
            if self._users[key]:
                return
            del self._users[key]
            self._bound.discard(key)
            await self._news.unbind(key)
            if self._users[key]:  # a session came while we gave it up
                await self._news.bind(key)
                self._bound.add(key)
        finally:
            del self._leaving[key]

    def _receive(self, _key: str, body: bytes) -> None:
        try:
            news = decode(body)
        except ValueError as error:
            log.warning("news doesn't parse", cause=str(error))
            return
        self._on_changed(news)
