"""The judge: what clients were promised, what they saw, and what is there in the end. Standard library only.

The load generator writes every offer and every answer into a `Ledger`; a `Watch` per watching client keeps what that
client was told, in order; `judge` compares both with the mailboxes as IMAP shows them afterwards. The rules:

- Acknowledged (250, OK): exactly one copy in each mailbox, byte for byte (an SMTP server may put trace fields on top),
  until its removal is acknowledged; then none.
- Unanswered, or refused for now: one copy or none, never two. An SMTP client offers the same bytes again until it gets
  its 250, so in the end nothing sent by SMTP may be unanswered.
- A message begun after another was acknowledged has the greater UID in the same mailbox (only for messages with one
  recipient: one with several may be acknowledged as accepted and filed later). The same holds for modseqs of changes.
- Flags are as the last acknowledged change left them; an unanswered change happened in full or not at all. The
  generator never touches an entry again after an unanswered change, so at most one change of each is in doubt.
- Removals that were asked for in one command (UID EXPUNGE, UID MOVE, a POP3 session's QUIT) happened all or none.
- Copied: one more copy, with its flags, in the other mailbox. Moved: there and no longer here; unanswered: in one of them.
- The octets of an account's usage are the sum of its messages, and POP3 shows what IMAP shows.
- A watching client sees UIDs and modseqs only rise, one UIDVALIDITY, an EXISTS only grow but for EXPUNGEs; a UID names
  one message for ever; what was gone doesn't come back; nothing appears below a UIDNEXT it was told.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


class Kind(enum.Enum):
    """Faults, the gravest first."""

    LOST = "lost"
    DOUBLE = "double"
    ALTERED = "altered"
    RESURRECTED = "resurrected"
    UNKNOWN = "unknown message"
    FLAGS = "flags"
    ORDER = "out of order"
    UID_CHANGED = "uid changed"
    UID_VALIDITY = "uidvalidity changed"
    HALF = "half done"
    STUCK = "stuck"
    REFUSED = "refused for good"
    DISAGREE = "views disagree"
    USAGE = "wrong usage"


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise."""

    kind: Kind
    box: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.box}: {self.detail}"


# What was promised


@dataclass(slots=True)
class Message:
    """One message that was offered. Times are of the generator's monotonic clock; `acked` None: no final yes."""

    token: str
    digest: bytes
    size: int
    boxes: tuple[str, ...]
    by_smtp: bool
    began: float
    acked: float | None = None
    uid: int | None = None  # as APPENDUID said
    offers: int = 0
    flags: frozenset[str] = frozenset()  # as appended with
    sender: str = ""
    remote: tuple[str, ...] = ()  # recipients at other servers, see auditor_outside.py
    refused: bool = False  # when it was offered again: a recipient had been refused by its server meanwhile
    traces: set[str] = field(default_factory=set)  # the ids that 250s have named


@dataclass(slots=True)
class Change:
    """Flags added (`add`) to or taken from one entry."""

    box: str
    token: str
    uid: int
    add: bool
    flags: frozenset[str]
    began: float
    acked: float | None = None
    modseq: int | None = None  # as the answer said


@dataclass(slots=True)
class Removal:
    """An expunge of one entry. Those of one command share `began`; POP3 knows no `uid`."""

    box: str
    token: str
    uid: int | None
    began: float
    acked: float | None = None


@dataclass(slots=True)
class Transfer:
    """A copy of one entry to `target`; `moved`: it left `box`. Those of one command share `began`."""

    box: str
    token: str
    uid: int
    target: str
    moved: bool
    flags: frozenset[str]
    began: float
    acked: float | None = None
    target_uid: int | None = None  # as COPYUID said


@dataclass(slots=True)
class Ledger:
    """All that was offered and answered."""

    messages: dict[str, Message] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)  # what was seen to be wrong at once

    def offer(self, token: str, content: bytes, boxes: Sequence[str], by_smtp: bool, now: float) -> Message:
        """A new message is about to be sent."""
        message = Message(token, hashlib.sha256(content).digest(), len(content), tuple(boxes), by_smtp, now)
        self.messages[token] = message
        return message

    def note(self, kind: Kind, box: str, detail: str) -> None:
        """Something is wrong already."""
        self.findings.append(Finding(kind, box, detail))


_TOKEN = re.compile(rb"(?im)^message-id:\s*<([^@>]+)@faults\.example>")


def token_of(content: bytes) -> str:
    """The generator's name of a message: the left side of its Message-ID; empty for a foreign one."""
    found = _TOKEN.search(content[: content.find(b"\r\n\r\n") + 2] if b"\r\n\r\n" in content else content)
    return found[1].decode(errors="replace") if found else ""


# What is there


@dataclass(frozen=True, slots=True)
class Row:
    """One message of a mailbox as IMAP shows it."""

    uid: int
    modseq: int
    flags: frozenset[str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Observed:
    """A mailbox as one IMAP session shows it."""

    uid_validity: int
    uid_next: int
    highest_modseq: int
    rows: tuple[Row, ...]


# What a watching client was told


class Watch:
    """One watching client's memory of one mailbox, over all its connections; a fault is a finding in the ledger."""

    def __init__(self, box: str, name: str, ledger: Ledger) -> None:
        self.box = box
        self.name = name
        self.tokens: dict[int, str] = {}
        self.modseqs: dict[int, int] = {}
        self.flags: dict[int, frozenset[str]] = {}
        self.live: list[int | None] = []  # sequence number - 1 -> uid; None: announced, not yet fetched
        self.gone: set[int] = set()
        self.uid_validity: int | None = None
        self.uid_next = 1
        self.highest = 0
        self.seen_at: dict[str, float] = {}
        self._floor = 1  # every living entry below it has been fetched
        self._before: set[int] = set()
        self._known: set[int] = set()
        self._uids: dict[str, int] = {}
        self._ledger = ledger

    def _fault(self, kind: Kind, detail: str) -> None:
        self._ledger.note(kind, self.box, f"{self.name}: {detail}")

    def selected(self, exists: int, uid_validity: int, uid_next: int, highest: int) -> None:
        """A new connection selected the mailbox."""
        if self.uid_validity not in (None, uid_validity):
            self._fault(Kind.UID_VALIDITY, f"{self.uid_validity} became {uid_validity}")
        self.uid_validity = uid_validity
        if uid_next < self.uid_next:
            self._fault(Kind.ORDER, f"UIDNEXT fell from {self.uid_next} to {uid_next}")
        if highest < self.highest:
            self._fault(Kind.ORDER, f"HIGHESTMODSEQ fell from {self.highest} to {highest}")
        self._before |= {uid for uid in self.live if uid is not None}
        self.uid_next = max(self.uid_next, uid_next)
        self.highest = max(self.highest, highest)
        self.live = [None] * exists

    def caught_up(self) -> None:
        """This connection has fetched all entries: what an earlier one saw and isn't among them is gone."""
        living = {uid for uid in self.live if uid is not None}
        self.gone |= self._before - living
        self._before = set()
        self._floor = max(self._floor, self.uid_next, max(living, default=0) + 1)

    def exists(self, count: int) -> None:
        """An EXISTS."""
        if count < len(self.live):
            self._fault(Kind.ORDER, f"EXISTS fell from {len(self.live)} to {count} without an EXPUNGE")
            del self.live[count:]
            return
        self.live.extend([None] * (count - len(self.live)))

    def expunged(self, seq: int) -> None:
        """An EXPUNGE."""
        if not 1 <= seq <= len(self.live):
            self._fault(Kind.ORDER, f"EXPUNGE {seq} of {len(self.live)}")
            return
        uid = self.live.pop(seq - 1)
        if uid is not None:
            self.gone.add(uid)
            self.flags.pop(uid, None)

    def fetched(
        self,
        seq: int,
        *,
        uid: int | None = None,
        flags: frozenset[str] | None = None,
        modseq: int | None = None,
        token: str | None = None,
        now: float = 0.0,
    ) -> None:
        """A FETCH, asked for or not."""
        if not 1 <= seq <= len(self.live):
            self._fault(Kind.ORDER, f"FETCH {seq} of {len(self.live)}")
            return
        known = self.live[seq - 1]
        if uid is not None and known is None:
            self._place(seq, uid)
        elif uid is not None and uid != known:
            self._fault(Kind.UID_CHANGED, f"message {seq} was UID {known} and is UID {uid}")
        uid = self.live[seq - 1]
        if uid is None:
            return  # announced a moment ago; its own FETCH will tell
        if token is not None:
            if self.tokens.setdefault(uid, token) != token:
                self._fault(Kind.UID_CHANGED, f"UID {uid} was {self.tokens[uid]} and is {token}")
            if self._uids.setdefault(token, uid) != uid:
                self._fault(Kind.DOUBLE, f"{token} came as UID {self._uids[token]} and as UID {uid}")
                self._uids[token] = uid
            self.seen_at.setdefault(token, now)
        if modseq is not None:
            if modseq < self.modseqs.get(uid, 0):
                self._fault(Kind.ORDER, f"modseq of UID {uid} fell from {self.modseqs[uid]} to {modseq}")
            elif flags is not None:
                self.flags[uid] = flags
            self.modseqs[uid] = max(modseq, self.modseqs.get(uid, 0))
            self.highest = max(self.highest, modseq)
        elif flags is not None:
            self.flags[uid] = flags

    def _place(self, seq: int, uid: int) -> None:
        self.live[seq - 1] = uid
        before = next((other for other in reversed(self.live[: seq - 1]) if other is not None), 0)
        after = next((other for other in self.live[seq:] if other is not None), None)
        if uid <= before or (after is not None and uid >= after):
            self._fault(Kind.ORDER, f"UID {uid} is message {seq}, between {before} and {after}")
        if uid in self.gone:
            self._fault(Kind.RESURRECTED, f"UID {uid} was gone")
        if uid not in self._known and uid < self._floor:
            self._fault(Kind.ORDER, f"UID {uid} appeared below UIDNEXT {self._floor}")
        self._known.add(uid)
        self.uid_next = max(self.uid_next, uid + 1)

    @property
    def next_unknown(self) -> int:
        """The lowest UID the first entry that was announced but not fetched can have; 0: all were."""
        if None not in self.live:
            return 0
        first = self.live.index(None)
        return (self.live[first - 1] or 0) + 1 if first else 1

    def agrees_with(self, observed: Observed) -> str | None:
        """None if this client's picture is the mailbox; else how they differ."""
        rows = observed.rows
        if self.live != [row.uid for row in rows]:
            return f"UIDs seen {_differences(self.live, [row.uid for row in rows])}"
        for row in rows:
            if self.flags.get(row.uid) != row.flags:
                return f"flags of UID {row.uid}: seen {_shown(self.flags.get(row.uid))}, there {_shown(row.flags)}"
        return None


# The judgement


def judge(ledger: Ledger, observed: Mapping[str, Observed], watches: Iterable[Watch] = ()) -> list[Finding]:
    """Every broken promise. `observed` has every box of the ledger."""
    findings = list(ledger.findings)
    for box, state in observed.items():
        findings += _Box(box, ledger, state).findings
    findings += _judge_commands(ledger, observed)
    for message in ledger.messages.values():
        if message.by_smtp and message.acked is None and not message.refused:
            detail = f"{message.token} was offered {message.offers} times and never answered with 250"
            findings.append(Finding(Kind.STUCK, (*message.boxes, *message.remote)[0], detail))
    for watch in watches:
        findings += _judge_watch(watch, observed[watch.box])
    return findings


class _Box:
    """The judgement of one mailbox."""

    def __init__(self, box: str, ledger: Ledger, state: Observed) -> None:
        self._box = box
        self._ledger = ledger
        self._state = state
        self._rows: dict[str, list[Row]] = {}
        self.findings: list[Finding] = []
        for row in state.rows:
            self._rows.setdefault(token_of(row.content), []).append(row)
        self._structure()
        removals = {removal.token: removal for removal in _departures(ledger) if removal.box == box}
        self._arrivals = {transfer.token: transfer for transfer in ledger.transfers if transfer.target == box}
        mine = [message for message in ledger.messages.values() if box in message.boxes]
        for message in mine:
            self._message(message, removals.get(message.token))
        for transfer in self._arrivals.values():
            self._arrival(transfer)
        for token, rows in self._rows.items():
            if token not in self._arrivals and (
                token not in ledger.messages or box not in ledger.messages[token].boxes
            ):
                self._find(Kind.UNKNOWN, f"{token or 'a foreign message'} at UID {rows[0].uid}")
        self._uid_order({m.token: (m.began, m.acked) for m in mine if len(m.boxes) == 1 and not m.remote})
        self._uid_order({t.token: (t.began, t.acked) for t in self._arrivals.values()})
        self._flags()
        self._modseq_order()

    def _find(self, kind: Kind, detail: str) -> None:
        self.findings.append(Finding(kind, self._box, detail))

    def _structure(self) -> None:
        rows = self._state.rows
        for one, other in itertools.pairwise(rows):
            if one.uid >= other.uid:
                self._find(Kind.ORDER, f"UID {one.uid} is before UID {other.uid}")
        for row in rows:
            if row.uid >= self._state.uid_next:
                self._find(Kind.ORDER, f"UID {row.uid} is not below UIDNEXT {self._state.uid_next}")
            if row.modseq > self._state.highest_modseq:
                self._find(Kind.ORDER, f"modseq {row.modseq} is above HIGHESTMODSEQ {self._state.highest_modseq}")

    def _message(self, message: Message, removal: Removal | None) -> None:
        rows = self._rows.get(message.token, [])
        if len(rows) > 1:
            self._find(
                Kind.DOUBLE, f"{message.token} at UIDs {[row.uid for row in rows]}, offered {message.offers} times"
            )
        if not rows:
            if message.acked is not None and removal is None:
                self._find(Kind.LOST, f"{message.token}, offered {message.offers} times, to {len(message.boxes)} boxes")
            return
        if removal is not None and removal.uid is not None and any(row.uid != removal.uid for row in rows):
            detail = f"{message.token} was UID {removal.uid}, which was expunged, and is UID {rows[0].uid} too"
            self._find(Kind.DOUBLE, f"{detail}, offered {message.offers} times")
        elif removal is not None and removal.acked is not None:
            self._find(Kind.RESURRECTED, f"{message.token} at UID {rows[0].uid} was expunged")
        for row in rows:
            if not is_unaltered(row.content, message):
                self._find(Kind.ALTERED, f"{message.token} at UID {row.uid} has other bytes than were sent")
        if message.uid is not None and rows[0].uid != message.uid:
            self._find(Kind.UID_CHANGED, f"{message.token} was appended as UID {message.uid} and is {rows[0].uid}")

    def _arrival(self, transfer: Transfer) -> None:
        """What a copy must have become in its target."""
        rows, token = self._rows.get(transfer.token, []), transfer.token
        if len(rows) > 1:
            self._find(Kind.DOUBLE, f"{token} was copied here once and is at UIDs {[row.uid for row in rows]}")
        if not rows and transfer.acked is not None:
            self._find(Kind.LOST, f"{token}, {'moved' if transfer.moved else 'copied'} from {transfer.box}")
        for row in rows:
            if not is_unaltered(row.content, self._ledger.messages[token]):
                self._find(Kind.ALTERED, f"{token} at UID {row.uid} has other bytes than were sent")
            if transfer.target_uid not in (None, row.uid):
                self._find(Kind.UID_CHANGED, f"{token} was copied as UID {transfer.target_uid} and is {row.uid}")
            if row.flags != transfer.flags:
                self._find(Kind.FLAGS, f"{token} has {_shown(row.flags)}, was copied with {_shown(transfer.flags)}")

    def _uid_order(self, times: Mapping[str, tuple[float, float | None]]) -> None:
        """`times`: token -> (began, acknowledged) of what brought it here."""
        earliest: tuple[float, str] | None = None
        for row in sorted(self._state.rows, key=lambda row: -row.uid):
            token = token_of(row.content)
            began, acked = times.get(token, (None, None))
            if began is None:
                continue
            if earliest is not None and earliest[0] < began:
                later = earliest[1]
                self._find(Kind.ORDER, f"{token} was begun after {later} was acknowledged, and has the lower UID")
            if acked is not None and (earliest is None or acked < earliest[0]):
                earliest = (acked, token)

    def _flags(self) -> None:
        possible: dict[str, list[frozenset[str]]] = {}
        uids = {change.token: change.uid for change in self._ledger.changes if change.box == self._box}
        for change in self._ledger.changes:
            if change.box != self._box:
                continue
            first = self._ledger.messages[change.token].flags
            states = possible.setdefault(change.token, [first])
            after = [state | change.flags if change.add else state - change.flags for state in states]
            possible[change.token] = after if change.acked is not None else states + after
        for token, message in self._ledger.messages.items():
            if self._box in message.boxes:
                possible.setdefault(token, [message.flags])
        for token, states in possible.items():
            for row in self._rows.get(token, []):
                if row.uid == uids.get(token, row.uid) and row.flags not in states:
                    wanted = " or ".join(_shown(state) for state in dict.fromkeys(states))
                    self._find(Kind.FLAGS, f"{token} at UID {row.uid} has {_shown(row.flags)}, not {wanted}")

    def _modseq_order(self) -> None:
        told = [c for c in self._ledger.changes if c.box == self._box and c.acked is not None and c.modseq is not None]
        earliest: float | None = None
        for change in sorted(told, key=lambda change: -(change.modseq or 0)):
            if earliest is not None and earliest < change.began:
                self._find(
                    Kind.ORDER, f"modseq {change.modseq} of {change.token} is lower than one acknowledged before"
                )
            assert change.acked is not None
            earliest = change.acked if earliest is None else min(earliest, change.acked)
        last = {(change.token, change.uid): change.modseq or 0 for change in told}
        for (token, uid), modseq in last.items():
            for row in self._rows.get(token, []):
                if row.uid == uid and row.modseq < modseq:
                    self._find(Kind.ORDER, f"{token} has modseq {row.modseq}, its last change was told as {modseq}")


def _departures(ledger: Ledger) -> list[Removal]:
    """All that was asked to leave a mailbox."""
    moved = [Removal(t.box, t.token, t.uid, t.began, t.acked) for t in ledger.transfers if t.moved]
    return ledger.removals + moved


def _judge_commands(ledger: Ledger, observed: Mapping[str, Observed]) -> list[Finding]:
    """Commands that weren't answered: done in full or not at all, and what was moved is in one place."""
    findings = []
    there = {box: {token_of(row.content) for row in state.rows} for box, state in observed.items()}
    commands: dict[tuple[str, float], list[Removal]] = {}
    for removal in _departures(ledger):
        if removal.acked is None:
            commands.setdefault((removal.box, removal.began), []).append(removal)
    for (box, _), removals in commands.items():
        left = [removal.token for removal in removals if removal.token in there[box]]
        if 0 < len(left) < len(removals):
            findings.append(Finding(Kind.HALF, box, f"of {len(removals)} removed together {left} stayed"))
    for transfer in ledger.transfers:
        if transfer.moved and transfer.acked is None:
            places = [box for box in (transfer.box, transfer.target) if transfer.token in there[box]]
            if len(places) != 1:
                kind = Kind.DOUBLE if places else Kind.LOST
                findings.append(
                    Finding(kind, transfer.box, f"{transfer.token}, moved without an answer, is in {places}")
                )
    return findings


def judge_usage(address: str, said: int, boxes: Iterable[Observed]) -> list[Finding]:
    """The octets an account is said to use against those of its messages."""
    there = sum(len(row.content) for box in boxes for row in box.rows)
    return [] if said == there else [Finding(Kind.USAGE, address, f"{said} octets are said, {there} are there")]


def compare_maildrop(box: str, observed: Observed, retrieved: Sequence[bytes]) -> list[Finding]:
    """The same mailbox through IMAP and, message by message, through POP3."""
    if [row.content for row in observed.rows] == list(retrieved):
        return []
    tokens = [{token_of(content) for content in view} for view in ((r.content for r in observed.rows), retrieved)]
    detail = (
        f"{len(observed.rows)} messages against {len(retrieved)}; they differ in {sorted(tokens[0] ^ tokens[1])[:5]}"
    )
    return [Finding(Kind.DISAGREE, box, f"IMAP and POP3 show different messages: {detail}")]


def _judge_watch(watch: Watch, state: Observed) -> list[Finding]:
    findings = []

    def find(kind: Kind, detail: str) -> None:
        findings.append(Finding(kind, watch.box, f"{watch.name}: {detail}"))

    if watch.uid_validity not in (None, state.uid_validity):
        find(Kind.UID_VALIDITY, f"{watch.uid_validity} became {state.uid_validity}")
    if watch.uid_next > state.uid_next:
        find(Kind.ORDER, f"saw UIDNEXT {watch.uid_next}, now it is {state.uid_next}")
    if watch.highest > state.highest_modseq:
        find(Kind.ORDER, f"saw modseq {watch.highest}, now HIGHESTMODSEQ is {state.highest_modseq}")
    for row in state.rows:
        seen = watch.tokens.get(row.uid)
        if seen is not None and seen != token_of(row.content):
            find(Kind.UID_CHANGED, f"UID {row.uid} was {seen} and is {token_of(row.content)}")
        if row.uid in watch.gone:
            find(Kind.RESURRECTED, f"UID {row.uid} was seen to go")
    if (difference := watch.agrees_with(state)) is not None:
        find(Kind.DISAGREE, difference)
    return findings


def compare_views(box: str, one: Observed, other: Observed) -> list[Finding]:
    """The same mailbox through two pods."""
    if one == other:
        return []
    same_rows = one.rows == other.rows
    detail = (
        "the heads differ"
        if same_rows
        else f"UIDs {_differences([r.uid for r in one.rows], [r.uid for r in other.rows])}"
    )
    return [Finding(Kind.DISAGREE, box, f"two pods show different mailboxes: {detail}")]


def is_unaltered(content: bytes, message: Message) -> bool:
    """The bytes that were offered, below trace fields if it came by SMTP."""
    added = len(content) - message.size
    if added < 0 or (added and not message.by_smtp):
        return False
    if hashlib.sha256(content[added:]).digest() != message.digest:
        return False
    names = {
        line.partition(b":")[0].lower() for line in content[:added].split(b"\r\n") if line[:1] not in (b" ", b"\t", b"")
    }
    return names <= {
        b"received",
        b"return-path",
        b"delivered-to",
        b"authentication-results",
        b"received-spf",
        b"dkim-signature",
    }


def _differences(one: Sequence[int | None], other: Sequence[int | None]) -> str:
    extra, missing = sorted(map(str, set(one) - set(other))), sorted(map(str, set(other) - set(one)))
    return f"{len(one)} against {len(other)}; only here {extra[:5]}, only there {missing[:5]}"


def _shown(flags: frozenset[str] | None) -> str:
    return "nothing" if flags is None else f"({' '.join(sorted(flags))})"
