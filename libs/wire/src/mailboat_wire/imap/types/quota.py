"""Commands of QUOTA (RFC 9208). SETQUOTA isn't among them: limits are the operator's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.types.base import Command


@dataclass(frozen=True, slots=True)
class GetQuota(Command):
    """`root` is an opaque name, as sent; it may be empty."""

    name: ClassVar[bytes] = b"GETQUOTA"
    root: bytes


@dataclass(frozen=True, slots=True)
class GetQuotaRoot(Command):
    """The mailbox need not exist."""

    name: ClassVar[bytes] = b"GETQUOTAROOT"
    mailbox: str
