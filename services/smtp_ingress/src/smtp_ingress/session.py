"""One SMTP session: its state, and what is legal now (RFC 5321 4.1.4, RFC 3207 4.2, RFC 4954 4).

No sockets here: `aiosmtpd_session` reads lines and message data and sends the replies. Commands are in `commands/`, one
file each. The order of a message is the design's: greeting, recipients checked at RCPT, data, content checks, one
Deliver call, 250 with the trace id.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.limits import ByteBudget
from mailboat_common.log import get_logger
from mailboat_common.server import Peer
from mailboat_store_client.ports import Store
from mailboat_store_client.types import AccountId, Answered, RecipientStatus, Resolution
from mailboat_wire.sasl import Exchange
from mailboat_wire.smtp import SmtpError

from . import reply as replies
from .moments import Moments
from .reply import Next, Reply
from .settings import Settings
from .transaction import Transaction

log = get_logger(__name__)

RESOLUTION_SECONDS = 5.0
RESOLUTIONS = 10_000
CONFIRM_SECONDS = 2.0
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Service:
    """What all sessions of the process share."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.budget = ByteBudget(settings.bytes_in_flight)
        self._resolved: OrderedDict[str, tuple[float, Resolution]] = OrderedDict()

    async def resolve(self, address: str, sender: str, account_id: AccountId) -> Resolution:
        """Directory.resolve for one address; a good answer that holds for every sender is remembered a few seconds.

        Whatever changes in between, the commit decides.
        """
        now = time.monotonic()
        known = self._resolved.get(address)
        if known is not None and now - known[0] < RESOLUTION_SECONDS:
            return known[1]
        (resolution,) = await self.store.directory.resolve([address], sender=sender, account_id=account_id)
        self._resolved.pop(address, None)
        if resolution.status is RecipientStatus.LOCAL and not resolution.restricted:
            self._resolved[address] = (now, resolution)
            if len(self._resolved) > RESOLUTIONS:
                self._resolved.popitem(last=False)
        return resolution

    async def confirm(self, trace_ids: Sequence[str], answered: Sequence[Answered]) -> None:
        """Tell the store that clients have read our 250s; if that fails, a deliberate repeat looks like a duplicate."""
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self.store.delivery.confirm(trace_ids, answered)
        except (Failure, Refused, TimeoutError) as error:
            log.info("confirmation lost", trace_ids=trace_ids, cause=repr(error))


@dataclass(slots=True)
class Session:
    """State of one connection. `tls` is "TLSv1.3 CIPHER", empty in clear text."""

    service: Service
    peer: Peer
    tls: str = ""
    helo: str = ""
    esmtp: bool = False
    account_id: AccountId | None = None
    login: str = ""
    transaction: Transaction | None = None
    dialog: Exchange | None = None
    unconfirmed: str = ""
    confirmed: list[str] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    moments: Moments = field(default_factory=Moments)
    transactions: int = 0
    mechanism: str = ""
    errors: int = 0
    auth_failures: int = 0

    @property
    def submission(self) -> bool:
        """Whether this port is for our own users."""
        return self.peer.listener.name.startswith("submission")

    @property
    def client(self) -> str:
        """The true client address as text."""
        return str(self.peer.address)

    def greeting(self) -> Reply:
        """220 of RFC 5321 4.3.1."""
        return replies.reply(220, "", f"{self.service.settings.hostname} ESMTP Mailboat")

    def secured(self, tls: str) -> None:
        """TLS has begun: everything learned before is forgotten (RFC 3207 4.2)."""
        self.tls = tls
        self.moments.secured = self.moments.now()
        self.helo, self.esmtp, self.transaction, self.unconfirmed = "", False, None, ""
        self.account_id, self.login = None, ""

    async def command(self, line: bytes) -> Reply:
        """Answer one command line (without CRLF)."""
        self.client_spoke()
        self.moments.spoke()
        if _CONTROL.search(line):
            return self.erred(replies.BAD_LINE)
        verb, _, argument = line.partition(b" ")
        command = COMMANDS.get(verb.upper())
        if command is None:
            return self.erred(replies.UNKNOWN_COMMAND)
        try:
            answer = await command(self, argument.strip(b" \t"))
        except SmtpError as error:
            answer = replies.reply(error.code, error.enhanced, error.text)
        except Refused as error:
            log.info("refused", command=verb.decode("ascii"), cause=str(error))
            answer = replies.STORAGE_FULL if error.code is RefusedCode.STORAGE_FULL else replies.UNAVAILABLE
        except Failure as error:
            log.warning("store failed", command=verb.decode("ascii"), cause=str(error))
            answer = replies.UNAVAILABLE
        if answer.code in (500, 501, 502, 503, 504):
            return self.erred(answer)
        return answer

    async def dialog_line(self, line: bytes) -> Reply:
        """Answer the next line of an AUTH exchange."""
        return await auth.continue_dialog(self, line)

    def erred(self, answer: Reply) -> Reply:
        """Count a client's error; the 20th ends the session."""
        self.errors += 1
        if self.errors >= replies.MAX_ERRORS:
            return replies.TOO_MANY_ERRORS
        return answer

    def client_spoke(self) -> None:
        """Something came after our 250: the client has read it. The next delivery or `say_confirmed` says so."""
        if self.unconfirmed:
            self.confirmed.append(self.unconfirmed)
            self.unconfirmed = ""

    def take_confirmed(self) -> tuple[tuple[str, ...], tuple[Answered, ...]]:
        """The transactions to be named as confirmed, and what was answered; the caller tells the store."""
        taken = tuple(self.confirmed), tuple(self.answered)
        self.confirmed, self.answered = [], []
        return taken

    async def say_confirmed(self) -> None:
        """Tell the store of confirmations and answers that no delivery of this session carried."""
        if self.confirmed or self.answered:
            await self.service.confirm(*self.take_confirmed())

    def end_transaction(self) -> None:
        """Forget the envelope and give its octets back."""
        if self.transaction is not None:
            self.transaction.release()
            self.transaction = None


from .commands import COMMANDS, auth  # noqa: E402 - the commands need the session's type

__all__ = ["Next", "Service", "Session"]
