"""One mail transaction on a session: MAIL, RCPT, the message; and what the replies mean for each recipient.

RFC 5321 3.3, 4.2.5, 4.5.3.1.8 and 4.5.3.1.10 (too many recipients); RFC 2920 (PIPELINING); RFC 3030 (CHUNKING).

Rules:
- With PIPELINING everything up to DATA is one write. With CHUNKING as well, a message of up to `EAGER` octets goes with
  it: one round trip a message.
- A reply after the message's end is for the recipients that were accepted; RCPT's own reply for those that weren't.
- 452 (or 552) to a RCPT after others were accepted is about their number: those are left for a further transaction.
- Just before the last octets that make the message complete `may_finish` is asked: who lost the claim breaks off there.
  From then on a lost connection leaves open what became of the message: it is deferred, and so perhaps sent twice.
- Connection lost or 421 before that: `Broken`; the recipients without a result are untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailboat_common import crash
from mailboat_store_client.queue import Claimed, Outcome, QueuedRecipient, RecipientReport
from mailboat_wire.smtp import Reply, stuffed

from .preparation import Prepared, Unsendable, prepare, rcpt_command
from .smtp_session import Session
from .smtp_stream import Broken
from .stopwatch import Stopwatch
from .timeouts import Timeouts

EAGER = 65536
MAX_RECIPIENTS = 100  # RFC 5321 4.5.3.1.8: what every server must take
_UNKNOWN = "the connection failed after the whole message was sent; whether it was accepted isn't known"


class BrokenOff(Exception):
    """We ended it before the message was complete: the claim is lost, or the process ends."""


class Transaction:
    """One transaction. After `run`, or Broken: `results` by recipient, `left` for a further transaction."""

    def __init__(
        self,
        session: Session,
        claimed: Claimed,
        recipients: Sequence[QueuedRecipient],
        timeouts: Timeouts,
        may_finish: Callable[[], bool],
        *,
        watch: Stopwatch,
    ) -> None:
        self._session = session
        self._stream = session.stream
        self._claimed = claimed
        self._recipients = list(recipients[:MAX_RECIPIENTS])
        self._timeouts = timeouts
        self._may_finish = may_finish
        self._watch = watch
        self._dsn = False
        self._replies = 0
        self.left: list[QueuedRecipient] = list(recipients[MAX_RECIPIENTS:])
        self.results: list[RecipientReport] = []
        self.committed = False

    @property
    def answered(self) -> bool:
        """Whether the server has said anything in this transaction."""
        return self._replies > 0

    async def run(self, content: bytes) -> None:
        """Raises Broken (nothing was completed) or BrokenOff."""
        try:
            prepared = await prepare(self._claimed, content, self._session.extensions)
        except Unsendable as refused:
            self._all([*self._recipients, *self.left], refused)
            self.left.clear()
            return
        self._dsn = prepared.dsn
        commands = self._rcpt_commands(prepared)
        if not commands:
            return
        self._session.messages += 1
        self._watch.start_transaction()
        try:
            if "PIPELINING" in self._session.extensions:
                await self._pipelined(prepared, commands)
            else:
                await self._step_by_step(prepared, commands)
        finally:
            self._watch.stop()

    def _rcpt_commands(self, prepared: Prepared) -> list[str]:
        commands, kept = [], []
        for recipient in self._recipients:
            try:
                commands.append(rcpt_command(recipient, prepared))
            except Unsendable as refused:
                self._all([recipient], refused)
            else:
                kept.append(recipient)
        self._recipients = kept
        return commands

    # -- the two ways to say it

    async def _pipelined(self, prepared: Prepared, commands: list[str]) -> None:
        chunking = "CHUNKING" in self._session.extensions
        eager = chunking and len(prepared.content) <= EAGER
        lines = ["RSET"] if self._session.dirty else []
        lines += [prepared.mail, *commands]
        if not chunking:
            lines.append("DATA")
        group = "".join(f"{line}\r\n" for line in lines).encode("utf-8")
        if eager:
            self._commit()
            group += b"BDAT %d LAST\r\n%b" % (len(prepared.content), prepared.content)
        was_dirty, self._session.dirty = self._session.dirty, True
        replies: list[Reply] = []
        try:
            await self._stream.write(group, self._timeouts.block)
            if was_dirty:
                await self._reply(self._timeouts.command)
            for _ in range(1 + len(commands)):
                replies.append(await self._reply(self._timeouts.command))
        except Broken as broken:
            if eager and broken.reply is None:
                if replies:
                    self._judge(replies[0], replies[1:])
                self._uncertain()
            raise
        accepted = self._judge(replies[0], replies[1:])
        if eager:
            await self._finish(accepted)
        elif chunking:
            await self._chunk(prepared, accepted)
        else:
            await self._data(prepared, accepted, await self._reply(self._timeouts.data))

    async def _step_by_step(self, prepared: Prepared, commands: list[str]) -> None:
        if self._session.dirty:
            await self._ask("RSET")
        self._session.dirty = True
        mail = await self._ask(prepared.mail)
        rcpts = [await self._ask(command) for command in commands] if mail.positive else [mail] * len(commands)
        accepted = self._judge(mail, rcpts)
        if "CHUNKING" in self._session.extensions:
            await self._chunk(prepared, accepted)
        elif accepted:
            await self._data(prepared, accepted, await self._ask("DATA", self._timeouts.data))

    # -- the message

    async def _data(self, prepared: Prepared, accepted: list[QueuedRecipient], go: Reply) -> None:
        if go.code != 354:
            self._answered(accepted, go)
            return
        if not accepted:  # RFC 2920 3.1: the server wants a message all the same
            await self._stream.write(b".\r\n", self._timeouts.block)
            await self._reply(self._timeouts.done)
            return
        await self._send(stuffed(prepared.content), held_back=3)
        await self._finish(accepted)

    async def _chunk(self, prepared: Prepared, accepted: list[QueuedRecipient]) -> None:
        if not accepted:
            return
        await self._send(b"BDAT %d LAST\r\n%b" % (len(prepared.content), prepared.content), held_back=1)
        await self._finish(accepted)

    async def _send(self, octets: bytes, *, held_back: int) -> None:
        """Send all but the last few octets; then, if we still may, those."""
        if len(octets) > EAGER:
            await self._stream.write(octets[:-held_back], self._timeouts.block)
            octets = octets[-held_back:]
        self._commit()
        try:
            await self._stream.write(octets, self._timeouts.block)
        except Broken:
            self._uncertain()
            raise

    def _commit(self) -> None:
        if not self._may_finish():
            self._stream.abort()
            raise BrokenOff
        self.committed = True

    async def _finish(self, accepted: list[QueuedRecipient]) -> None:
        crash.point("delivery.sent")
        self._watch.start("reply")
        try:
            reply = await self._reply(self._timeouts.done, closing=False)
        except Broken:
            if accepted:
                self._uncertain()
            raise
        self._session.dirty = not reply.positive
        if reply.code == 421:
            self._stream.abort()
        self._answered(accepted, reply)

    # -- what it means

    async def _ask(self, line: str, seconds: float | None = None) -> Reply:
        await self._stream.write(line.encode("utf-8") + b"\r\n", self._timeouts.block)
        return await self._reply(seconds or self._timeouts.command)

    async def _reply(self, seconds: float, *, closing: bool = True) -> Reply:
        reply = await self._stream.reply(seconds)
        self._replies += 1
        if closing and reply.code == 421:
            self._stream.abort()
            raise Broken("the server closes the connection", status=reply.enhanced or "4.3.2", reply=reply)
        return reply

    def _judge(self, mail: Reply, rcpts: Sequence[Reply]) -> list[QueuedRecipient]:
        """Records who was refused; gives who was accepted. Recipients without a reply are neither."""
        if not mail.positive:
            for recipient in self._recipients:
                self._result(recipient, mail)
            return []
        self._watch.start("data")
        accepted: list[QueuedRecipient] = []
        for recipient, reply in zip(self._recipients, rcpts, strict=False):
            if reply.positive:
                accepted.append(recipient)
            elif accepted and reply.code in (452, 552) and reply.enhanced.partition(".")[2] in ("", "5.3"):
                self.left.append(recipient)
            else:
                self._result(recipient, reply)
        return accepted

    def _answered(self, recipients: Sequence[QueuedRecipient], reply: Reply) -> None:
        for recipient in recipients:
            self._result(recipient, reply)

    def _result(self, recipient: QueuedRecipient, reply: Reply) -> None:
        outcome, status = Outcome.DEFERRED, reply.status
        if reply.positive:
            outcome = Outcome.DELIVERED
        elif reply.permanent:
            outcome = Outcome.FAILED
        elif not reply.transient:
            status = "4.5.0"  # 3xx where it has no meaning
        passed_on = self._dsn and outcome is Outcome.DELIVERED
        self._add(recipient, outcome, status, reply=str(reply), dsn_passed_on=passed_on)

    def _all(self, recipients: Sequence[QueuedRecipient], refused: Unsendable) -> None:
        for recipient in recipients:
            self._add(recipient, Outcome.FAILED, refused.status, reason=refused.reason)

    def _uncertain(self) -> None:
        """The connection is gone and the message complete: who has no result is deferred; he may have got it."""
        if not self._replies and self._session.messages > 1:
            return  # a connection kept from an earlier message that was dead by now: not a word was heard
        settled = {result.address for result in self.results} | {recipient.address for recipient in self.left}
        for recipient in self._recipients:
            if recipient.address not in settled:
                self._add(recipient, Outcome.DEFERRED, "4.4.2", reason=_UNKNOWN)

    def _add(
        self,
        recipient: QueuedRecipient,
        outcome: Outcome,
        status: str,
        *,
        reply: str = "",
        reason: str = "",
        dsn_passed_on: bool = False,
    ) -> None:
        self.results.append(
            RecipientReport(
                recipient.address,
                outcome,
                status,
                reply=reply,
                reason=reason,
                host=str(self._session.endpoint),
                tls=self._session.tls,
                dsn_passed_on=dsn_passed_on,
            )
        )
