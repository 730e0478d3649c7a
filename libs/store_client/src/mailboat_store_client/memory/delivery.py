"""The Delivery port of the fake."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7

from ..types import (
    BY_ADDRESS,
    MAX_FLAG_WORDS,
    NO_ACCOUNT,
    AccountId,
    Answered,
    BodyId,
    DeliverResult,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientResult,
)
from .queue import MemoryQueue
from .state import Account, Mailbox, State


class MemoryDelivery:
    """The Delivery port. `answered` is what gateways said they answered."""

    def __init__(self, state: State, queue: MemoryQueue) -> None:
        self._state = state
        self._queue = queue
        self._sent_on: set[tuple[str, str, str]] = set()
        self.answered: list[Answered] = []

    async def deliver(self, envelope: Envelope, content: bytes) -> DeliverResult:
        await self.confirm(envelope.confirmed, envelope.answered)
        remote = self._submit(envelope, content)
        done: dict[AccountId, RecipientResult] = {}
        results = []
        for recipient in envelope.recipients:
            if recipient.remote:
                results.append(remote[recipient.address])
                continue
            if recipient.account_id == BY_ADDRESS:
                results.append(self._group(envelope, recipient, content, done))
                continue
            results.append(self._once(envelope, recipient, content, done))
        return DeliverResult(tuple(results))

    def _once(
        self,
        envelope: Envelope,
        recipient: EnvelopeRecipient,
        content: bytes,
        done: dict[AccountId, RecipientResult],
    ) -> RecipientResult:
        earlier = done.get(recipient.account_id)
        if earlier is None:
            earlier = done[recipient.account_id] = self._file(envelope, recipient, content)
        return replace(earlier, address=recipient.address)

    def _group(
        self,
        envelope: Envelope,
        recipient: EnvelopeRecipient,
        content: bytes,
        done: dict[AccountId, RecipientResult],
    ) -> RecipientResult:
        """One answer for all members: that of one who was served, if there is one."""
        if f"delivered-to: {recipient.address.lower()}\r\n".encode() in content.lower():
            return RecipientResult(recipient.address, DeliveryStatus.LOOP)
        here, elsewhere = self._state.members(recipient.address)
        members = [replace(recipient, account_id=self._state.addresses[address]) for address in here]
        results = [self._once(envelope, member, content, done) for member in members]
        sent = ("sent on", envelope.trace_id, recipient.address)
        if elsewhere and sent not in self._sent_on:
            self._sent_on.add(sent)
            away = [replace(recipient, address=address, account_id=NO_ACCOUNT) for address in elsewhere]
            self._queue.submit(envelope, away, f"Delivered-To: {recipient.address}\r\n".encode() + content)
        if elsewhere:
            results.append(RecipientResult(recipient.address, DeliveryStatus.QUEUED))
        gone = RecipientResult(recipient.address, DeliveryStatus.GONE)
        served = (DeliveryStatus.FILED, DeliveryStatus.QUEUED)
        return next((one for one in results if one.status in served), (results or [gone])[0])

    def _submit(self, envelope: Envelope, content: bytes) -> dict[str, RecipientResult]:
        """Queue the remote recipients. Refused NOT_PERMITTED for what isn't a submission."""
        remote = {r.address: r for r in envelope.recipients if r.remote}
        if not remote:
            return {}
        if envelope.account_id == NO_ACCOUNT:
            raise Refused(RefusedCode.NOT_PERMITTED, "Relaying denied")
        account = self._state.accounts.get(envelope.account_id)
        if account is None or account.disabled:
            raise Refused(RefusedCode.NOT_PERMITTED, "The account may not send")
        results = {address: RecipientResult(address, DeliveryStatus.QUEUED) for address in remote}
        wanted = []
        for address, recipient in remote.items():
            duplicate = (envelope.content_sha256, envelope.reverse_path, address.lower())
            first = self._state.delivered.get(duplicate)
            if first == envelope.trace_id:
                continue  # the call is repeated
            if first and (first not in self._state.confirmed or envelope.trace_id < first):
                results[address] = RecipientResult(address, DeliveryStatus.DUPLICATE, duplicate_of=first)
                continue
            self._state.delivered[duplicate] = envelope.trace_id
            wanted.append(recipient)
        self._queue.submit(envelope, wanted, content)
        return results

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
        self._state.traces[account.account_id, body_id] = envelope.trace_id
        now = self._state.clock()
        rows = [(body_id, [0] * MAX_FLAG_WORDS, now, len(content))]
        delta = self._state.add_rows(account, mailbox, rows, now)
        self._state.delivered[duplicate] = envelope.trace_id
        result = RecipientResult(recipient.address, DeliveryStatus.FILED, delta.changed.uids[0], mailbox.mailbox_id)
        account.done[key] = result
        return result

    def _target(self, account: Account, hint: str | None) -> Mailbox:
        """The mailbox a plus-tag names, if it exists; else INBOX."""
        named = [m for m in account.mailboxes.values() if hint and m.name.casefold() == hint.casefold()]
        return named[0] if named else self._state.by_name(account, "INBOX")

    async def confirm(self, trace_ids: Sequence[str], answered: Sequence[Answered] = ()) -> None:
        self._state.confirmed.update(trace_ids)
        self.answered += answered
