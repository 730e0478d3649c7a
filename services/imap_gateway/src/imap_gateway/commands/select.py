"""SELECT: RFC 9051 6.3.2, CONDSTORE (RFC 7162 3.1.8)."""

from __future__ import annotations

from mailboat_common.errors import Failure, Refused
from mailboat_wire.imap import types as t

from ..features import enable_condstore
from ..replies import Reply, bad, ok
from ..selected import Selected
from ..session import Session
from ..states import LOGGED_IN
from ..view import View
from .registry import command


@command(t.Select, LOGGED_IN)
async def select(session: Session, command_: t.Select) -> Reply:
    """RFC 9051 6.3.2."""
    return await open_mailbox(session, command_, read_only=False)


async def open_mailbox(session: Session, command_: t.Select | t.Examine, *, read_only: bool) -> Reply:
    """SELECT and EXAMINE. A failure leaves no mailbox selected."""
    if command_.qresync is not None:
        raise bad(b"QRESYNC is not enabled")
    await session.deselect()
    if command_.condstore:
        enable_condstore(session)
    await session.follow()  # before the mailbox is read, or what comes between would be missed
    account = session.account
    view, first_recent = await session.gateway.views.open(account, command_.mailbox)
    selected = Selected(view, read_only=read_only, recent_from=first_recent, wake=session.wake)
    session.select(selected)
    if not read_only and first_recent < view.uid_next:
        try:
            selected.recent_from = await session.gateway.store.write.claim_recent(account, view.mailbox_id)
        except (Refused, Failure):
            await session.deselect()
            raise
        view.first_recent = view.uid_next
        selected.begin()
    session.write(_describe(selected, view))
    return ok(b"Opened for reading", b"READ-ONLY") if read_only else ok(b"Opened", b"READ-WRITE")


def _describe(selected: Selected, view: View) -> bytes:
    """The untagged responses of RFC 9051 6.3.2 and RFC 3501 6.3.1."""
    lines = [
        selected.flag_lines(),
        b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view), selected.recent()),
        b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % view.uid_validity,
        b"* OK [UIDNEXT %d] Predicted next UID\r\n" % view.uid_next,
        b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % view.sync,
    ]
    unseen = view.first_unseen()
    if unseen is not None:
        lines.insert(2, b"* OK [UNSEEN %d] First unseen\r\n" % (unseen + 1))
    return b"".join(lines)
