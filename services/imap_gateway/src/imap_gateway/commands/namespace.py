"""NAMESPACE: RFC 2342."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Namespace, LOGGED_IN, capabilities=(b"NAMESPACE",))
async def namespace(session: Session, _command: t.Namespace) -> Reply:
    """RFC 2342 5: one personal namespace without a prefix."""
    session.write(response.namespace())
    return ok(b"Namespaces listed")
