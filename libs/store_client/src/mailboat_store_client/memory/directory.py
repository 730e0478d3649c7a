"""The Directory port of the fake."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..types import (
    BY_ADDRESS,
    NO_ACCOUNT,
    AccountId,
    AuthResult,
    AuthStatus,
    RecipientStatus,
    Resolution,
)
from .state import State


class MemoryDirectory:
    """The Directory port."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def resolve(
        self, addresses: Sequence[str], *, sender: str = "", account_id: AccountId = NO_ACCOUNT
    ) -> list[Resolution]:
        return [self._group(address, sender, account_id) or self._resolve(address) for address in addresses]

    def _group(self, address: str, sender: str, account_id: AccountId) -> Resolution | None:
        """A group's answer to this sender; None if it is no group."""
        name = address.lower()
        if name not in self._state.groups:
            return None
        members, who = self._state.groups[name]
        mine = {a for a, owner in self._state.addresses.items() if owner == account_id}
        if account_id == NO_ACCOUNT and sender.lower().rpartition("@")[2] not in self._state.domains:
            mine = {sender.lower()}
        domain = name.rpartition("@")[2]
        allowed = {
            "anyone": True,
            "members": not mine.isdisjoint(members),
            "domain": account_id != NO_ACCOUNT and any(one.endswith("@" + domain) for one in mine),
        }
        restricted = who != "anyone"
        if not allowed[who]:
            return Resolution(address, RecipientStatus.NOT_PERMITTED, restricted=restricted)
        if not any(self._state.members(name)):
            return Resolution(address, RecipientStatus.UNKNOWN)
        return Resolution(address, RecipientStatus.LOCAL, BY_ADDRESS, restricted=restricted)

    def _resolve(self, address: str) -> Resolution:
        local, _, domain = address.rpartition("@")
        domain, local = domain.lower(), local.lower()
        if domain not in self._state.domains:
            suppressed = f"{local}@{domain}" in self._state.suppressed
            return Resolution(address, RecipientStatus.NOT_LOCAL, suppressed=suppressed)
        base, _, tag = local.partition("+")
        account_id = self._state.addresses.get(f"{base}@{domain}")
        exempt = base in ("postmaster", "abuse")
        if account_id is None and exempt:
            account_id = next(
                (a for address_, a in self._state.addresses.items() if address_.endswith("@" + domain)), None
            )
        if account_id is None:
            return Resolution(address, RecipientStatus.UNKNOWN)
        account = self._state.accounts[account_id]
        if account.disabled:
            return Resolution(address, RecipientStatus.DISABLED)
        if account.quota().exhausted and not exempt:
            return Resolution(address, RecipientStatus.OVER_QUOTA, account_id, tag or None)
        return Resolution(address, RecipientStatus.LOCAL, account_id, tag or None)

    async def authenticate(self, login: str, password: str, *, protocol: str, client: str) -> AuthResult:
        account_id = self._state.addresses.get(login.lower())
        if account_id is None or self._state.accounts[account_id].password != password:
            return AuthResult(AuthStatus.BAD_CREDENTIALS)
        account = self._state.accounts[account_id]
        if account.disabled:
            return AuthResult(AuthStatus.DISABLED)
        return AuthResult(AuthStatus.OK, account_id, account.address, tuple(account.imap_masked_capabilities))

    async def owns(self, account_id: AccountId, addresses: Sequence[str]) -> list[bool]:
        found = await self.resolve(addresses)
        return [r.account_id == account_id and not re.match(r"(postmaster|abuse)[@+]", r.address, re.I) for r in found]
