"""What a command is answered: the tagged status line, and how refusals and failures of the store become one.

RFC 9051 7.1; response codes of RFC 5530 (most), 4469 (TOOBIG), 9208 (OVERQUOTA).

Rule: only texts written here or in a `Refused.public` reach a client, never the text of an exception.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailboat_common.errors import Refused, RefusedCode


@dataclass(frozen=True, slots=True)
class Reply:
    """A tagged answer without its tag. `code` stands in brackets, without them."""

    status: bytes
    text: bytes
    code: bytes = b""

    def line(self, tag: bytes) -> bytes:
        """The whole line."""
        if self.code:
            return b"%b %b [%b] %b\r\n" % (tag, self.status, self.code, self.text)
        return b"%b %b %b\r\n" % (tag, self.status, self.text)


def ok(text: bytes, code: bytes = b"") -> Reply:
    """OK: done."""
    return Reply(b"OK", text, code)


class Answer(Exception):
    """Ends a command with this reply: NO (it can't be) or BAD (it makes no sense)."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text.decode("ascii", "replace"))
        self.reply = reply


def no(text: bytes, code: bytes = b"") -> Answer:
    """To be raised: the command is right but can't be done."""
    return Answer(Reply(b"NO", text, code))


def bad(text: bytes, code: bytes = b"") -> Answer:
    """To be raised: the command is wrong or not allowed now."""
    return Answer(Reply(b"BAD", text, code))


ANSWERED = Reply(b"OK", b"")  # the handler has sent the tagged reply itself (STARTTLS)
UNAVAILABLE = Reply(b"NO", b"Temporarily unavailable, try again later", b"UNAVAILABLE")
SERVER_BUG = Reply(b"NO", b"Internal error", b"SERVERBUG")

_CODES: dict[RefusedCode, tuple[bytes, bytes]] = {
    RefusedCode.NO_MAILBOX: (b"NONEXISTENT", b"Mailbox doesn't exist"),
    RefusedCode.MAILBOX_EXISTS: (b"ALREADYEXISTS", b"Mailbox already exists"),
    RefusedCode.BAD_NAME: (b"CANNOT", b"Not a possible mailbox name"),
    RefusedCode.INBOX_FIXED: (b"CANNOT", b"Not possible with INBOX"),
    RefusedCode.HAS_CHILDREN: (b"HASCHILDREN", b"Mailbox has children"),
    RefusedCode.OVER_QUOTA: (b"OVERQUOTA", b"Quota exceeded"),
    RefusedCode.LIMIT: (b"LIMIT", b"Limit reached"),
    RefusedCode.TOO_BIG: (b"TOOBIG", b"Message too large"),
    RefusedCode.NO_MESSAGE: (b"EXPUNGEISSUED", b"Message is gone"),
    RefusedCode.IN_USE: (b"INUSE", b"In use"),
    RefusedCode.NO_ACCOUNT: (b"CONTACTADMIN", b"Account is gone"),
    RefusedCode.STORAGE_FULL: (b"UNAVAILABLE", b"Storage is full, try again later"),
    RefusedCode.INVALID: (b"CLIENTBUG", b"Not possible"),
    RefusedCode.SPECIAL_USE: (b"USEATTR", b"Not a special use that this mailbox can have"),
    RefusedCode.NOT_PERMITTED: (b"NOPERM", b"Not permitted"),
    RefusedCode.CONFLICT: (b"INUSE", b"Changed meanwhile, try again"),
}


def refusal(refused: Refused, *, target: bool = False) -> Reply:
    """The reply to what the store refused. `target`: a missing mailbox is where messages should go (TRYCREATE)."""
    code, text = _CODES.get(refused.code, (b"CANNOT", b"Not possible"))
    if target and refused.code is RefusedCode.NO_MAILBOX:
        code = b"TRYCREATE"
    if refused.public and refused.public.isascii() and refused.public.isprintable():
        text = refused.public.encode("ascii")
    return Reply(b"NO", text, code)
