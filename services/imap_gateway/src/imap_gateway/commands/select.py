"""SELECT: RFC 9051 6.3.2, CONDSTORE (RFC 7162 3.1.8), QRESYNC (3.2.5), MAILBOXID (RFC 8474 4.2)."""

from __future__ import annotations

from mailboat_common.errors import Failure, Refused
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..features import enable_condstore
from ..objectid import mailbox_id
from ..qresync import resynchronise
from ..replies import Reply, bad, ok
from ..selected import NEVER_RECENT, Selected
from ..session import Session
from ..states import LOGGED_IN
from .registry import command

CLOSED = b"* OK [CLOSED] Previous mailbox closed\r\n"  # RFC 9051 7.1: what comes after is the next mailbox's


@command(t.Select, LOGGED_IN, capabilities=(b"QRESYNC",))
async def select(session: Session, command_: t.Select) -> Reply:
    """RFC 9051 6.3.2."""
    return await open_mailbox(session, command_, read_only=False)


async def open_mailbox(session: Session, command_: t.Select | t.Examine, *, read_only: bool) -> Reply:
    """SELECT and EXAMINE. A failure leaves no mailbox selected."""
    if command_.qresync is not None and not session.qresync:
        raise bad(b"QRESYNC is not enabled")
    if session.selected is not None:
        await session.deselect()
        session.write(CLOSED)
    if command_.condstore:
        enable_condstore(session)
    await session.follow()  # before the mailbox is read, or what comes between would be missed
    account = session.account
    view, first_recent = await session.gateway.views.open(account, command_.mailbox)
    recent_from = NEVER_RECENT if session.rev2 else first_recent
    selected = Selected(view, read_only=read_only, recent_from=recent_from, wake=session.wake)
    session.select(selected)
    if not (read_only or session.rev2) and first_recent < view.uid_next:
        try:
            selected.recent_from = await session.gateway.store.write.claim_recent(account, view.mailbox_id)
        except (Refused, Failure):
            await session.deselect()
            raise
        view.first_recent = view.uid_next
        selected.begin()
    session.write(_describe(session))
    if command_.qresync is not None:
        await resynchronise(session, command_.qresync)
    return ok(b"Opened for reading", b"READ-ONLY") if read_only else ok(b"Opened", b"READ-WRITE")


def _describe(session: Session) -> bytes:
    """The untagged responses of RFC 9051 6.3.2 and RFC 3501 6.3.1: RECENT and UNSEEN are rev1's, LIST is rev2's."""
    selected = session.mailbox
    view = selected.view
    lines = [
        selected.flag_lines(),
        selected.counts(recent=not session.rev2),
        b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % view.uid_validity,
        b"* OK [UIDNEXT %d] Predicted next UID\r\n" % view.uid_next,
        b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % view.sync,
        b"* OK [MAILBOXID (%b)] Never changes\r\n" % mailbox_id(view),
    ]
    if session.rev2:
        lines.append(response.list_line((), view.name, utf8=True))
        return b"".join(lines)
    unseen = view.first_unseen()
    if unseen is not None:
        lines.insert(2, b"* OK [UNSEEN %d] First unseen\r\n" % (unseen + 1))
    return b"".join(lines)
