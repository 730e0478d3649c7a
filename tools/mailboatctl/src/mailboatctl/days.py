"""Days as people type them: how long what POP3 retrieved stays."""

from __future__ import annotations

MAX_DAYS = 3650


def parse_days(text: str, words: dict[str, str | None]) -> int | str | None:
    """A number of days, or what one of `words` stands for. Raises ValueError with a text for people."""
    if text in words:
        return words[text]
    if text.isascii() and text.isdigit() and int(text) <= MAX_DAYS:
        return int(text)
    raise ValueError(f"{text!r} is neither 0 to {MAX_DAYS} days nor {' nor '.join(words)}")


def show_days(days: int | str | None, unset: str) -> str:
    """For a table; `unset` is what null means."""
    if days is None:
        return unset
    return "at QUIT" if days == 0 else str(days)
