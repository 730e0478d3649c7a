"""One client's session: its state, what it enabled, what it has selected, and how a command is run in it.

RFC 9051 section 3 (states), 5.2 (updates), 7.1.5 (BYE); RFC 5161 (ENABLE).

Rules:
- A command runs only in the states its entry in the registry names, one at a time, in the order the client sent them.
- What happened in the mailbox meanwhile is told before the tagged reply, EXPUNGE only if the command allows it; in
  IDLE it
  is told at once.
- This module knows the connection only as a `Link`; sockets, TLS and time-outs are `connection`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from functools import cache
from typing import Any, Protocol

from mailboat_common import crash
from mailboat_common.errors import Failure, PeerError, Refused, RefusedCode, Unavailable
from mailboat_common.log import get_logger
from mailboat_store_client.types import AccountId, Delta
from mailboat_wire.imap import types as t
from mailboat_wire.imap.events import BadCommand, Limits
from prometheus_client import Histogram

from . import metrics
from .commands import registry
from .features import CONDSTORE, QRESYNC, REV2, UTF8
from .gateway import Gateway
from .interest import EVERYTHING_SELECTED, Event, Interest
from .masking import hidden
from .notifier import Notifier, touching
from .render import Item
from .replies import ANSWERED, SERVER_BUG, UNAVAILABLE, Answer, Reply, refusal
from .selected import NEVER_RECENT, Selected, ToldAs
from .states import State
from .watches import Watch

log = get_logger(__name__)

# The commands whose answer is EXPUNGE: it is told even to a client that wants to hear of nothing else.
_SHOWN_BY_EXPUNGE = frozenset({b"EXPUNGE", b"MOVE", b"REPLACE"})


@cache
def _duration(command: str, result: str) -> Histogram:
    """Looking labels up costs more than observing; both sets are closed."""
    return metrics.command_duration.labels(command, result)


class Link(Protocol):
    """The connection as commands see it."""

    @property
    def client(self) -> tuple[str, int]:
        """The client's true address and port."""

    @property
    def tls_version(self) -> str | None:
        """None in clear text."""

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS may be offered now."""

    @property
    def full(self) -> bool:
        """Whether the client reads too slowly for more to be written now."""

    def write(self, data: bytes) -> None:
        """Queue output."""

    async def drain(self) -> None:
        """Wait while the client reads too slowly."""

    async def upgrade(self, reply: bytes) -> None:
        """Send `reply` and turn to TLS; nothing the client sent before counts any more."""

    @property
    def compressed(self) -> bool:
        """Whether COMPRESS is active."""

    def compress(self, reply: bytes) -> None:
        """Send `reply` and turn to DEFLATE, both ways."""

    def expect_line(self, prompt: bytes) -> asyncio.Future[bytes]:
        """Send a whole `+ …` line; the future gives the client's next line."""

    async def read_literal(self) -> bytes:
        """Let the message of APPEND or REPLACE come, and take it whole. The caller holds a budget for it."""

    async def next_append(self) -> t.Append | None:
        """A further message of the same APPEND or REPLACE, or None at its end."""

    def set_limits(self, limits: Limits, *, idle_seconds: float) -> None:
        """Other bounds from now on, after login."""

    def await_login(self) -> None:
        """The bounds and the time of a client that isn't logged in, once more."""

    def poke(self) -> None:
        """Call the session's `speak` as soon as no command runs or waits and the client reads."""

    def spoke(self) -> None:
        """What was said within IDLE is whole: the end may come, if it waits."""

    def abort(self) -> None:
        """Cut the connection: what was promised in a literal can't be sent."""

    def end(self, reason: bytes) -> None:
        """Say BYE with `reason` (and code) as soon as no command runs."""


class Session:
    """The state machine of one connection."""

    __slots__ = (
        "account_id",
        "auth_failures",
        "bad_commands",
        "enabled",
        "following",
        "gateway",
        "idling",
        "link",
        "login",
        "masked",
        "notifier",
        "nudge",
        "selected",
        "speaking",
        "state",
        "watch",
    )

    def __init__(self, gateway: Gateway, link: Link) -> None:
        self.gateway = gateway
        self.link = link
        self.state = State.NOT_AUTHENTICATED
        self.account_id: AccountId | None = None
        self.login = ""
        self.masked: frozenset[bytes] = frozenset()
        self.selected: Selected | None = None
        self.watch: Watch | None = None
        self.notifier: Notifier | None = None  # once the client asked NOTIFY
        self.nudge: asyncio.Future[None] | None = None  # IDLE waits for it: there is something to `speak` of
        self.speaking = False
        self.enabled: set[bytes] = set()
        self.idling = False
        self.following = False
        self.auth_failures = 0
        self.bad_commands = 0

    # --- what commands ask ---

    @property
    def account(self) -> AccountId:
        """The account that is logged in."""
        assert self.account_id is not None, "commands that need an account are registered for authenticated states"
        return self.account_id

    @property
    def mailbox(self) -> Selected:
        """The mailbox that is selected."""
        assert self.selected is not None, "commands that need a mailbox are registered for the selected state"
        return self.selected

    @property
    def condstore(self) -> bool:
        """RFC 7162 3.1: whether the client showed that it knows modification sequences."""
        return CONDSTORE in self.enabled

    @property
    def qresync(self) -> bool:
        """RFC 7162 3.2.3: removals are told as VANISHED."""
        return QRESYNC in self.enabled

    @property
    def told_as(self) -> ToldAs:
        """In which form this client is told of changes."""
        return ToldAs(modseq=self.condstore, vanished=self.qresync, recent=not self.rev2)

    @property
    def rev2(self) -> bool:
        """RFC 9051 Appendix E: the client enabled IMAP4rev2."""
        return REV2 in self.enabled

    @property
    def utf8(self) -> bool:
        """Whether mailbox names and quoted strings are UTF-8, both ways (RFC 6855 3, RFC 9051 5.1)."""
        return UTF8 in self.enabled or REV2 in self.enabled

    def write(self, data: bytes) -> None:
        self.link.write(data)

    # --- running ---

    async def run(self, command: t.Command) -> None:
        """Run a command and answer it."""
        started = time.perf_counter()
        entry = registry.find(command.name)
        if entry is None:
            self.bad_commands += 1
            self._answer(command, Reply(b"BAD", b"Unknown command"), started, expunge=False)
            return
        if not self.state & entry.states:
            reply = Reply(b"BAD", b"Not allowed now", b"CLIENTBUG")
            self.bad_commands += 1
            self._answer(command, reply, started, expunge=False)
            return
        try:
            reply = await entry.handler(self, command)
        except Answer as answer:
            reply = answer.reply
            self.bad_commands += reply.status == b"BAD"
        except Refused as refused:
            if refused.private:
                log.info("refused", command=command.name.decode(), login=self.login, cause=refused.private)
            reply = refusal(refused)
            if refused.code is RefusedCode.NO_ACCOUNT:
                self.link.end(b"[CONTACTADMIN] Account is gone")
        except Unavailable as failure:
            log.warning("unavailable", command=command.name.decode(), login=self.login, cause=failure.private)
            reply = UNAVAILABLE
        except Failure as failure:
            log.error("failed", command=command.name.decode(), login=self.login, cause=failure.private)
            reply = SERVER_BUG
        except (OSError, PeerError, BadCommand):
            raise  # the connection's own: gone, out of step, or answered there
        except Exception:
            log.exception("command failed", command=command.name.decode(), login=self.login)
            reply = SERVER_BUG
        crash.point("imap.before_answer")
        self._answer(command, reply, started, expunge=entry.expunge.allows(command))

    def _answer(self, command: t.Command, reply: Reply, started: float, *, expunge: bool) -> None:
        if self.selected is not None:
            self.tell(expunge=expunge, asked=command.name in _SHOWN_BY_EXPUNGE)
        if self.notifier is not None:
            self.link.poke()
        if reply is not ANSWERED:
            self.write(reply.line(command.tag))
        label = command.name.decode() if registry.find(command.name) else "UNKNOWN"
        _duration(label, reply.status.decode().lower()).observe(time.perf_counter() - started)
        if self.bad_commands >= self.gateway.policy.bad_commands:
            self.link.end(b"[CLIENTBUG] Too many wrong commands")

    def tell(self, *, expunge: bool, asked: bool = False) -> None:
        """Send what the client may be told of its mailbox now; `asked`: by a command that EXPUNGE answers."""
        selected = self.selected
        if selected is None or not selected.owes():
            return
        events = self.told_of_selected
        if not (events or asked):
            return
        flags = Event.FLAG_CHANGE in events
        known = selected.tracker.ceiling
        for line in selected.updates(expunge=expunge, told_as=self.told_as, flags=flags):
            self.write(line)
        if selected.tracker.ceiling > known:
            self.gateway.announcer.told(selected.view, known)
            if self.notifier is not None:
                self.notifier.announced(known + 1, selected.tracker.ceiling)

    def wake(self) -> None:
        """The selected mailbox changed: in IDLE the client is told at once, if it reads; else with its next command.

        A client that asked NOTIFY is told between commands too.
        """
        if self.selected is not None and self.selected.view.gone:
            self.link.end(b"Mailbox is gone")
        elif self.notifier is not None:
            self.poke()
        elif self.idling and not self.link.full:
            self.tell(expunge=True)

    # --- NOTIFY ---

    @property
    def told_of_selected(self) -> Event:
        """What the client wants to hear of the selected mailbox (RFC 5465 3.1, 6.1)."""
        return EVERYTHING_SELECTED if self.notifier is None else self.notifier.interest.selected

    def poke(self) -> None:
        """There may be something to `speak` of."""
        if not self.idling:
            self.link.poke()
        elif self.nudge is not None and not self.nudge.done():
            self.nudge.set_result(None)

    async def speak(self) -> None:
        """Say what NOTIFY asked for, between commands or in IDLE; called by who makes sure of that."""
        notifier = self.notifier
        if notifier is None or self.link.full:
            return  # once the client reads, `wake` is called
        self.speaking = True
        try:
            self.tell(expunge=self.idling or not notifier.interest.delayed)
            await notifier.show_new()
            if self.watch is not None:
                notifier.tell(self.watch.snapshot)
        except (OSError, PeerError):
            raise  # the connection's own
        except Exception:
            log.exception("nothing could be told", login=self.login)
        finally:
            self.speaking = False
            self.link.spoke()

    async def notify(self, interest: Interest, items: Sequence[Item], *, status: bool) -> None:
        """NOTIFY: what was asked for before is forgotten."""
        assert self.watch is not None, "a session that is logged in is a member"
        notifier = Notifier(self, interest, items)
        if interest.beyond_selected:
            notifier.told = await self.gateway.views.watches.listen(self.watch, self)
        else:
            self.gateway.views.watches.ignore(self.watch, self)
        self.notifier = notifier
        if status and notifier.told is not None:
            for line in notifier.statuses(notifier.told):
                self.write(line)

    def stop_notifying(self, interest: Interest | None) -> None:
        """Hear of nothing any more (with an `interest` in nothing), or as if NOTIFY had never been (None)."""
        if self.watch is not None:
            self.gateway.views.watches.ignore(self.watch, self)
        self.notifier = None if interest is None else Notifier(self, interest, ())

    async def settle(self, delta: Delta, origin: Selected | None = None) -> None:
        """This session changed a mailbox: other sessions are shown it, this one knows (but for `origin`, its own)."""
        if self.notifier is not None and (self.selected is None or self.selected.view.mailbox_id != delta.mailbox_id):
            self.notifier.caused(delta)
        await self.gateway.views.settle(delta, origin)

    async def absorb(self, *names: str) -> None:
        """This session changed the tree at these names: that is no news to it."""
        notifier = self.notifier
        if notifier is None or notifier.told is None or self.watch is None:
            return
        try:
            snapshot = await self.gateway.views.watches.refresh(self.watch)
        except (Failure, Refused) as error:
            log.info("told of what it did itself", login=self.login, cause=repr(error))
        else:
            notifier.tell(snapshot, touching(*names))

    # --- watches.Member ---

    def tree_changed(self) -> None:
        self.poke()

    def account_closed(self) -> None:
        self.link.end(b"[CONTACTADMIN] Account is closed")

    # --- changing state ---

    def authenticated(self, account_id: AccountId, login: str, masked: Sequence[str] = ()) -> None:
        """Login succeeded. `masked` are the capabilities this account isn't told of."""
        self.state = State.AUTHENTICATED
        self.account_id = account_id
        self.login = login
        self.masked = hidden(masked)
        self.watch = self.gateway.views.watches.enter(account_id, self)
        policy = self.gateway.policy
        self.link.set_limits(Limits(append=policy.message_limit), idle_seconds=policy.idle_seconds)

    async def follow(self) -> None:
        """Hear the account's news from now to the session's end: a binding per SELECT would cost more than the
        SELECT.
        """
        if not self.following:
            self.following = True
            await self.gateway.news.subscribe(self.account)

    def select(self, selected: Selected) -> None:
        """Enter a mailbox; there is none selected before."""
        self.gateway.views.enter(selected.view, selected)
        self.selected = selected
        self.state = State.SELECTED

    def leave(self) -> None:
        """LOGOUT: the connection ends after the reply."""
        self.state = State.LOGOUT
        self.link.end(b"")

    async def deselect(self) -> None:
        """Leave the selected mailbox, if there is one (RFC 9051 6.3.2: also when the next SELECT fails)."""
        selected, self.selected = self.selected, None
        if selected is None:
            return
        if self.state is State.SELECTED:
            self.state = State.AUTHENTICATED
        if self.notifier is not None:
            self.notifier.left(selected)
        self.gateway.views.leave(selected.view, selected)
        await self._claim_recent(selected)

    async def _claim_recent(self, selected: Selected) -> None:
        """Messages that came while this session watched were \\Recent here and shall not be so elsewhere."""
        view = selected.view
        if (
            selected.read_only
            or selected.recent_from == NEVER_RECENT
            or view.gone
            or view.first_recent >= view.uid_next
        ):
            return
        await self.gateway.store.write.claim_recent(view.account_id, view.mailbox_id)
        view.first_recent = view.uid_next

    def closed(self) -> Coroutine[Any, Any, None] | None:
        """The connection is gone: the work that is left, if any."""
        self.state = State.LOGOUT
        self._leave_account()
        return self._leave_quietly() if self.following else None

    async def unauthenticate(self) -> None:
        """RFC 8437: as if the client had just connected; nothing of the account is left behind."""
        await self.deselect()
        self._leave_account()
        if self.following:
            self.following = False
            await self.gateway.news.unsubscribe(self.account)
        self.state = State.NOT_AUTHENTICATED
        self.account_id = None
        self.login = ""
        self.masked = frozenset()
        self.enabled.clear()
        self.link.await_login()

    def _leave_account(self) -> None:
        """Give back what login took."""
        self.stop_notifying(None)
        if self.watch is not None:
            self.gateway.views.watches.leave(self.watch, self)
            self.watch = None
        if self.account_id is not None:
            self.gateway.accounts.release(self.account_id)

    async def _leave_quietly(self) -> None:
        try:
            await self.gateway.news.unsubscribe(self.account)
            await self.deselect()
        except (Refused, Failure) as error:
            log.info("left a mailbox without claiming its recent messages", cause=repr(error))
