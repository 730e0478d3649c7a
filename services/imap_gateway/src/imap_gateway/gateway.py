"""What all sessions of the process share: the store, the views, the caches, the limits. Wired once, in `main` or in
a test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mailboat_common.limits import ByteBudget, PerKey
from mailboat_store_client.ports import Store
from mailboat_store_client.types import AccountId

from .announcer import Announcer
from .bodies import Bodies
from .policy import Policy
from .views import Views


class News(Protocol):
    """Where the news of mailboxes comes from: an account is followed while one of its sessions has a mailbox
    selected.
    """

    @property
    def connected(self) -> bool:
        """Whether news arrives at present."""

    async def subscribe(self, account_id: AccountId) -> object:
        """Follow an account; calls are counted."""

    async def unsubscribe(self, account_id: AccountId) -> None:
        """Undo one `subscribe`."""


@dataclass(slots=True)
class Gateway:
    """The shared parts of one process."""

    store: Store
    news: News
    views: Views
    policy: Policy
    bodies: Bodies = field(init=False)
    in_flight: ByteBudget = field(init=False)
    accounts: PerKey[AccountId] = field(init=False)
    announcer: Announcer = field(init=False)

    def __post_init__(self) -> None:
        policy = self.policy
        self.bodies = Bodies(self.store.read, policy.body_cache)
        self.in_flight = ByteBudget(policy.bytes_in_flight)
        self.accounts = PerKey(policy.sessions_per_account)
        self.announcer = Announcer(self.store.trace)
