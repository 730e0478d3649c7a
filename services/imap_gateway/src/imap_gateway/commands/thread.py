"""THREAD and UID THREAD: RFC 5256 BASE.6.4.THREAD."""

from __future__ import annotations

from collections.abc import Mapping

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..features import enable_condstore
from ..progress import Progress
from ..replies import Reply, ok
from ..search import keys, search
from ..session import Session
from ..slices import in_slices
from ..sorting import keys_of
from ..states import State
from ..threads import OrderedSubject, References, Threading, render
from .registry import Expunge, command

_ALGORITHMS: Mapping[t.ThreadAlgorithm, type[Threading]] = {
    t.ThreadAlgorithm.ORDEREDSUBJECT: OrderedSubject,
    t.ThreadAlgorithm.REFERENCES: References,
}


@command(
    t.Thread,
    State.SELECTED,
    expunge=Expunge.WITH_UID,
    capabilities=(b"INPROGRESS", b"THREAD=ORDEREDSUBJECT", b"THREAD=REFERENCES"),
)
async def thread(session: Session, command_: t.Thread) -> Reply:
    """RFC 5256 BASE.6.4.THREAD."""
    if any(isinstance(key, t.SearchModseq) for key in keys(command_.key)):
        enable_condstore(session)
    threading = _ALGORITHMS[command_.algorithm]()
    with Progress(session, command_.tag, session.mailbox.exists()) as progress:
        found = await search(session.gateway, session.mailbox, command_.key, progress, more_stages=1)
        async for batch, sent in keys_of(session.gateway.bodies, session.account, found, progress):
            for each, date in zip(batch, sent, strict=True):
                threading.add(each, date)
        threads = await in_slices(threading.threads())
        numbers = found.uids if command_.uid else found.numbers
        shown = await in_slices(render(threads, numbers))
    session.write(response.thread(shown))
    return ok(b"Threaded")
