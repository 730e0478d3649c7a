"""What a submission server adds and checks (RFC 6409): Date and Message-ID, a From that is the sender's own."""

from __future__ import annotations

import re

from mailboat_common.ids import encode_id, uuid7
from mailboat_mime import iter_fields, parse_addresses, unfold

from .received import date_time

_FIELDS = re.compile(rb"^(date|message-id):", re.IGNORECASE | re.MULTILINE)


def missing_fields(block: bytes, hostname: str, now: float) -> bytes:
    """Date (RFC 6409 8.1) and Message-ID (8.2) where the header block lacks them, with CRLF line ends."""
    present = {match[1].lower() for match in _FIELDS.finditer(block)}
    added = b""
    if b"date" not in present:
        added += f"Date: {date_time(now)}\r\n".encode()
    if b"message-id" not in present:
        added += f"Message-ID: <{encode_id(uuid7())}@{hostname}>\r\n".encode()
    return added


def from_addresses(block: bytes) -> list[str]:
    """Addresses of all From fields, as written."""
    out: list[str] = []
    for name, _raw, value in iter_fields(block):
        if name.lower() == b"from":
            out.extend(
                f"{a.mailbox.decode('utf-8', 'replace')}@{a.host.decode('utf-8', 'replace')}"
                for a in parse_addresses(unfold(value))
                if a.mailbox and a.host
            )
    return out
