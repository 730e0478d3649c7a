"""The client's side of SMTP on the wire: replies, what EHLO offers, the message made ready for DATA.

RFC 5321 4.2 (replies), 4.1.1.1 (EHLO), 4.5.2 (transparency), 4.5.3.1.5 (512 octets a reply line); RFC 2034 and 3463
(enhanced status codes).

Rules: whatever the server sends is bounded: 2,048 octets a line, 100 lines a reply; of a reply's text 1,000 octets are
kept. Lines may end in a bare LF, as some servers' do. Anything that is no reply is a ReplyError, after which nothing of
this connection can be trusted. Any chunking gives the same result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_LINE = 2048
MAX_LINES = 100
MAX_TEXT = 1000

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=\s|\Z)")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\x80-\U0010ffff]|[\x80-\x9f]")


class ReplyError(Exception):
    """The server sent what is no SMTP reply, or too much of it. `text` is ours and may be logged.

    `before`: whole replies that came before it in what was fed.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.before: tuple[Reply, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: `code` 200 to 599, `lines` its texts without the code, printable characters only."""

    code: int
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """2xx."""
        return self.code < 300

    @property
    def transient(self) -> bool:
        """4xx: the same command may succeed later."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx."""
        return self.code >= 500

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463) that the text begins with, in the class of the reply code; or "".

        A class that contradicts the reply code is corrected: the reply code is what SMTP goes by (RFC 2034 4).
        """
        found = _ENHANCED.match(self.lines[0]) if self.lines else None
        return f"{self.code // 100}.{int(found[2])}.{int(found[3])}" if found else ""

    @property
    def status(self) -> str:
        """The enhanced status code, or `X.0.0` of the reply code's class."""
        return self.enhanced or f"{self.code // 100}.0.0"

    def __str__(self) -> str:
        """The whole reply in one line: `550 5.1.1 No such user`."""
        return " ".join((str(self.code), *(line for line in self.lines if line)))[:MAX_TEXT]


class ReplyReader:
    """Replies out of a byte stream: `feed()` gives those that are complete."""

    __slots__ = ("_buffer", "_code", "_kept", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = 0
        self._lines: list[str] = []
        self._kept = 0

    @property
    def empty(self) -> bool:
        """Whether nothing of a further reply has been seen."""
        return not self._buffer and not self._code

    def feed(self, data: bytes) -> list[Reply]:
        """Take what the server sent. ReplyError if it is no reply."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        replies: list[Reply] = []
        try:
            for line in lines:
                if (reply := self._line(line.removesuffix(b"\r"))) is not None:
                    replies.append(reply)
            if len(self._buffer) > MAX_LINE:
                raise ReplyError("a reply line is too long")
        except ReplyError as error:
            error.before = tuple(replies)
            raise
        return replies

    def _line(self, line: bytes) -> Reply | None:
        if len(line) > MAX_LINE:
            raise ReplyError("a reply line is too long")
        found = _LINE.match(line)
        if found is None:
            raise ReplyError("not an SMTP reply")
        code = int(found[1])
        if self._code and code != self._code:
            raise ReplyError("one reply with two codes")
        if len(self._lines) >= MAX_LINES:
            raise ReplyError("a reply has too many lines")
        text = _UNPRINTABLE.sub(" ", (found[3] or b"").decode("utf-8", "replace")).strip()
        self._lines.append(text[: max(0, MAX_TEXT - self._kept)])
        self._kept += len(text)
        if found[2] == b"-":
            self._code = code
            return None
        reply = Reply(code, tuple(self._lines))
        self._code, self._lines, self._kept = 0, [], 0
        return reply


@dataclass(frozen=True, slots=True)
class Extensions:
    """What a server's EHLO reply offers: keyword in upper case → its parameters in upper case."""

    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    @property
    def size(self) -> int | None:
        """The declared limit in octets (RFC 1870); None: no limit known, which SIZE 0 and a bare SIZE say too."""
        values = self.keywords.get("SIZE", ())
        return int(values[0]) or None if values and values[0].isdecimal() and len(values[0]) < 20 else None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """SASL mechanisms of AUTH (RFC 4954)."""
        return self.keywords.get("AUTH", ())


def parse_extensions(lines: Sequence[str]) -> Extensions:
    """The keywords of an EHLO reply's lines; the first line is the greeting. What is no keyword is passed over."""
    keywords: dict[str, tuple[str, ...]] = {}
    for line in lines[1:]:
        if line.upper().startswith("AUTH="):  # as the oldest servers write it
            line = "AUTH " + line[5:]  # noqa: PLW2901
        word, *values = line.upper().split()[:50] or ("",)
        if _KEYWORD.match(word):
            keywords.setdefault(word, tuple(values))
    return Extensions(keywords)


def stuffed(message: bytes) -> bytes:
    """The message as it follows DATA: dots doubled at the beginning of lines, ended by a line with one dot.

    RFC 5321 4.5.2. A message that doesn't end with CRLF gets one, as the dot must be alone on its line.
    """
    if b"\n." in message:
        message = message.replace(b"\r\n.", b"\r\n..")
    head = b"." if message.startswith(b".") else b""
    tail = b".\r\n" if not message or message.endswith(b"\r\n") else b"\r\n.\r\n"
    return b"".join((head, message, tail))
