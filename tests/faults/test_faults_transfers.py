"""The judge on copies, moves, commands without an answer, usage and POP3: each planted fault is found, nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.auditor import (
    Finding,
    Kind,
    Observed,
    Removal,
    Row,
    Transfer,
    compare_maildrop,
    judge,
    judge_usage,
)
from tests.faults.clients import Done, Response
from tests.faults.compose import archive_of, copied_uids
from tests.faults.test_faults_auditor import BOX, SEEN, World

THERE = archive_of(BOX)


class Moved(World):
    """As `World`: m1 was copied to the second mailbox, then m2 and m4 were moved there in one command."""

    def __init__(self) -> None:
        super().__init__()
        self.archive = Observed(78, 4, 9, (self.row(1, modseq=2), self.row(2, modseq=3), self.in_archive(4, 3)))
        for n, uid, moved, flags, began in (
            (1, 1, False, frozenset[str](), 9.0),
            (2, 2, True, frozenset[str](), 10.0),
            (4, 3, True, SEEN, 10.0),
        ):
            self.ledger.transfers.append(Transfer(BOX, f"m{n}", n, THERE, moved, flags, began, began + 0.5, uid))
        self.rows(*(row for row in self.state.rows if row.uid in (1, 3)))

    def in_archive(self, n: int, uid: int) -> Row:
        return self.row(n, uid=uid, flags=SEEN if n == 4 else frozenset(), modseq=uid + 1)

    def there(self, *rows: Row) -> None:
        self.archive = replace(self.archive, rows=rows, uid_next=9)

    def unanswered(self) -> None:
        """Nobody knows what became of the MOVE."""
        for transfer in self.ledger.transfers[1:]:
            transfer.acked = transfer.target_uid = None

    def judged(self) -> list[Finding]:
        return judge(self.ledger, {BOX: self.state, THERE: self.archive})


def test_a_sound_move_has_no_findings() -> None:
    assert Moved().judged() == []


def test_a_move_without_an_answer_may_have_happened_or_not() -> None:
    world = Moved()
    world.unanswered()
    assert world.judged() == []
    world.there(world.row(1, modseq=2))
    world.rows(world.row(1), world.row(2), world.row(3, received=False), world.row(4, flags=SEEN, modseq=9))
    assert world.judged() == []


def lose_a_copy(world: Moved) -> None:
    world.there(*world.archive.rows[1:])


def lose_what_was_moved(world: Moved) -> None:
    world.there(*world.archive.rows[:2])


def copy_twice(world: Moved) -> None:
    world.there(*world.archive.rows, world.row(1, uid=5))


def leave_what_was_moved(world: Moved) -> None:
    world.rows(*world.state.rows, world.row(2))


def lose_the_flag_of_a_copy(world: Moved) -> None:
    world.there(*world.archive.rows[:2], world.row(4, uid=3))


def change_the_uid_of_a_copy(world: Moved) -> None:
    world.there(*world.archive.rows[:2], world.in_archive(4, 5))


def change_the_bytes_of_a_copy(world: Moved) -> None:
    first, *rest = world.archive.rows
    world.there(replace(first, content=first.content + b"more"), *rest)


def copy_a_foreign_message(world: Moved) -> None:
    world.there(*world.archive.rows, world.row(3, uid=5, received=False))


def swap_two_copies(world: Moved) -> None:
    for transfer in world.ledger.transfers:
        transfer.target_uid = None
    world.there(world.row(2, uid=1), world.row(1, uid=2), world.in_archive(4, 3))


def move_one_of_two(world: Moved) -> None:
    world.unanswered()
    world.there(*world.archive.rows[:2])
    world.rows(*world.state.rows, world.row(4, flags=SEEN, modseq=9))


def move_into_nothing(world: Moved) -> None:
    world.unanswered()
    world.there(world.archive.rows[0])


def move_and_keep(world: Moved) -> None:
    world.unanswered()
    world.rows(*world.state.rows, world.row(2), world.row(4, flags=SEEN, modseq=9))


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lose_a_copy, Kind.LOST),
        (lose_what_was_moved, Kind.LOST),
        (copy_twice, Kind.DOUBLE),
        (leave_what_was_moved, Kind.RESURRECTED),
        (lose_the_flag_of_a_copy, Kind.FLAGS),
        (change_the_uid_of_a_copy, Kind.UID_CHANGED),
        (change_the_bytes_of_a_copy, Kind.ALTERED),
        (copy_a_foreign_message, Kind.UNKNOWN),
        (swap_two_copies, Kind.ORDER),
        (move_one_of_two, Kind.HALF),
        (move_into_nothing, Kind.LOST),
        (move_and_keep, Kind.DOUBLE),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[Moved], None], kind: Kind) -> None:
    world = Moved()
    plant(world)
    assert kind in {finding.kind for finding in world.judged()}


def test_a_maildrop_s_removals_are_all_done_or_none() -> None:
    world = World()
    world.ledger.removals[0].uid = None  # POP3 knows no UIDs
    world.ledger.removals += [Removal(BOX, f"m{n}", None, 9.0) for n in (1, 2)]
    assert judge(world.ledger, {BOX: world.state}) == []
    world.rows(*(row for row in world.state.rows if row.uid not in (1, 2)))
    assert judge(world.ledger, {BOX: world.state}) == []
    world.rows(*world.state.rows, world.row(1))
    assert {finding.kind for finding in judge(world.ledger, {BOX: world.state})} == {Kind.HALF}


def test_usage_is_the_sum() -> None:
    world = Moved()
    size = sum(len(row.content) for row in (*world.state.rows, *world.archive.rows))
    assert judge_usage(BOX, size, (world.state, world.archive)) == []
    assert [finding.kind for finding in judge_usage(BOX, size + 1, (world.state, world.archive))] == [Kind.USAGE]


def test_pop3_shows_what_imap_shows() -> None:
    world = World()
    contents = [row.content for row in world.state.rows]
    assert compare_maildrop(BOX, world.state, contents) == []
    for wrong in (contents[1:], contents[::-1], [*contents, contents[0]], [contents[0] + b"\r\n", *contents[1:]]):
        assert [finding.kind for finding in compare_maildrop(BOX, world.state, wrong)] == [Kind.DISAGREE]


@pytest.mark.parametrize(
    ("done", "uids"),
    [
        (Done("OK", "[COPYUID 7 3,5:6 10:12] Copied"), {3: 10, 5: 11, 6: 12}),
        (Done("OK", "Moved", [Response(b"* OK [COPYUID 7 4 9] Moved"), Response(b"* 1 EXPUNGE")]), {4: 9}),
        (Done("OK", "Nothing to move"), {}),
    ],
)
def test_where_copies_are(done: Done, uids: dict[int, int]) -> None:
    assert copied_uids(done) == uids
