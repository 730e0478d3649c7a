"""News of mailboxes: `MailboxChanged` on exchange `mailboat.events`, key `mailbox.NNN` by the account's shard.

News may be lost, doubled or late; whoever needs the truth asks the store. A gateway binds the shards of the accounts
it has sessions for and filters by account itself: a binding per account would stall the exchange when a pod dies.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from mailboat.events.v1 import events_pb2 as events
from mailboat_common.ids import shard
from mailboat_common.log import get_logger

from .types import AccountId, MailboxChanged, MailboxId

log = get_logger(__name__)

EXCHANGE = "mailboat.events"
QUEUE_LENGTH = 10_000


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
    )
