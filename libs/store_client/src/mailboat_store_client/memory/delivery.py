"""The Delivery port of the fake."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from mailboat_common.errors import Refused
from mailboat_common.ids import uuid7

from ..types import (
    MAX_FLAG_WORDS,
    AccountId,
    BodyId,
    DeliverResult,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientResult,
)
from .state import Account, Mailbox, State


class MemoryDelivery:
    """The Delivery port."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def deliver(self, envelope: Envelope, content: bytes) -> DeliverResult:
        await self.confirm(envelope.confirmed)
        done: dict[AccountId, RecipientResult] = {}
        results = []
        for recipient in envelope.recipients:
            earlier = done.get(recipient.account_id)
            if earlier is None:
                earlier = done[recipient.account_id] = self._file(envelope, recipient, content)
            results.append(replace(earlier, address=recipient.address))
        return DeliverResult(tuple(results))

    def _file(self, envelope: Envelope, recipient: EnvelopeRecipient, content: bytes) -> RecipientResult:
        account = self._state.accounts.get(recipient.account_id)
        if account is None or account.disabled:
            return RecipientResult(recipient.address, DeliveryStatus.GONE)
        key = hashlib.sha256(envelope.trace_id.encode()).digest()
        if isinstance(before := account.done.get(key), RecipientResult):
            return before
        duplicate = (envelope.content_sha256, envelope.reverse_path, recipient.address.lower())
        first = self._state.delivered.get(duplicate)
        if first and (first not in self._state.confirmed or envelope.trace_id < first):
            return RecipientResult(recipient.address, DeliveryStatus.DUPLICATE, duplicate_of=first)
        try:
            self._state.check_quota(account, len(content), 1)
        except Refused:
            return RecipientResult(recipient.address, DeliveryStatus.OVER_QUOTA)
        mailbox = self._target(account, recipient.mailbox)
        body_id = BodyId(uuid7())
        account.bodies[body_id] = content
        delta = self._state.add_rows(
            account, mailbox, [(body_id, [0] * MAX_FLAG_WORDS, self._state.clock(), len(content))]
        )
        self._state.delivered[duplicate] = envelope.trace_id
        result = RecipientResult(recipient.address, DeliveryStatus.FILED, delta.changed.uids[0], mailbox.mailbox_id)
        account.done[key] = result
        return result

    def _target(self, account: Account, hint: str | None) -> Mailbox:
        """The mailbox a plus-tag names, if it exists; else INBOX."""
        named = [m for m in account.mailboxes.values() if hint and m.name.casefold() == hint.casefold()]
        return named[0] if named else self._state.by_name(account, "INBOX")

    async def confirm(self, trace_ids: Sequence[str]) -> None:
        self._state.confirmed.update(trace_ids)
