"""One POP3 session's state (RFC 1939 3): AUTHORIZATION, TRANSACTION, and what each command may see of them."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from mailboat_common.errors import Failure, Refused
from mailboat_common.log import get_logger
from mailboat_common.server import Peer
from mailboat_wire.pop3 import BadCommand, parse_command
from mailboat_wire.pop3.commands import Command, UnknownCommand
from mailboat_wire.sasl import Exchange

from . import commands
from .gateway import Gateway
from .maildrop import Maildrop
from .replies import LEASE_LOST, TOO_MANY_ERRORS, UNAVAILABLE, WRONG_STATE, Answer, err

log = get_logger(__name__)

MAX_ERRORS = 20


@dataclass(slots=True)
class Session:
    """State of one connection. `tls` is "TLSv1.3", empty in clear text; `drop` is set in the TRANSACTION state;
    `exchange` is set while AUTH waits for a response.
    """

    gateway: Gateway
    peer: Peer
    tls: str = ""
    username: str = ""
    exchange: Exchange | None = None
    drop: Maildrop | None = None
    errors: int = 0
    auth_failures: int = 0

    @property
    def client(self) -> str:
        """The true client address as text."""
        return str(self.peer.address)

    def parse(self, line: bytes) -> Command | Answer:
        """The command of a line, or what to answer to nonsense."""
        try:
            command = parse_command(line)
        except BadCommand as error:
            return self.erred(Answer(error.response()))
        if isinstance(command, UnknownCommand) or command.name not in commands.COMMANDS:
            return self.erred(err("Unknown command"))
        return command

    async def run(self, command: Command) -> Answer:
        """Answer one command."""
        entry = commands.COMMANDS[command.name]
        if self.drop is not None and self.drop.lost:
            return LEASE_LOST
        if entry.transaction is not None and entry.transaction != (self.drop is not None):
            return self.erred(WRONG_STATE)
        return await self._guarded(command.name, entry.run(self, command))

    async def respond(self, line: bytes) -> Answer:
        """Answer a line that is a response within AUTH."""
        return await self._guarded(b"AUTH", commands.auth.respond(self, line))

    async def _guarded(self, name: bytes, answer: Coroutine[Any, Any, Answer]) -> Answer:
        """No error of the store reaches the client."""
        try:
            return await answer
        except Refused as error:
            log.info("refused", command=name.decode(), cause=str(error))
            return UNAVAILABLE
        except Failure as error:
            log.warning("store failed", command=name.decode(), cause=str(error))
            return UNAVAILABLE

    def erred(self, answer: Answer) -> Answer:
        """Count a client's error; the 20th ends the session."""
        self.errors += 1
        return TOO_MANY_ERRORS if self.errors >= MAX_ERRORS else answer

    async def end(self) -> None:
        """The connection is gone without QUIT: nothing is removed (RFC 1939 6)."""
        if self.drop is not None:
            drop, self.drop = self.drop, None
            await drop.close()
