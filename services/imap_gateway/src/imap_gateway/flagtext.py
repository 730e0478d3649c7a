"""The flags of messages as IMAP shows them, remembered by bit pattern: a mailbox has few patterns and many messages.

RFC 9051 2.3.2, 7.5.2. A bit is never renamed within a mailbox (store.md, rule 11), so what was rendered stays right
when
the keyword table grows.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_store_client.types import SYSTEM_FLAGS, FlagTable

MAX_PATTERNS = 4096  # a client can make as many as it has messages: bounded, then begun anew


class FlagTexts:
    """`\\Seen \\Flagged` for the flag words of a mailbox's rows."""

    __slots__ = ("_texts", "table")

    def __init__(self) -> None:
        self.table = FlagTable()
        self._texts: dict[tuple[int | tuple[int, ...], bool], bytes] = {}

    def texts(self, columns: Sequence[Sequence[int]], *, recent: bool) -> list[bytes]:
        """One text a row, without parentheses, from the flag columns of these rows."""
        patterns: Sequence[int | tuple[int, ...]]
        patterns = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        known = {pattern: self._text(pattern, recent) for pattern in set(patterns)}
        return [known[pattern] for pattern in patterns]

    def _text(self, pattern: int | tuple[int, ...], recent: bool) -> bytes:
        text = self._texts.get((pattern, recent))
        if text is None:
            if len(self._texts) >= MAX_PATTERNS:
                self._texts.clear()
            names = self.table.names((pattern,) if isinstance(pattern, int) else pattern)
            if recent:
                names.append("\\Recent")
            text = self._texts[pattern, recent] = " ".join(names).encode("ascii", "replace")
        return text


def flag_list(table: FlagTable) -> bytes:
    """All flags a mailbox knows, for FLAGS and PERMANENTFLAGS, without parentheses."""
    return " ".join([*SYSTEM_FLAGS, *table.keywords]).encode("ascii", "replace")
