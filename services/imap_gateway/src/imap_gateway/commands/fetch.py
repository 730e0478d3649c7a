"""FETCH and UID FETCH: RFC 9051 6.4.5, RFC 7162 3.1.4, RFC 3516 4.2 (BINARY), RFC 9394 3.3 (PARTIAL)."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..features import enable_condstore
from ..fetch import Fetcher, Plan, changed_only, partial_only
from ..fetch_items import FETCH_ITEMS
from ..progress import Progress
from ..qresync import tell_vanished
from ..render import Item, ModSeq, Uid
from ..replies import Reply, bad, no, ok
from ..session import Session
from ..states import State
from .registry import Expunge, command


@command(
    t.Fetch,
    State.SELECTED,
    expunge=Expunge.WITH_UID,
    capabilities=(b"BINARY", b"INPROGRESS", b"PARTIAL", b"PREVIEW", b"SAVEDATE"),
)
async def fetch(session: Session, command_: t.Fetch) -> Reply:
    """RFC 9051 6.4.5; messages that another session has expunged are passed over (RFC 2180 4.1.2)."""
    if command_.vanished and not session.qresync:
        raise bad(b"VANISHED needs QRESYNC enabled")
    items = items_of(session, command_)
    selected = session.mailbox
    ranges = selected.ranges(command_.sequence, uid=command_.uid)
    lost = not command_.uid and selected.tracker.lost(ranges)
    if command_.partial is not None:
        ranges = partial_only(selected.view, ranges, command_.partial)
    if command_.changed_since is not None:
        if command_.vanished:
            await tell_vanished(session, command_.changed_since, selected.named(command_.sequence))
        ranges = changed_only(selected.view, ranges, command_.changed_since)
    plan = Plan(items)
    fetcher = Fetcher(session, plan, ranges)
    with Progress(session, command_.tag, selected.view.count(ranges) if plan.waits else None) as progress:
        await fetcher.run(progress)
    if fetcher.undecodable:
        raise no(b"Unknown Content-Transfer-Encoding", b"UNKNOWN-CTE")
    return ok(b"Some messages are gone", b"EXPUNGEISSUED") if lost else ok(b"Fetched")


def items_of(session: Session, command_: t.Fetch) -> list[Item]:
    """The renderers; UID is implied by UID FETCH, MODSEQ by CHANGEDSINCE."""
    names = [item.name for item in command_.items]
    if any(name not in FETCH_ITEMS for name in names):
        raise bad(b"Unknown FETCH item")
    items = [FETCH_ITEMS[item.name](item) for item in command_.items]
    if command_.uid and b"UID" not in names:
        items.insert(0, Uid())
    if command_.changed_since is not None and b"MODSEQ" not in names:
        items.append(ModSeq())
    if command_.changed_since is not None or b"MODSEQ" in names:
        enable_condstore(session)
    return items
