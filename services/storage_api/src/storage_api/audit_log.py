"""Who did what through the API: one document for each change and each reading of mail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mailboat_common.ids import uuid7

from .db.driver import Database
from .directory.schema import AUDIT_LOG
from .outage import database_errors
from .tokens import Token


class AuditLog:
    """`clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._entries = db[AUDIT_LOG]
        self._clock = clock

    async def record(self, actor: Token, action: str, target: str, details: dict[str, Any] | None = None) -> None:
        """Writes one entry: `action` like `account.create`, `target` an address, domain or id. Never a secret."""
        async with database_errors():
            await self._entries.insert_one(
                {
                    "_id": uuid7(),
                    "at": self._clock(),
                    "actor": {"id": actor.token_id, "name": actor.name},
                    "action": action,
                    "target": target,
                    "details": details or {},
                }
            )
