"""The judge can fail: each kind of fault, planted into what it is shown, is found; and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.auditor import Change, Kind, Ledger, Observed, Removal, Row, Watch, compare_views, judge
from tests.faults.compose import compose

BOX = "a@faults.test"
SEEN = frozenset({"\\Seen"})


class World:
    """Five messages: m1 and m2 by SMTP, m3 appended, m4 changed to \\Seen, m5 expunged; and a client that watched."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.contents = {f"m{n}": compose(f"m{n}", random.Random(n)) for n in range(1, 7)}
        for n in range(1, 6):
            message = self.ledger.offer(f"m{n}", self.contents[f"m{n}"], [BOX], n != 3, float(n))
            message.acked = n + 0.5
            message.offers = 1
        self.ledger.messages["m3"].uid = 3
        self.ledger.changes.append(Change(BOX, "m4", 4, True, SEEN, 6.0, 6.5, 9))
        self.ledger.changes.append(Change(BOX, "m5", 5, True, frozenset({"\\Deleted"}), 7.0, 7.5, 10))
        self.ledger.removals.append(Removal(BOX, "m5", 5, 8.0, 8.5))
        rows = [self.row(1), self.row(2), self.row(3, received=False), self.row(4, flags=SEEN, modseq=9)]
        self.state = Observed(77, 6, 11, tuple(rows))
        self.watch = Watch(BOX, "watcher", self.ledger)
        self.watch.selected(0, 77, 1, 1)
        self.watch.caught_up()
        for n in range(1, 6):
            self.watch.exists(n)
            self.watch.fetched(n, uid=n, flags=frozenset(), modseq=n + 1, token=f"m{n}", now=n + 0.6)
            self.watch.caught_up()
        self.watch.fetched(4, uid=4, flags=SEEN, modseq=9)
        self.watch.expunged(5)

    def row(
        self, n: int, *, uid: int = 0, flags: frozenset[str] = frozenset(), modseq: int = 0, received: bool = True
    ) -> Row:
        added = b"Received: from somewhere\r\n\tby here\r\n" if received else b""
        return Row(uid or n, modseq or n + 1, flags, added + self.contents[f"m{n}"])

    def rows(self, *rows: Row) -> None:
        self.state = replace(self.state, rows=tuple(sorted(rows, key=lambda row: row.uid)))

    def kinds(self) -> set[Kind]:
        return {finding.kind for finding in judge(self.ledger, {BOX: self.state}, [self.watch])}


def test_a_sound_mailbox_has_no_findings() -> None:
    world = World()
    assert judge(world.ledger, {BOX: world.state}, [world.watch]) == []


def lose(world: World) -> None:
    world.rows(*(row for row in world.state.rows if row.uid != 2))


def deliver_twice(world: World) -> None:
    world.rows(*world.state.rows, world.row(2, uid=6))
    world.state = replace(world.state, uid_next=7)


def deliver_twice_and_expunge_one(world: World) -> None:
    world.rows(*world.state.rows, world.row(5, uid=6))
    world.state = replace(world.state, uid_next=7)


def swap_two(world: World) -> None:
    one, two, *rest = world.state.rows
    world.rows(replace(one, uid=2), replace(two, uid=1), *rest)


def change_an_appended_uid(world: World) -> None:
    world.rows(*(replace(row, uid=6) if row.uid == 3 else row for row in world.state.rows))
    world.state = replace(world.state, uid_next=7)


def change_bytes(world: World) -> None:
    first, *rest = world.state.rows
    world.rows(replace(first, content=first.content.replace(b"Subject", b"subject")), *rest)


def add_a_strange_field(world: World) -> None:
    first, *rest = world.state.rows
    world.rows(replace(first, content=b"X-Added: here\r\n" + first.content), *rest)


def add_a_trace_field_to_an_appended_message(world: World) -> None:
    world.rows(*(world.row(3) if row.uid == 3 else row for row in world.state.rows))


def bring_the_expunged_back(world: World) -> None:
    world.rows(*world.state.rows, world.row(5, flags=frozenset({"\\Deleted"}), modseq=10))


def lose_a_flag(world: World) -> None:
    world.rows(*(replace(row, flags=frozenset()) if row.uid == 4 else row for row in world.state.rows))


def invent_a_flag(world: World) -> None:
    world.rows(*(replace(row, flags=SEEN) if row.uid == 1 else row for row in world.state.rows))


def invent_a_message(world: World) -> None:
    world.rows(*world.state.rows, world.row(6))
    world.state = replace(world.state, uid_next=7)


def lower_uidnext(world: World) -> None:
    world.state = replace(world.state, uid_next=3)


def lower_highest_modseq(world: World) -> None:
    world.state = replace(world.state, highest_modseq=5)


def forget_a_modseq(world: World) -> None:
    world.rows(*(replace(row, modseq=5) if row.uid == 4 else row for row in world.state.rows))


def change_uid_validity(world: World) -> None:
    world.state = replace(world.state, uid_validity=78)


def never_answer(world: World) -> None:
    world.ledger.messages["m2"].acked = None


def hide_an_arrival(world: World) -> None:
    world.watch.live.pop(1)


def show_other_flags(world: World) -> None:
    world.watch.fetched(1, uid=1, flags=SEEN, modseq=11)


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lose, Kind.LOST),
        (deliver_twice, Kind.DOUBLE),
        (deliver_twice_and_expunge_one, Kind.DOUBLE),
        (swap_two, Kind.ORDER),
        (swap_two, Kind.UID_CHANGED),
        (change_an_appended_uid, Kind.UID_CHANGED),
        (change_bytes, Kind.ALTERED),
        (add_a_strange_field, Kind.ALTERED),
        (add_a_trace_field_to_an_appended_message, Kind.ALTERED),
        (bring_the_expunged_back, Kind.RESURRECTED),
        (lose_a_flag, Kind.FLAGS),
        (invent_a_flag, Kind.FLAGS),
        (invent_a_message, Kind.UNKNOWN),
        (lower_uidnext, Kind.ORDER),
        (lower_highest_modseq, Kind.ORDER),
        (forget_a_modseq, Kind.ORDER),
        (change_uid_validity, Kind.UID_VALIDITY),
        (never_answer, Kind.STUCK),
        (hide_an_arrival, Kind.DISAGREE),
        (show_other_flags, Kind.DISAGREE),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[World], None], kind: Kind) -> None:
    world = World()
    plant(world)
    assert kind in world.kinds()


def test_what_got_no_answer_may_be_either() -> None:
    world = World()
    world.ledger.messages["m3"].acked = None  # appended: there or not
    world.ledger.messages["m3"].uid = None
    world.ledger.changes[0].acked = None
    world.ledger.removals[0].acked = None
    assert world.kinds() == set()
    world.rows(world.row(1), world.row(2), world.row(4))
    kinds = world.kinds()
    assert Kind.LOST not in kinds
    assert Kind.FLAGS not in kinds
    world.rows(*world.state.rows, world.row(5, flags=frozenset({"\\Deleted"}), modseq=10))
    assert Kind.FLAGS not in {finding.kind for finding in judge(world.ledger, {BOX: world.state})}


def test_what_got_no_answer_is_not_there_twice() -> None:
    world = World()
    world.ledger.messages["m3"].acked = None
    world.rows(*world.state.rows, world.row(3, uid=6, received=False))
    world.state = replace(world.state, uid_next=7)
    assert Kind.DOUBLE in world.kinds()


def test_an_unanswered_change_happens_in_full_or_not_at_all() -> None:
    world = World()
    world.ledger.changes.append(Change(BOX, "m1", 1, True, frozenset({"\\Flagged", "paid"}), 9.0))
    world.rows(*(replace(r, flags=frozenset({"paid"})) if r.uid == 1 else r for r in world.state.rows))
    assert Kind.FLAGS in world.kinds()


def test_modseqs_told_in_the_wrong_order() -> None:
    world = World()
    world.ledger.changes.append(Change(BOX, "m1", 1, True, SEEN, 9.0, 9.5, 8))
    assert Kind.ORDER in world.kinds()


def watching() -> tuple[Ledger, Watch]:
    """A client that has seen UIDs 1 to 3."""
    ledger = Ledger()
    watch = Watch(BOX, "watcher", ledger)
    watch.selected(3, 77, 4, 10)
    for n in (1, 2, 3):
        watch.fetched(n, uid=n, flags=frozenset(), modseq=n + 1, token=f"m{n}", now=1.0)
    watch.caught_up()
    return ledger, watch


def a_lower_uid_arrives(watch: Watch) -> None:
    watch.exists(4)
    watch.fetched(4, uid=2, modseq=11, token="m9")


def an_entry_appears_below_uidnext(watch: Watch) -> None:
    watch.selected(4, 77, 8, 12)
    for seq, uid in enumerate((1, 2, 3, 7), 1):
        watch.fetched(seq, uid=uid, modseq=12, token=f"m{uid}")
    watch.caught_up()
    watch.selected(5, 77, 8, 12)
    for seq, uid in enumerate((1, 2, 3, 5, 7), 1):
        watch.fetched(seq, uid=uid, modseq=12, token=f"m{uid}")


def a_modseq_falls(watch: Watch) -> None:
    watch.fetched(2, uid=2, flags=SEEN, modseq=2)


def exists_falls(watch: Watch) -> None:
    watch.exists(2)


def an_expunge_of_nothing(watch: Watch) -> None:
    watch.expunged(4)


def a_fetch_of_nothing(watch: Watch) -> None:
    watch.fetched(4, uid=4, modseq=5)


def uidnext_falls(watch: Watch) -> None:
    watch.selected(3, 77, 3, 10)


def highest_modseq_falls(watch: Watch) -> None:
    watch.selected(3, 77, 4, 9)


def uid_validity_changes(watch: Watch) -> None:
    watch.selected(3, 78, 4, 10)


def the_gone_come_back(watch: Watch) -> None:
    watch.expunged(2)
    watch.selected(3, 77, 4, 11)
    watch.fetched(2, uid=2, modseq=11, token="m2")


def what_went_offline_comes_back(watch: Watch) -> None:
    watch.selected(2, 77, 4, 11)
    watch.fetched(1, uid=1, modseq=2)
    watch.fetched(2, uid=3, modseq=4)
    watch.caught_up()
    watch.selected(3, 77, 4, 11)
    watch.fetched(2, uid=2, modseq=3)


def a_number_names_another_uid(watch: Watch) -> None:
    watch.fetched(2, uid=3, modseq=11)


def a_uid_names_another_message(watch: Watch) -> None:
    watch.fetched(2, uid=2, modseq=11, token="m9")


def a_message_comes_twice(watch: Watch) -> None:
    watch.exists(4)
    watch.fetched(4, uid=4, modseq=11, token="m1")


@pytest.mark.parametrize(
    ("happens", "kind"),
    [
        (a_lower_uid_arrives, Kind.ORDER),
        (an_entry_appears_below_uidnext, Kind.ORDER),
        (a_modseq_falls, Kind.ORDER),
        (exists_falls, Kind.ORDER),
        (an_expunge_of_nothing, Kind.ORDER),
        (a_fetch_of_nothing, Kind.ORDER),
        (uidnext_falls, Kind.ORDER),
        (highest_modseq_falls, Kind.ORDER),
        (uid_validity_changes, Kind.UID_VALIDITY),
        (the_gone_come_back, Kind.RESURRECTED),
        (what_went_offline_comes_back, Kind.RESURRECTED),
        (a_number_names_another_uid, Kind.UID_CHANGED),
        (a_uid_names_another_message, Kind.UID_CHANGED),
        (a_message_comes_twice, Kind.DOUBLE),
    ],
)
def test_what_a_watching_client_must_never_see(happens: Callable[[Watch], None], kind: Kind) -> None:
    ledger, watch = watching()
    happens(watch)
    assert kind in {finding.kind for finding in ledger.findings}


def test_what_a_watching_client_may_see() -> None:
    ledger, watch = watching()
    watch.expunged(1)
    watch.exists(3)
    watch.fetched(2, flags=SEEN, modseq=11)
    watch.fetched(3, uid=6, flags=SEEN, modseq=12, token="m6")  # two that came between are gone already
    watch.caught_up()
    watch.selected(1, 77, 9, 20)
    watch.fetched(1, uid=6, modseq=12, token="m6")
    watch.caught_up()
    assert ledger.findings == []
    assert watch.gone == {1, 2, 3}


def test_two_pods_that_differ() -> None:
    world = World()
    other = replace(world.state, rows=world.state.rows[1:])
    assert compare_views(BOX, world.state, world.state) == []
    assert [finding.kind for finding in compare_views(BOX, world.state, other)] == [Kind.DISAGREE]
