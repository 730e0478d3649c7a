"""The SMTP commands: verb → handler, and the EHLO keywords they bring.

To add one: a file with `async def run(session, argument) -> Reply`, an entry here, a row in the tests and in
docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from . import auth, bdat, data, ehlo, help_, mail, noop, quit_, rcpt, rset, starttls, vrfy

if TYPE_CHECKING:
    from ..reply import Reply
    from ..session import Session

Command = Callable[["Session", bytes], Awaitable["Reply"]]
Keyword = Callable[["Session"], str | None]

COMMANDS: dict[bytes, Command] = {
    b"EHLO": ehlo.run,
    b"HELO": ehlo.helo,
    b"MAIL": mail.run,
    b"RCPT": rcpt.run,
    b"DATA": data.run,
    b"BDAT": bdat.run,
    b"RSET": rset.run,
    b"NOOP": noop.run,
    b"VRFY": vrfy.run,
    b"HELP": help_.run,
    b"QUIT": quit_.run,
    b"STARTTLS": starttls.run,
    b"AUTH": auth.run,
}

KEYWORDS: tuple[Keyword, ...] = (
    lambda _: "PIPELINING",
    mail.size_keyword,
    lambda _: "8BITMIME",
    lambda _: "SMTPUTF8",
    lambda _: "ENHANCEDSTATUSCODES",
    bdat.keyword,
    lambda _: "DSN",
    starttls.keyword,
    auth.keyword,
)


def ehlo_keywords(session: Session) -> list[str]:
    """What EHLO announces to this session now."""
    return [keyword for entry in KEYWORDS if (keyword := entry(session)) is not None]
