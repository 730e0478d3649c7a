"""RCPT (RFC 5321 4.1.1.3): every recipient is checked here; mail for other servers is taken from our own users only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_store_client.types import NO_ACCOUNT, EnvelopeRecipient, RecipientStatus
from mailboat_wire.smtp import Notify, parse_rcpt

from .. import reply as replies
from ..reply import Reply

if TYPE_CHECKING:
    from ..session import Session

_RECIPIENT_OK = replies.reply(250, "2.1.5", "Recipient ok")
_TOO_MANY = replies.reply(452, "4.5.3", "Too many recipients")
_RELAY_DENIED = replies.reply(550, "5.7.1", "Relaying denied")
_SUPPRESSED = replies.reply(
    550, "5.1.1", "Suppressed: its server called this address unknown; the operator can release it"
)
_REFUSALS = {
    RecipientStatus.UNKNOWN: replies.reply(550, "5.1.1", "No such user here"),
    RecipientStatus.DISABLED: replies.reply(550, "5.2.1", "Mailbox is disabled"),
    RecipientStatus.OVER_QUOTA: replies.OVER_QUOTA,
    RecipientStatus.NOT_PERMITTED: replies.reply(550, "5.7.1", "You may not write to this group"),
}


async def run(session: Session, argument: bytes) -> Reply:
    """Add a recipient; <postmaster> needs no domain (RFC 5321 2.3.5)."""
    transaction = session.transaction
    if transaction is None or transaction.chunked:
        return replies.BAD_SEQUENCE_MAIL
    if len(transaction.recipients) >= session.service.settings.recipients_limit:
        return _TOO_MANY
    rcpt = parse_rcpt(argument, smtputf8=transaction.smtputf8)
    address = str(rcpt.recipient)
    resolution = await session.service.resolve(address, transaction.reverse_path, session.account_id or NO_ACCOUNT)
    account_id, mailbox = resolution.account_id, resolution.mailbox
    if resolution.status is RecipientStatus.NOT_LOCAL:
        if session.account_id is None:
            return _RELAY_DENIED
        if resolution.suppressed:
            return _SUPPRESSED
        account_id, mailbox = NO_ACCOUNT, None
    elif resolution.status is not RecipientStatus.LOCAL or account_id is None:
        return _REFUSALS[resolution.status]
    orcpt = rcpt.orcpt.raw if rcpt.orcpt else ""
    transaction.recipients.append(EnvelopeRecipient(address, account_id, mailbox, _notify(rcpt.notify), orcpt))
    return _RECIPIENT_OK


def _notify(notify: Notify | None) -> str:
    """RFC 3461 4.1's text: NEVER, or a comma list; empty if the client said nothing."""
    return "" if notify is None else ",".join(flag.name or "" for flag in Notify if flag & notify) or "NEVER"
