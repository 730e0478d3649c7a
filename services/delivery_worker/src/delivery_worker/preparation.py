"""What of a message a server can take, judged from its EHLO: parameters, conversions, refusals of our own.

RFC 1870 (SIZE: 5.3.4 before a byte is sent), RFC 6152 (8BITMIME, or a converted copy, or 5.6.3), RFC 6531 (SMTPUTF8, or
5.6.7), RFC 3461 5.2 (DSN parameters passed on), RFC 6533 3 (ORCPT of type utf-8).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from mailboat_store_client.queue import Claimed, QueuedRecipient
from mailboat_wire.smtp import Extensions, encode_xtext, parse_address

from .convert import headers_are_ascii, to_seven_bit

_IN_THREAD = 262_144  # octets: more is converted beside the event loop
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE)
_ORCPT = re.compile(r"[A-Za-z0-9-]+;[^\x00-\x20\x7f=]+")
_WIDE = re.compile(r"[^\x00-\x7f]")


class Unsendable(Exception):
    """This server can't be given this message (or this recipient): final. `reason` is ours."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Prepared:
    """The message for one server: `mail` is the MAIL command, `content` what follows."""

    mail: str
    content: bytes
    utf8: bool
    dsn: bool


def check_size(size: int, extensions: Extensions) -> None:
    """Raises Unsendable if the server has declared a smaller limit."""
    limit = extensions.size
    if limit is not None and size > limit:
        raise Unsendable("5.3.4", f"the message has {size} octets, the server takes {limit}")


async def prepare(claimed: Claimed, content: bytes, extensions: Extensions) -> Prepared:
    """The message as this server takes it. Raises Unsendable for all its recipients."""
    wanted = claimed.smtputf8 and "SMTPUTF8" in extensions
    path = claimed.reverse_path
    if claimed.smtputf8 and not wanted:
        path = ascii_address(path) if path else ""
        if not headers_are_ascii(content):
            raise Unsendable("5.6.7", "the message's header is internationalised, and the server doesn't take that")
    eight_bit = claimed.eight_bit or claimed.smtputf8
    if eight_bit and "8BITMIME" not in extensions:
        convert = to_seven_bit
        seven = await asyncio.to_thread(convert, content) if len(content) > _IN_THREAD else convert(content)
        if seven is None:
            raise Unsendable(
                "5.6.3", "8-bit parts of the message may not be converted, and the server takes 7-bit only"
            )
        content, eight_bit = seven, False
    check_size(len(content), extensions)
    dsn = "DSN" in extensions
    words = [f"MAIL FROM:<{path}>"]
    if "SIZE" in extensions:
        words.append(f"SIZE={len(content)}")
    if eight_bit:
        words.append("BODY=8BITMIME")
    if wanted:
        words.append("SMTPUTF8")
    if dsn and claimed.ret.upper() in ("FULL", "HDRS"):
        words.append(f"RET={claimed.ret.upper()}")
    if dsn and claimed.envid:
        words.append(f"ENVID={encode_xtext(claimed.envid)}")
    return Prepared(" ".join(words), content, wanted, dsn)


def rcpt_command(recipient: QueuedRecipient, prepared: Prepared) -> str:
    """The RCPT command. Raises Unsendable for this recipient."""
    address = recipient.address if prepared.utf8 else ascii_address(recipient.address)
    words = [f"RCPT TO:<{address}>"]
    if prepared.dsn and _NOTIFY.fullmatch(recipient.notify):
        words.append(f"NOTIFY={recipient.notify.upper()}")
    if prepared.dsn and _ORCPT.fullmatch(recipient.orcpt):
        orcpt = recipient.orcpt
        if not prepared.utf8:
            orcpt = _WIDE.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", orcpt)
        words.append(f"ORCPT={orcpt}")
    return " ".join(words)


def ascii_address(text: str) -> str:
    """The address with its domain in A-labels. Raises Unsendable if its local part needs SMTPUTF8."""
    if text.isascii():
        return text
    try:
        address = parse_address(text)
    except ValueError:
        raise Unsendable("5.1.3", "the address isn't one that mail can be sent to") from None
    if not address.is_ascii:
        raise Unsendable("5.6.7", "the address is internationalised, and the server doesn't take that")
    return str(address)
