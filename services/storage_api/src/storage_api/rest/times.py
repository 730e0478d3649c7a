"""Moments that clients give: milliseconds since the epoch, as the API gives them, or RFC 3339 text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from mailboat_common.errors import Refused, RefusedCode
from pydantic import Field

_MS = re.compile(r"-?[0-9]{1,15}")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)

Moment = Annotated[
    str,
    Field(
        max_length=40,
        description="Milliseconds since the epoch, an RFC 3339 date and time, or a day (its beginning, UTC)",
        examples=["2026-11-26T08:30:00Z"],
    ),
]


def moment(text: str) -> int:
    """Milliseconds since the epoch. Refused INVALID."""
    if _MS.fullmatch(text):
        return int(text)
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        raise Refused(RefusedCode.INVALID, "Neither milliseconds since the epoch nor an RFC 3339 date") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
