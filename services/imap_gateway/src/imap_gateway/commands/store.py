"""STORE and UID STORE: RFC 9051 6.4.6, RFC 7162 3.1.3 (UNCHANGEDSINCE)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mailboat_store_client.types import FlagMode, StoreResult
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t
from mailboat_wire.imap.sequence import runs

from .. import render
from ..features import enable_condstore
from ..fetch import Fetcher, Plan
from ..replies import Reply, no, ok
from ..selected import Selected
from ..session import Session
from ..states import State
from .registry import Expunge, command

_MODES = {t.StoreMode.ADD: FlagMode.ADD, t.StoreMode.REMOVE: FlagMode.REMOVE, t.StoreMode.REPLACE: FlagMode.REPLACE}


@command(t.Store, State.SELECTED, expunge=Expunge.WITH_UID)
async def store(session: Session, command_: t.Store) -> Reply:
    """RFC 9051 6.4.6: one transaction, then the new flags of every message that was named."""
    selected = session.mailbox
    if selected.read_only:
        raise no(b"Mailbox is read-only", b"READ-ONLY")
    if command_.unchanged_since is not None:
        enable_condstore(session)
    ranges = selected.ranges(command_.sequence, uid=command_.uid)
    lost = not command_.uid and selected.tracker.lost(ranges)
    uids = selected.view.select(ranges)
    modified: tuple[int, ...] = ()
    if uids:
        result = await session.gateway.store.write.store_flags(
            session.account,
            selected.view.mailbox_id,
            uids,
            _MODES[command_.mode],
            [flag.decode("ascii") for flag in command_.flags],
            key=os.urandom(16),
            unchanged_since=command_.unchanged_since,
        )
        await session.gateway.views.settle(result.delta, selected)
        modified = result.modified
        await _show(session, command_, uids, result)
    if modified:
        numbers = modified if command_.uid else selected.tracker.numbers(selected.view.uids, modified)
        return ok(b"Some messages were changed meanwhile", response.code_modified(numbers))
    return ok(b"Some messages are gone", b"EXPUNGEISSUED") if lost else ok(b"Stored")


async def _show(session: Session, command_: t.Store, uids: Sequence[int], result: StoreResult) -> None:
    """The FETCH responses: all messages that were named, or with .SILENT and CONDSTORE the new MODSEQ of changed
    ones.
    """
    selected: Selected = session.mailbox
    if selected.keywords_told != len(selected.view.flag_table.keywords):
        session.write(selected.flag_lines())
    items: list[render.Item] = [render.Uid()] if command_.uid else []
    shown: Sequence[int]
    if not command_.silent:
        items.append(render.Flags())
        left_alone = set(result.modified)
        shown = [uid for uid in uids if uid not in left_alone] if left_alone else uids
    else:
        shown = result.delta.changed.uids
    if session.condstore:
        items.append(render.ModSeq())
    if command_.silent and not session.condstore:
        return
    await Fetcher(session, Plan(items), runs(shown)).run()
