"""STATUS: RFC 9051 6.3.11."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_store_client.types import MailboxHead
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..features import enable_condstore
from ..replies import Reply, bad, ok
from ..session import Session
from ..states import LOGGED_IN
from ..status_items import STATUS_ITEMS, status_value
from .registry import command


def check_items(session: Session, items: Sequence[bytes]) -> None:
    """BAD for an unknown item; HIGHESTMODSEQ shows that the client knows CONDSTORE (RFC 7162 3.1)."""
    if not all(item in STATUS_ITEMS for item in items):
        raise bad(b"Unknown STATUS item")
    if b"HIGHESTMODSEQ" in items:
        enable_condstore(session)


async def status_line(session: Session, head: MailboxHead, items: Sequence[bytes], name: str) -> bytes:
    """The STATUS response."""
    values = [(item, await status_value(session, head, item)) for item in items]
    return response.status_line(name, values, utf8=session.utf8)


@command(t.Status, LOGGED_IN, capabilities=(b"STATUS=SIZE",))
async def status(session: Session, command_: t.Status) -> Reply:
    """RFC 9051 6.3.11."""
    check_items(session, command_.items)
    head = await session.gateway.store.read.head(session.account, command_.mailbox)
    session.write(await status_line(session, head, command_.items, command_.mailbox))
    return ok(b"Status given")
