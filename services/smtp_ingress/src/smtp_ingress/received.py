"""Trace fields added at reception: Return-Path and Received (RFC 5321 4.4, RFC 3848, RFC 6531 3.7.3, RFC 8314 4.3).

The message's own bytes, an older Return-Path among them, stay as they came: RFC 5321 4.4 allows to remove it, and a
reader takes the topmost.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


@dataclass(frozen=True, slots=True)
class Hop:
    """What the Received field says of this hop. `tls` is "TLSv1.3 CIPHER" or empty."""

    hostname: str
    helo: str
    client: str
    esmtp: bool
    tls: str
    authenticated: bool
    smtputf8: bool


def date_time(seconds: float) -> str:
    """RFC 5322 3.3 date-time in UTC; not strftime, which follows the locale."""
    t = time.gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04d} "
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000"
    )


def with_protocol(hop: Hop) -> str:
    """The registered "with" value: SMTP, ESMTP, ESMTPS, ESMTPSA, UTF8SMTPSA, ..."""
    if not hop.esmtp:
        return "SMTP"
    name = "UTF8SMTP" if hop.smtputf8 else "ESMTP"
    return name + ("S" if hop.tls else "") + ("A" if hop.authenticated else "")


def trace_fields(hop: Hop, trace_id: str, reverse_path: str, recipient: str | None, now: float) -> bytes:
    """Return-Path and Received with CRLF line ends.

    `recipient` is given for a single one only, so that none learns of the others.
    """
    client = f"IPv6:{hop.client}" if ":" in hop.client else hop.client
    tls = f" ({_UNSAFE.sub(' ', hop.tls)})" if hop.tls else ""
    for_ = f"\r\n\tfor <{recipient}>" if recipient else ""
    return (
        f"Return-Path: <{reverse_path}>\r\n"
        f"Received: from {_UNSAFE.sub('?', hop.helo)[:255] or 'unknown'} ([{client}])\r\n"
        f"\tby {hop.hostname} with {with_protocol(hop)}{tls}\r\n"
        f"\tid {trace_id}{for_};\r\n"
        f"\t{date_time(now)}\r\n"
    ).encode()
