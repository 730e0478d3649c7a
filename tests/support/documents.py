"""Reading the project's documents: tables, and the paths and tests they name."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUOTED = re.compile(r"`([^`\n]+)`")
_CELL = re.compile(r"(?<!\\)\|")


def table(document: str, head: str) -> list[list[str]]:
    """The cells of all rows of all tables of a document (path from the root) whose head's first cell is `head`."""
    found: list[list[str]] = []
    inside = False
    for line in (ROOT / document).read_text("utf-8").splitlines():
        cells = [cell.strip().replace(r"\|", "|") for cell in _CELL.split(line)[1:-1]] if line.startswith("|") else []
        if not cells:
            inside = False
        elif inside and not set(cells[0]) <= {"-", ":"}:
            found.append(cells)
        elif not inside and cells[0] == head:
            inside = True
    return found


def section(document: str, title: str) -> str:
    """The text under a heading, up to the next one of its level."""
    text = (ROOT / document).read_text("utf-8")
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"{document} has no section {title!r}"
    return match[2]


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return QUOTED.findall(text)
