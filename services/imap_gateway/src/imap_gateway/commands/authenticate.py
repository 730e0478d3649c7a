"""AUTHENTICATE: RFC 9051 6.2.2, SASL-IR (RFC 4959), PLAIN (RFC 4616)."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t
from mailboat_wire.sasl import Challenge, SaslError, SaslFault, start

from ..authentication import log_in, require_protection
from ..replies import Reply, bad, no
from ..session import Session
from ..states import State
from .registry import command

MECHANISMS = frozenset({b"PLAIN"})


@command(t.Authenticate, State.NOT_AUTHENTICATED)
async def authenticate(session: Session, command_: t.Authenticate) -> Reply:
    """RFC 9051 6.2.2: `*` cancels the exchange."""
    require_protection(session)
    exchange = start(command_.mechanism) if command_.mechanism in MECHANISMS else None
    if exchange is None:
        raise no(b"Mechanism not supported", b"CANNOT")
    said = b"" if command_.initial == b"=" else command_.initial
    try:
        step = exchange.step(said)
        while isinstance(step, Challenge):
            said = await session.link.expect_line(response.continuation(step.encoded()))
            step = exchange.step(said)
    except SaslError as error:
        if error.fault is SaslFault.CANCELLED:
            raise bad(b"Cancelled") from None
        raise bad(b"Not a response of this mechanism") from None
    if step.authorization not in ("", step.username):
        raise no(b"Can't act for another account", b"AUTHORIZATIONFAILED")
    return await log_in(session, command_.mechanism.decode("ascii"), step.username, step.password)
