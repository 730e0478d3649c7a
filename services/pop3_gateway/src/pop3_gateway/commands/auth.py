"""AUTH (RFC 5034) with PLAIN (RFC 4616); `*` cancels. A bare AUTH lists the mechanisms, as older clients expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Auth
from mailboat_wire.sasl import Challenge, Credentials, SaslError, SaslFault, start

from ..authentication import log_in
from ..replies import Answer, err
from .capa import may_login

if TYPE_CHECKING:
    from ..session import Session


MECHANISMS = (b"PLAIN",)

_FAULTS = {
    SaslFault.CANCELLED: "Authentication cancelled",
    SaslFault.MALFORMED: "Not a response of this mechanism",
    SaslFault.TOO_LONG: "Response too long",
}


async def run(session: Session, command: Auth) -> Answer:
    """Begin an exchange; with an initial response it may be the whole of it."""
    if not may_login(session):
        return session.erred(err("[AUTH] TLS required first (STLS)"))
    session.username = ""
    if command.mechanism is None:
        return Answer(b"+OK\r\n" + b"\r\n".join(MECHANISMS) + b"\r\n.\r\n")
    exchange = start(command.mechanism) if command.mechanism in MECHANISMS else None
    if exchange is None:
        return session.erred(err("Mechanism not supported"))
    session.exchange = exchange
    return await respond(session, command.initial)


async def respond(session: Session, response: bytes | None) -> Answer:
    """A client's response within the exchange, in base64; None if it sent none with AUTH."""
    exchange, session.exchange = session.exchange, None
    assert exchange is not None
    try:
        step: Challenge | Credentials = exchange.step(response)
    except SaslError as error:
        return session.erred(err(_FAULTS[error.fault]))
    if isinstance(step, Challenge):
        session.exchange = exchange
        return Answer(b"+ " + step.encoded() + b"\r\n")
    if step.authorization not in ("", step.username):
        return session.erred(err("[AUTH] Can't act for another account"))
    return await log_in(session, "PLAIN", step.username, step.password)
