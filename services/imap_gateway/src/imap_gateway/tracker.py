"""What one session was told about message numbers, kept apart from what the mailbox holds now.

RFC 9051 2.3.1.2, 7.5.1 (RFC 3501 7.4.1): a message number may change only by an EXPUNGE the client has read, and
EXPUNGE
may not be sent during FETCH, STORE and SEARCH. So several sessions on one mailbox each have a numbering of their own.

Rules:
- The view (`View.uids`, ascending) is the truth; a tracker holds only the difference: `ceiling`, the highest UID that
  was
  announced by EXISTS, and `pending`, UIDs the view has lost but the client still counts.
- The client's numbering is the merge of `pending` with the view's UIDs up to the ceiling. With nothing pending, a
  message's
  number is its row + 1.
- UIDs rise (a new one is above every older one), so nothing ever appears below the ceiling.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


class Tracker:
    """The message numbers of one session. All methods take the view's current UIDs, ascending."""

    __slots__ = ("ceiling", "pending")

    def __init__(self, uids: Sequence[int]) -> None:
        self.ceiling = uids[-1] if uids else 0
        self.pending: list[int] = []

    def vanished(self, uids: Sequence[int]) -> None:
        """The view has just lost these UIDs (ascending): the client still counts those it knew."""
        known = uids[: bisect_right(uids, self.ceiling)]
        if known:
            self.pending.extend(known)
            self.pending.sort()  # two sorted runs: linear

    def exists(self, uids: Sequence[int]) -> int:
        """How many messages the client believes there are."""
        return bisect_right(uids, self.ceiling) + len(self.pending)

    def number(self, row: int, uid: int) -> int:
        """The client's number of the message `uid`, which is in the view at `row`."""
        return row + 1 + bisect_left(self.pending, uid) if self.pending else row + 1

    def numbers(self, uids: Sequence[int], wanted: Sequence[int]) -> list[int]:
        """The client's numbers of UIDs it knows, whether they are still in the view or not."""
        return [bisect_left(uids, uid) + 1 + bisect_left(self.pending, uid) for uid in wanted]

    def uid(self, uids: Sequence[int], number: int) -> int:
        """The UID behind the client's message number, 1 <= number <= exists(); it may be gone from the view."""
        if not self.pending:
            return uids[number - 1]
        place = number - 1

        def position(index: int) -> int:
            return bisect_left(uids, self.pending[index]) + index

        before = bisect_right(range(len(self.pending)), place, key=position)
        if before and position(before - 1) == place:
            return self.pending[before - 1]
        return uids[place - before]

    def lost(self, ranges: Sequence[tuple[int, int]]) -> bool:
        """Whether one of these UID ranges holds a message the client still counts, but that is gone."""
        return any(bisect_left(self.pending, low) != bisect_right(self.pending, high) for low, high in ranges)

    def take_expunges(self, uids: Sequence[int]) -> list[int]:
        """The numbers of the EXPUNGE responses to send now, in order, each counted after the ones before it."""
        numbers = [bisect_left(uids, uid) + 1 for uid in self.pending]
        self.pending = []
        return numbers

    def announce(self, uids: Sequence[int]) -> bool:
        """Let the client know all there is; True if there is something new, so that EXISTS must be sent."""
        if not uids or uids[-1] <= self.ceiling:
            return False
        self.ceiling = uids[-1]
        return True
