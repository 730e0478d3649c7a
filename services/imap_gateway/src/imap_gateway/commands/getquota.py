"""GETQUOTA: RFC 9208 4.1.1."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..quota import ROOT, quota_line
from ..replies import Reply, no, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.GetQuota, LOGGED_IN, capabilities=(b"QUOTA", b"QUOTA=RES-STORAGE", b"QUOTA=RES-MESSAGE"))
async def get_quota(session: Session, command_: t.GetQuota) -> Reply:
    """RFC 9208 4.1.1: NO for another root than ours."""
    if command_.root != ROOT:
        raise no(b"No such quota root", b"NONEXISTENT")
    session.write(quota_line(await session.gateway.store.read.quota(session.account)))
    return ok(b"Quota given")
