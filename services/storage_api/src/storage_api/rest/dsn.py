"""Notices that a sender asks for over REST: the parameters of RFC 3461 by names of JSON, and as an envelope has them.

A client gives addresses and texts as they are; what RFC 3461 and RFC 6533 would have encoded is encoded here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from mailboat_common.errors import Refused, RefusedCode
from pydantic import AfterValidator, Field

Word = Literal["never", "success", "failure", "delay"]
ReturnText = Literal["full", "headers"]

_WORDS = get_args(Word)
_RET = {"full": "FULL", "headers": "HDRS"}
_ENVID = r"^[\x21-\x7e]([\x20-\x7e]{0,98}[\x21-\x7e])?$"  # RFC 3461 4.4: 100 characters, decoded
_XTEXT_SPECIAL = re.compile(r"[^!-*,-<>-~]")
_UTF8_SPECIAL = re.compile(r"[\x00-\x20+=\\\x7f]")


def _alone(words: list[Word]) -> list[Word]:
    if "never" in words and set(words) != {"never"}:
        raise ValueError("never stands alone")
    return words


NotifyWords = Annotated[
    list[Word],
    Field(min_length=1, max_length=3, description="Of what the sender is told; without it of failures and delays"),
    AfterValidator(_alone),
]
EnvelopeId = Annotated[str, Field(pattern=_ENVID, description="Comes back in every notice (ENVID)")]
Returned = Annotated[ReturnText, Field(description="What comes back with a bounce: the message, or its header")]


@dataclass(frozen=True, slots=True)
class Dsn:
    """As an envelope has them; `recipients`: address to (NOTIFY, ORCPT)."""

    ret: str = ""
    envid: str = ""
    recipients: dict[str, tuple[str, str]] = field(default_factory=dict)

    def of(self, address: str) -> tuple[str, str]:
        """NOTIFY and ORCPT of a recipient."""
        return self.recipients.get(address, ("", ""))


NO_WISHES = Dsn()


def ret_text(ret: ReturnText | None) -> str:
    """RET's value."""
    return _RET[ret] if ret else ""


def notify_text(words: Iterable[str] | None) -> str:
    """NOTIFY's value."""
    given = set(words or ())
    return ",".join(word.upper() for word in _WORDS if word in given)


def orcpt_text(address: str | None) -> str:
    """ORCPT's value for an address as people write it (RFC 3461 4.2, RFC 6533 3)."""
    if not address:
        return ""
    if not address.isprintable():
        raise Refused(RefusedCode.INVALID, "An original recipient is no mail address")
    if address.isascii():
        return "rfc822;" + _XTEXT_SPECIAL.sub(lambda found: f"+{ord(found[0]):02X}", address)
    return "utf-8;" + _UTF8_SPECIAL.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", address)


def notify_of_query(text: str) -> str:
    """NOTIFY's value for words with commas, as a query has them. Refused INVALID."""
    words = text.split(",") if text else []
    if not set(words) <= set(_WORDS) or ("never" in words and len(set(words)) > 1):
        raise Refused(RefusedCode.INVALID, "notify is never, or some of success, failure and delay with commas")
    return notify_text(words)


def one_for_each(values: Sequence[str], count: int, name: str) -> Sequence[str]:
    """Query parameters given once for each of `count` recipients, or not at all. Refused INVALID."""
    if values and len(values) != count:
        raise Refused(RefusedCode.INVALID, f"{name} is given once for each `to`, in their order")
    return values or [""] * count
