"""Cursors: opaque to the client, a position to us."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import Query
from mailboat_common.errors import Refused, RefusedCode

Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str, Query(max_length=2000)]


def encode(position: str) -> str:
    """The cursor for a position."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """The position of a cursor; "" is the beginning. Refused INVALID."""
    try:
        return base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except ValueError:
        raise Refused(RefusedCode.INVALID, "Not a cursor of ours") from None
