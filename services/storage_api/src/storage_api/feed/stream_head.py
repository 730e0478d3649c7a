"""Where the stream begins, ends, and has gaps: the document that gives positions.

Positions have no gap but where a database was put back: what was given after the backup is forgotten, and may be known
to readers, so numbering goes on far above it (`restored/`). A reader inside or at the edge of such a gap has perhaps
seen, or missed, what is lost; it is told as one that came too late is.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..db.driver import Document

HEAD = "head"


@dataclass(frozen=True, slots=True)
class Head:
    """The last position given, the lowest that may still be there, and the gaps: (from, before) positions."""

    last: int
    floor: int
    gaps: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, document: Document | None) -> Head:
        """From the document `head` of `feeds`."""
        if document is None:
            return cls(0, 1)
        gaps = tuple((begin, end) for begin, end in document.get("gaps", []))
        return cls(document["next"] - 1, document["floor"], gaps)

    def following(self, position: int) -> int:
        """The lowest position behind `position` that may be there now or later. More than one on: events are lost."""
        found = max(position + 1, self.floor)
        for begin, end in self.gaps:
            if begin <= found < end:
                found = end
        return found

    def given_from(self, position: int) -> int:
        """How many events got a position from this one on."""
        skipped = sum(max(0, end - max(begin, position)) for begin, end in self.gaps)
        return max(0, self.last + 1 - position - skipped)
