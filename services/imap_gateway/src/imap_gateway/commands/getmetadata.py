"""GETMETADATA: RFC 5464 4.2."""

from __future__ import annotations

from collections.abc import Mapping

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command

ADMIN = "/shared/admin"


@command(t.GetMetadata, LOGGED_IN, capabilities=(b"METADATA",))
async def get_metadata(session: Session, command_: t.GetMetadata) -> Reply:
    """RFC 5464 4.2: an entry that was named and has no value is NIL, unless others below it were asked for and found.

    LONGENTRIES tells the size of the longest value that MAXSIZE kept back.
    """
    found = await session.gateway.store.read.annotations(session.account, command_.mailbox)
    if not command_.mailbox:
        found[ADMIN] = b"mailto:postmaster@" + session.login.rpartition("@")[2].encode()
    chosen = select(found, command_)
    limit = command_.max_size
    shown = [(name, value) for name, value in chosen if limit is None or value is None or len(value) <= limit]
    if shown:
        lines = [(name.encode("ascii"), value) for name, value in shown]
        session.write(response.metadata(command_.mailbox, lines, utf8=session.utf8))
    longest = max((len(value) for _, value in chosen if value is not None), default=0)
    if limit is not None and longest > limit:
        return ok(b"Metadata given but for what is too long", b"METADATA LONGENTRIES %d" % longest)
    return ok(b"Metadata given")


def select(found: Mapping[str, bytes], command_: t.GetMetadata) -> list[tuple[str, bytes | None]]:
    """What was asked for: each entry once, under the name it was asked by, then what is below it by name."""
    values = {name.lower(): (name, value) for name, value in sorted(found.items())}
    out: dict[str, tuple[str, bytes | None]] = {}
    for name in command_.entries:
        fold = name.lower()
        if fold in values:
            out.setdefault(fold, (name, values[fold][1]))
        elif command_.depth is t.Depth.ZERO:
            out.setdefault(fold, (name, None))
        for below, pair in values.items():
            if below.startswith(fold + "/") and _within(command_.depth, below[len(fold) + 1 :]):
                out.setdefault(below, pair)
    return list(out.values()) or [(name, None) for name in command_.entries]


def _within(depth: t.Depth, rest: str) -> bool:
    return depth is t.Depth.INFINITY or (depth is t.Depth.ONE and "/" not in rest)
