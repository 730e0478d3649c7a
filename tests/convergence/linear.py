"""What mailboxes do when one command runs after the other, and whether some such order explains what happened.

`explains` is a linearisability check: an order of all acknowledged commands that keeps each client's own order and puts
no command before one that was answered before it was sent, in which every answer is right and at whose end the
mailboxes hold what they hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Row = tuple[str, frozenset[str]]
Box = tuple[int, tuple[tuple[int, Row], ...]]
"""(uid_next, rows ascending by UID): the subject and the flags of each."""
State = tuple[tuple[str, Box], ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One acknowledged command. `kind`: add, remove, set (flags), expunge, move, copy, append, replace.

    `uid` None: EXPUNGE of all that is \\Deleted. `answer`: the UID of APPENDUID or COPYUID, None if there was none.
    `sent` and `answered` count events of all clients.
    """

    client: int
    kind: str
    box: str
    uid: int | None = None
    target: str = ""
    flags: frozenset[str] = frozenset()
    subject: str = ""
    answer: int | None = None
    sent: int = 0
    answered: int = 0


def state_of(boxes: Mapping[str, tuple[int, Mapping[int, Row]]]) -> State:
    """A state from (uid_next, rows) by name."""
    return tuple((name, (uid_next, tuple(sorted(rows.items())))) for name, (uid_next, rows) in sorted(boxes.items()))


def after(state: State, command: Command) -> State | None:
    """The state after a command; None if it would have been answered differently."""
    boxes = {name: (uid_next, dict(rows)) for name, (uid_next, rows) in state}
    _, rows = boxes[command.box]
    row = rows.get(command.uid) if command.uid is not None else None
    match command.kind:
        case "add" | "remove" | "set":
            if row is not None and command.uid is not None:
                rows[command.uid] = row[0], _flagged(row[1], command)
            return state_of(boxes)
        case "expunge":
            for uid in [uid for uid in rows if command.uid in (None, uid) and "\\Deleted" in rows[uid][1]]:
                del rows[uid]
            return state_of(boxes)
    new: Row | None = row
    if command.kind in ("append", "replace"):
        new = command.subject, command.flags
    if command.kind != "append" and row is None:
        new = None
    if new is None:
        return state if command.answer is None else None
    if command.kind in ("move", "replace") and command.uid is not None:
        del rows[command.uid]
    uid_next, target = boxes[command.target]
    if command.answer != uid_next:
        return None
    target[uid_next] = new
    boxes[command.target] = uid_next + 1, target
    return state_of(boxes)


def _flagged(flags: frozenset[str], command: Command) -> frozenset[str]:
    if command.kind == "add":
        return flags | command.flags
    return flags - command.flags if command.kind == "remove" else command.flags


def explains(start: State, end: State, commands: Sequence[Command]) -> bool:
    """Whether some order of the commands leads from `start` to `end` with the answers that were given."""
    queues = [
        sorted((each for each in commands if each.client == client), key=lambda each: each.sent)
        for client in sorted({each.client for each in commands})
    ]
    dead: set[tuple[tuple[int, ...], State]] = set()

    def search(done: tuple[int, ...], state: State) -> bool:
        waiting = [queue[at] for queue, at in zip(queues, done, strict=True) if at < len(queue)]
        if not waiting:
            return state == end
        if (done, state) in dead:
            return False
        first_answer = min(each.answered for each in waiting)
        for number, (queue, at) in enumerate(zip(queues, done, strict=True)):
            if at == len(queue) or queue[at].sent > first_answer:
                continue  # another command was answered before this one was sent
            following = after(state, queue[at])
            if following is not None and search((*done[:number], at + 1, *done[number + 1 :]), following):
                return True
        dead.add((done, state))
        return False

    return search((0,) * len(queues), start)
