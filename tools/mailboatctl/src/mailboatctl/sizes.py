"""Sizes as people write them: 5G, 500M, 1.5T, none; units are powers of 1024."""

from __future__ import annotations

import re

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
LARGEST = 1 << 50


def parse_size(text: str) -> int:
    """Bytes, 0 for "none" (no limit). Raises ValueError with a text for a person."""
    if text.strip().lower() == "none":
        return 0
    found = FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; write 5G, 500M or none")
    size = int(float(found[1]) * UNITS[found[2].upper()])
    if not 0 < size <= LARGEST:
        raise ValueError(f"{text!r} is out of range")
    return size


def show_size(size: int) -> str:
    """The shortest exact or nearly exact form: 5G, 1.2M, 812."""
    for unit in ("T", "G", "M", "K"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.1f}".removesuffix(".0") + unit
    return str(size)
