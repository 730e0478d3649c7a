"""The judge of mail out: what became of every recipient at another server. Standard library only.

- Acknowledged: one queue document has the recipient, and in the end it is as the remote server wills: taken (once, byte
  for byte, trace fields on top), refused (not there, and its sender was told once), or told to wait (and waiting).
- A second copy is allowed only where an attempt was killed between the remote server's answer and its report: the
  earlier copy's connection broke off at the death of a delivery worker. It is the same to the byte.

What the remote servers say is in a recipient's first letters: `gone` is refused for good, `later` for now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.auditor import Finding, Kind, Ledger, Message, is_unaltered
from tests.faults.compose import GONE, LATER

DEATH_SECONDS = 5.0
"""How far apart a worker's death and the end of its connections can be seen on a busy machine."""
DELIVERED, FAILED, WAITING, OPEN = "delivered", "failed", "waiting", "open"


@dataclass(frozen=True, slots=True)
class Copy:
    """One recipient's copy of a message at a remote server; times of the monotonic clock, `cut`: its connection broke."""

    token: str
    recipient: str
    content: bytes
    at: float
    cut: float | None


def expected(recipient: str) -> str:
    """What becomes of a recipient in the end."""
    return FAILED if recipient.startswith(GONE) else WAITING if recipient.startswith(LATER) else DELIVERED


def judge_outside(
    ledger: Ledger,
    copies: Iterable[Copy],
    states: Mapping[tuple[str, str], Sequence[str]],
    notices: Sequence[bytes],
    deaths: Sequence[float],
) -> list[Finding]:
    """Every broken promise. `states`: (token, recipient) -> what each queue document that has it says; `notices`: all that
    senders were sent; `deaths`: when delivery workers were killed."""
    found: dict[tuple[str, str], list[Copy]] = defaultdict(list)
    for copy in sorted(copies, key=lambda copy: copy.at):
        found[copy.token, copy.recipient].append(copy)
    judged = _Outside(ledger, found, states, notices, deaths)
    known = {(m.token, recipient) for m in ledger.messages.values() for recipient in m.remote}
    for token, recipient in {*found, *states} - known:
        judged.find(Kind.UNKNOWN, recipient, f"{token or 'a foreign message'}")
    return judged.findings


class _Outside:
    def __init__(
        self,
        ledger: Ledger,
        copies: Mapping[tuple[str, str], list[Copy]],
        states: Mapping[tuple[str, str], Sequence[str]],
        notices: Sequence[bytes],
        deaths: Sequence[float],
    ) -> None:
        self.findings: list[Finding] = []
        self._deaths = deaths
        for message in ledger.messages.values():
            told = [notice for notice in notices if f"<{message.token}@".encode() in notice]
            for recipient in message.remote:
                key = message.token, recipient
                self._state(message, recipient, states.get(key, ()))
                self._copies(message, recipient, copies.get(key, []))
                self._notices(message, recipient, sum(recipient.encode() in notice for notice in told))

    def find(self, kind: Kind, recipient: str, detail: str) -> None:
        self.findings.append(Finding(kind, recipient, detail))

    def _state(self, message: Message, recipient: str, states: Sequence[str]) -> None:
        if not states and message.acked is not None:
            self.find(Kind.LOST, recipient, f"{message.token} is in no queue document")
        if len(states) > 1:
            self.find(Kind.DOUBLE, recipient, f"{message.token} is in {len(states)} queue documents")
        for state in states:
            if state != expected(recipient):
                kind = Kind.STUCK if state in (OPEN, WAITING) else Kind.LOST
                self.find(kind, recipient, f"{message.token} is {state}, not {expected(recipient)}")

    def _copies(self, message: Message, recipient: str, copies: Sequence[Copy]) -> None:
        if expected(recipient) != DELIVERED:
            if copies:
                self.find(Kind.UNKNOWN, recipient, f"{message.token} was refused and is there")
            return
        if not copies and message.acked is not None:
            self.find(Kind.LOST, recipient, f"{message.token} never came to the remote server")
        if any(not is_unaltered(copy.content, message) for copy in copies):
            self.find(Kind.ALTERED, recipient, f"{message.token} has other bytes than were sent")
        if len({copy.content for copy in copies}) > 1:
            self.find(Kind.ALTERED, recipient, f"{message.token} was repeated with other bytes")
        unexplained = [copy for copy in copies[:-1] if not self._killed(copy)]
        if unexplained:
            self.find(
                Kind.DOUBLE, recipient, f"{message.token} came {len(copies)} times, {len(unexplained)} without a death"
            )

    def _killed(self, copy: Copy) -> bool:
        """Whether the attempt that brought it died before it can have been reported, as far as the server could see."""
        return copy.cut is not None and any(abs(copy.cut - death) < DEATH_SECONDS for death in self._deaths)

    def _notices(self, message: Message, recipient: str, count: int) -> None:
        owed = int(expected(recipient) == FAILED)
        if count != owed and (message.acked is not None or count > owed):
            kind = Kind.LOST if count < owed else Kind.DOUBLE
            self.find(
                kind, message.sender, f"{count} notices, not {owed}, tell what became of {message.token}, {recipient}"
            )
