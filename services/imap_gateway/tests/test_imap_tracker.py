"""The numbering of one session against a plain model: a list of what the client believes is there."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st
from imap_gateway.tracker import Tracker

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 3)),
        st.tuples(st.just("vanish"), st.sets(st.integers(0, 30), max_size=4)),
        st.tuples(st.just("tell"), st.booleans()),
    ),
    max_size=40,
)


@given(st.integers(0, 8), STEPS)
def test_numbers_are_what_the_client_believes(start: int, steps: list[tuple[str, object]]) -> None:
    uids = array("I", range(1, start + 1))
    next_uid = start + 1
    tracker = Tracker(uids)
    believed = list(uids)  # what the client counts, by what it was told
    for what, value in steps:
        if what == "arrive":
            assert isinstance(value, int)
            uids.extend(range(next_uid, next_uid + value))
            next_uid += value
        elif what == "vanish":
            assert isinstance(value, set)
            gone = [uid for index, uid in enumerate(uids) if index in value]
            uids = array("I", [uid for uid in uids if uid not in gone])
            tracker.vanished(gone)
        else:
            if value:
                for number in tracker.take_expunges(uids):
                    del believed[number - 1]
                assert not tracker.pending
            if tracker.announce(uids):
                believed.extend(uid for uid in uids if uid > max(believed, default=0) and uid not in believed)
        assert tracker.exists(uids) == len(believed)
        assert [tracker.uid(uids, number) for number in range(1, len(believed) + 1)] == believed
        assert tracker.numbers(uids, believed) == list(range(1, len(believed) + 1))
        for row, uid in enumerate(uids):
            if uid <= tracker.ceiling:
                assert believed[tracker.number(row, uid) - 1] == uid


def test_lost_says_whether_a_range_holds_an_expunged_message() -> None:
    uids = array("I", [1, 2, 3, 4, 5])
    tracker = Tracker(uids)
    tracker.vanished([2, 4])
    assert tracker.lost([(1, 2)])
    assert tracker.lost([(4, 9)])
    assert not tracker.lost([(1, 1), (3, 3), (5, 5)])


def test_what_came_and_went_unannounced_is_never_mentioned() -> None:
    tracker = Tracker(array("I", [1]))
    tracker.vanished([7, 8])
    assert tracker.pending == []
