"""zstd dictionaries for small bodies: package data `mail-<id>.zdict`, trained by `train` from generated mail.

A body names the dictionary it was compressed with; every dictionary ever released stays here.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

CURRENT = 1
"""The dictionary new bodies are compressed with."""


@cache
def load(dictionary_id: int) -> bytes:
    """The dictionary's bytes. Raises FileNotFoundError for an id this release doesn't have."""
    return resources.files(__name__).joinpath(f"mail-{dictionary_id}.zdict").read_bytes()
