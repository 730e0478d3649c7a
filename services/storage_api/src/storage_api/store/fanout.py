"""An envelope's recipients as what they lead to: accounts to file for, messages to send on (RFC 5321 3.9).

One answer stands for many: an address that leads to several is served as soon as one of them is. So its accounts aren't
refused for their quota, because nobody could be told; an address that leads to one account is judged as that account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from mailboat_mime import header_block, iter_fields
from mailboat_store_client.queue import QueuedRecipient
from mailboat_store_client.types import (
    BY_ADDRESS,
    AccountId,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientResult,
)

from ..directory.addresses import parse
from ..directory.routes import Expansion, Onward, Routes
from ..queue.expanded import Expanded, without_success
from ..queue.submit import Outgoing, without_return_path

MAX_HEADER = 256 << 10
_ORDER = (
    DeliveryStatus.UNAVAILABLE,  # all of it again: what was served then is a duplicate
    DeliveryStatus.FILED,
    DeliveryStatus.QUEUED,
    DeliveryStatus.ACCEPTED,
    DeliveryStatus.DUPLICATE,
    DeliveryStatus.OVER_QUOTA,
    DeliveryStatus.GONE,
)


@dataclass(slots=True)
class Fanout:
    """`by_account`: whom to file for, with the recipients that led there. `leads[i]` says of the envelope's i-th
    recipient what it leads to; None: to another server (a submission's).
    """

    by_account: dict[AccountId, list[EnvelopeRecipient]] = field(default_factory=dict)
    forwards: list[tuple[str, Outgoing]] = field(default_factory=list)
    """(the address of ours that sends it on, the message); `forwards_of`: the recipients that led to each."""
    forwards_of: list[list[EnvelopeRecipient]] = field(default_factory=list)
    always: set[AccountId] = field(default_factory=set)
    leads: list[Expansion | None] = field(default_factory=list)
    expanded: list[Expanded] = field(default_factory=list)
    """Recipients that stand for several, of those whose sender asked to be told of success."""

    def result(
        self,
        number: int,
        address: str,
        accounts: Mapping[AccountId, RecipientResult],
        forwarded: Sequence[DeliveryStatus],
    ) -> RecipientResult:
        """What became of the envelope's recipient of this number."""
        lead = self.leads[number]
        assert lead is not None, "another server's"
        results = [accounts[account_id] for account_id in lead.accounts]
        for status, recipients in zip(forwarded, self.forwards_of, strict=True):
            if any(recipient.address == address for recipient in recipients):
                results.append(RecipientResult(address, status))
        if not results:
            return RecipientResult(address, DeliveryStatus.LOOP if lead.looped else DeliveryStatus.GONE)
        return replace(min(results, key=lambda result: _ORDER.index(result.status)), address=address)


async def fan_out(routes: Routes, envelope: Envelope, content: bytes) -> Fanout:
    """Expand an envelope. Failure if an address leads to too many."""
    out = Fanout()
    plain = {r.account_id for r in envelope.recipients if not r.remote and r.account_id != BY_ADDRESS}
    forwarding = await routes.forwarding(plain)
    been: AbstractSet[str] | None = None
    onward: dict[str, tuple[Onward, EnvelopeRecipient]] = {}
    for given in envelope.recipients:
        recipient = given
        if recipient.remote:
            out.leads.append(None)
            continue
        if recipient.account_id != BY_ADDRESS and recipient.account_id not in forwarding:
            lead = Expansion({recipient.account_id: recipient.mailbox})
        else:
            been = delivered_to(content) if been is None else been
            lead = await _expand(routes, recipient, been)
            if lead.size > 1:
                out.always |= lead.accounts.keys()
                recipient = without_success(given)
                if recipient is not given:
                    out.expanded.append(Expanded(given, lead.size, lead.owned))
        out.leads.append(lead)
        for account_id, hint in lead.accounts.items():
            out.by_account.setdefault(account_id, []).append(replace(recipient, account_id=account_id, mailbox=hint))
        for via, of_lead in lead.onward.items():
            key = via or recipient.address
            if key not in onward:
                onward[key] = of_lead, recipient
                out.forwards_of.append([])
            onward[key][0].recipients |= of_lead.recipients
            out.forwards_of[list(onward).index(key)].append(recipient)
    for key, (one, recipient) in onward.items():
        out.forwards.append((key, await _outgoing(routes, envelope, one, recipient, content)))
    return out


async def _expand(routes: Routes, recipient: EnvelopeRecipient, been: AbstractSet[str]) -> Expansion:
    if recipient.account_id == BY_ADDRESS:
        return await routes.expand_address(recipient.address, been)
    return await routes.expand_account(recipient.account_id, recipient.mailbox, been)


async def _outgoing(
    routes: Routes, envelope: Envelope, onward: Onward, recipient: EnvelopeRecipient, content: bytes
) -> Outgoing:
    """What is sent on. Whoever forwards passes the sender's wishes for notices on; a group with an owner doesn't: its
    members' failures are the owner's business (RFC 3461 5.2.7).
    """
    reverse_path = await routes.reverse_path(onward, envelope.reverse_path)
    message = without_return_path(content)
    if onward.via:
        message = f"Delivered-To: {onward.via}\r\n".encode() + message
    notify, orcpt = ("", "") if onward.owner else (recipient.notify, recipient.orcpt)
    return Outgoing(
        envelope.trace_id,
        reverse_path,
        tuple(QueuedRecipient(address, notify, orcpt) for address in onward.recipients),
        message,
        smtputf8=envelope.smtputf8,
        envid="" if onward.owner else envelope.envid,
        ret="" if onward.owner else envelope.ret,
    )


def delivered_to(content: bytes) -> AbstractSet[str]:
    """Addresses that sent this message on before, normalised."""
    found = set()
    for name, _raw, value in iter_fields(header_block(content[: MAX_HEADER + 4])):
        if name.lower() == b"delivered-to":
            address = parse(value.strip().strip(b"<>").decode("utf-8", "replace"))
            if address is not None:
                found.add(address.full)
    return found
