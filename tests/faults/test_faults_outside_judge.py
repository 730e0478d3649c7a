"""The judge of mail out can fail: each planted fault is found; what a killed attempt may do is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.auditor import Finding, Kind, Ledger
from tests.faults.auditor_outside import DELIVERED, FAILED, OPEN, WAITING, Copy, judge_outside

ANN, BOB, GONE, LATER = "ann@r1.example", "bob@r1.example", "gone7@r1.example", "later@r2.example"
CONTENT = b"From: x\r\n\r\nhello\r\n"
TOP = b"Received: by here\r\nDKIM-Signature: v=1\r\n"


class Outside:
    """One message for four recipients: two have it, one is refused, one waits. A worker died at 50, and at 80."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        message = self.ledger.offer("m1", CONTENT, (), True, 1.0)
        message.sender, message.remote, message.acked = "s@faults.test", (ANN, BOB, GONE, LATER), 2.0
        self.copies = [Copy("m1", ANN, TOP + CONTENT, 10.0, None), Copy("m1", BOB, TOP + CONTENT, 11.0, None)]
        self.states = {
            ("m1", ANN): [DELIVERED],
            ("m1", BOB): [DELIVERED],
            ("m1", GONE): [FAILED],
            ("m1", LATER): [WAITING],
        }
        self.notices = [b"In-Reply-To: <m1@faults.example>\r\n\r\n" + GONE.encode()]

    def judged(self) -> list[Finding]:
        return judge_outside(self.ledger, self.copies, self.states, self.notices, [50.0, 80.0])


def test_sound_mail_out_has_no_findings() -> None:
    assert Outside().judged() == []


def test_a_killed_attempt_may_be_repeated_once() -> None:
    world = Outside()
    world.copies += [replace(world.copies[0], at=49.0, cut=50.5), replace(world.copies[0], at=79.0, cut=80.0)]
    world.copies[0] = replace(world.copies[0], at=90.0)
    assert world.judged() == []
    world.copies.append(replace(world.copies[0], at=95.0))
    assert [finding.kind for finding in world.judged()] == [Kind.DOUBLE]


def lose_the_document(world: Outside) -> None:
    del world.states["m1", ANN]


def queue_twice(world: Outside) -> None:
    world.states["m1", ANN] *= 2


def never_try(world: Outside) -> None:
    world.states["m1", ANN] = [OPEN]
    world.copies.pop(0)


def put_off_for_nothing(world: Outside) -> None:
    world.states["m1", ANN] = [WAITING]


def give_up(world: Outside) -> None:
    world.states["m1", LATER] = [FAILED]


def say_delivered(world: Outside) -> None:
    world.copies.pop(0)


def send_twice(world: Outside) -> None:
    world.copies.append(replace(world.copies[0], at=20.0))


def send_again_after_a_connection_broke_by_itself(world: Outside) -> None:
    world.copies.insert(0, replace(world.copies[0], at=20.0, cut=21.0))


def repeat_with_other_bytes(world: Outside) -> None:
    world.copies.append(replace(world.copies[0], at=49.0, cut=50.0, content=b"Received: by there\r\n" + CONTENT))


def change_bytes(world: Outside) -> None:
    world.copies[0] = replace(world.copies[0], content=TOP + CONTENT + b"more")


def send_to_who_is_gone(world: Outside) -> None:
    world.copies.append(replace(world.copies[0], recipient=GONE))


def send_to_a_stranger(world: Outside) -> None:
    world.copies.append(replace(world.copies[0], recipient="zoe@r1.example"))


def keep_the_failure_quiet(world: Outside) -> None:
    world.notices.clear()


def tell_twice(world: Outside) -> None:
    world.notices *= 2


def tell_of_what_arrived(world: Outside) -> None:
    world.notices[0] += ANN.encode()


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lose_the_document, Kind.LOST),
        (queue_twice, Kind.DOUBLE),
        (never_try, Kind.STUCK),
        (put_off_for_nothing, Kind.STUCK),
        (give_up, Kind.LOST),
        (say_delivered, Kind.LOST),
        (send_twice, Kind.DOUBLE),
        (send_again_after_a_connection_broke_by_itself, Kind.DOUBLE),
        (repeat_with_other_bytes, Kind.ALTERED),
        (change_bytes, Kind.ALTERED),
        (send_to_who_is_gone, Kind.UNKNOWN),
        (send_to_a_stranger, Kind.UNKNOWN),
        (keep_the_failure_quiet, Kind.LOST),
        (tell_twice, Kind.DOUBLE),
        (tell_of_what_arrived, Kind.DOUBLE),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[Outside], None], kind: Kind) -> None:
    world = Outside()
    plant(world)
    assert kind in {finding.kind for finding in world.judged()}
