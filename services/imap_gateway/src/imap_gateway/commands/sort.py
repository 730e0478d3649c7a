"""SORT and UID SORT: RFC 5256 BASE.6.4.SORT, RFC 5957 (SORT=DISPLAY), RFC 7162 7 (MODSEQ)."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..features import enable_condstore
from ..progress import Progress
from ..replies import Reply, ok
from ..search import keys, search
from ..session import Session
from ..sorting import in_order
from ..states import State
from .registry import Expunge, command


@command(t.Sort, State.SELECTED, expunge=Expunge.WITH_UID, capabilities=(b"INPROGRESS", b"SORT", b"SORT=DISPLAY"))
async def sort(session: Session, command_: t.Sort) -> Reply:
    """RFC 5256 BASE.6.4.SORT."""
    with_modseq = any(isinstance(key, t.SearchModseq) for key in keys(command_.key))
    if with_modseq:
        enable_condstore(session)
    with Progress(session, command_.tag, session.mailbox.exists()) as progress:
        found = await search(session.gateway, session.mailbox, command_.key, progress, more_stages=1)
        order = await in_order(session.gateway.bodies, session.account, found, command_.criteria, progress)
    numbers = found.uids if command_.uid else found.numbers
    modseq = max(found.modseqs) if with_modseq and found.modseqs else None
    session.write(response.sort([numbers[index] for index in order], modseq))
    return ok(b"Sorted")
