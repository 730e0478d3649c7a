"""SETMETADATA: RFC 5464 4.3; special uses of existing mailboxes: RFC 6154 4."""

from __future__ import annotations

import os

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.annotations import MAX_VALUE
from mailboat_wire.imap import types as t

from ..replies import Reply, no, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.SetMetadata, LOGGED_IN)
async def set_metadata(session: Session, command_: t.SetMetadata) -> Reply:
    """RFC 5464 4.3: all values or none. What is shared on the server is the operator's to say (3.3)."""
    if not command_.mailbox and any(name.lower().startswith("/shared/") for name in command_.values):
        raise no(b"Shared annotations of the server can't be changed", b"NOPERM")
    write = session.gateway.store.write
    try:
        await write.annotate(session.account, command_.mailbox, command_.values, key=os.urandom(16))
    except Refused as refused:
        if refused.code is RefusedCode.TOO_BIG:
            raise no(b"Value too large", b"METADATA MAXSIZE %d" % MAX_VALUE) from None
        if refused.code is RefusedCode.LIMIT:
            raise no(b"Too many annotations", b"METADATA TOOMANY") from None
        raise
    return ok(b"Metadata set")
