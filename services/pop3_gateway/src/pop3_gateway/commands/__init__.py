"""The POP3 commands: word → handler and the state it is legal in.

To add one: a file with `async def run(session, command) -> Answer`, an entry here, a row in the tests and in
docs/protocols.md; a capability goes into `capa.CAPABILITIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import auth, capa, dele, list_, noop, pass_, quit_, retr, rset, stat, stls, top, uidl, user, utf8

if TYPE_CHECKING:
    from ..replies import Answer
    from ..session import Session


@dataclass(frozen=True, slots=True)
class Entry:
    """`transaction`: legal only in the TRANSACTION state (True), only in AUTHORIZATION (False), in both (None)."""

    run: Callable[[Session, Any], Coroutine[Any, Any, Answer]]
    transaction: bool | None


COMMANDS: dict[bytes, Entry] = {
    b"CAPA": Entry(capa.run, None),
    b"STLS": Entry(stls.run, False),
    b"USER": Entry(user.run, False),
    b"PASS": Entry(pass_.run, False),
    b"AUTH": Entry(auth.run, False),
    b"UTF8": Entry(utf8.run, False),
    b"QUIT": Entry(quit_.run, None),
    b"STAT": Entry(stat.run, True),
    b"LIST": Entry(list_.run, True),
    b"UIDL": Entry(uidl.run, True),
    b"RETR": Entry(retr.run, True),
    b"TOP": Entry(top.run, True),
    b"DELE": Entry(dele.run, True),
    b"RSET": Entry(rset.run, True),
    b"NOOP": Entry(noop.run, True),
}
