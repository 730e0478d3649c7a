"""GETQUOTAROOT: RFC 9208 4.1.2."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..quota import ROOT, quota_line
from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.GetQuotaRoot, LOGGED_IN)
async def get_quota_root(session: Session, command_: t.GetQuotaRoot) -> Reply:
    """RFC 9208 4.1.2: a mailbox that doesn't exist yet would have the same root."""
    quota = await session.gateway.store.read.quota(session.account)
    session.write(response.quota_root(command_.mailbox, (ROOT,), utf8=session.utf8) + quota_line(quota))
    return ok(b"Quota given")
