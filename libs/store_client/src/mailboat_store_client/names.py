"""Mailbox names: hierarchy, INBOX, what is legal (RFC 9051 5.1).

The delimiter is "/". INBOX compares in any case, alone and as the first level; every other name is case-sensitive.
"""

from __future__ import annotations

from mailboat_common.errors import Refused, RefusedCode

DELIMITER = "/"
MAX_NAME_BYTES = 1000
MAX_DEPTH = 32


def canonical(name: str) -> str:
    """The stored form of a name: INBOX upper-case wherever it is the first level.

    Refused BAD_NAME for an illegal one.
    """
    if not name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise Refused(RefusedCode.BAD_NAME, "Mailbox name is empty or too long")
    levels = name.split(DELIMITER)
    if not all(levels) or len(levels) > MAX_DEPTH:
        raise Refused(RefusedCode.BAD_NAME, "Mailbox name has an empty level or too many levels")
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 or c in "\u2028\u2029" for c in name):
        raise Refused(RefusedCode.BAD_NAME, "Mailbox name holds a control character")
    if levels[0].upper() == "INBOX":
        levels[0] = "INBOX"
    return DELIMITER.join(levels)


def parents(name: str) -> list[str]:
    """Names of the levels above, outermost first: a/b/c → [a, a/b]."""
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:i]) for i in range(1, len(levels))]


def is_child(name: str, parent: str) -> bool:
    """Whether `name` lies below `parent` at any depth."""
    return name.startswith(parent + DELIMITER)


def sort_key(name: str) -> tuple[bool, str]:
    """INBOX first, then by name."""
    return name != "INBOX", name
