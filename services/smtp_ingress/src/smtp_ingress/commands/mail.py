"""MAIL (RFC 5321 4.1.1.2) with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.smtp import Body, parse_mail

from .. import reply as replies
from ..reply import Reply
from ..transaction import Transaction

if TYPE_CHECKING:
    from ..session import Session

_SENDER_OK = replies.reply(250, "2.1.0", "Sender ok")
_NO_BINARYMIME = replies.reply(555, "5.5.4", "BODY=BINARYMIME is not supported")
_NOT_OWNED = replies.reply(553, "5.7.1", "Sender address is not yours")


def size_keyword(session: Session) -> str:
    """SIZE with the limit in octets."""
    return f"SIZE {session.service.settings.message_size_limit}"


async def run(session: Session, argument: bytes) -> Reply:
    """Open a transaction. On submission the client has authenticated and owns the sender."""
    if not session.helo:
        return replies.NEED_HELO
    if session.transaction is not None:
        return replies.NESTED_MAIL
    if session.submission and session.account_id is None:
        needs_tls = session.service.settings.auth_require_tls and not session.tls
        return replies.TLS_REQUIRED if needs_tls else replies.AUTH_REQUIRED
    mail = parse_mail(argument)
    if mail.body is Body.BINARY_MIME:
        return _NO_BINARYMIME
    path = "" if mail.sender is None else str(mail.sender)
    if (mail.size or 0) > session.service.settings.message_size_limit:
        return replies.TOO_BIG
    if session.account_id is not None and path:
        (owned,) = await session.service.store.directory.owns(session.account_id, [path])
        if not owned:
            return _NOT_OWNED
    session.transactions += 1
    session.transaction = Transaction(
        session.service.budget,
        session.service.settings.message_size_limit,
        reverse_path=path,
        began=session.moments.now(),
        smtputf8=mail.smtputf8,
        ret=mail.ret.value if mail.ret else "",
        envid=mail.envid or "",
    )
    return _SENDER_OK
