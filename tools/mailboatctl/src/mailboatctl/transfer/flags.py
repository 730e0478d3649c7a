"""Flags and keywords (RFC 9051 2.3.2) on their way in: what the API takes, and what Maildir and mbox write for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

SYSTEM = {flag.lower(): flag for flag in ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")}
FORWARDED = "$Forwarded"
MAX_FLAGS = 64
_KEYWORD = re.compile(r'[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]{1,64}')

MAILDIR = {"D": "\\Draft", "F": "\\Flagged", "P": FORWARDED, "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
"""The letters of a Maildir file's name, in the order they are written in."""


def cleaned(flags: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(flags that the API takes, each once; the others). \\Recent is no flag of a message and is in neither."""
    kept: dict[str, str] = {}
    left: list[str] = []
    for flag in flags:
        fold = flag.lower()
        if fold in SYSTEM:
            kept[fold] = SYSTEM[fold]
        elif fold == "\\recent":
            continue
        elif _KEYWORD.fullmatch(flag) and len(kept) < MAX_FLAGS:
            kept.setdefault(fold, flag)
        else:
            left.append(flag)
    return tuple(kept.values()), tuple(left)
