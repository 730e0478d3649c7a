"""Scans a message once into a tree of offsets (RFC 2045, RFC 2046 5.1, RFC 5322).

Nothing is decoded and nothing is copied but headers; bodies are passed by searching for the delimiters of the open
multiparts. Nothing fails: any bytes are a message. Where the RFCs are silent it decides as Dovecot does:
- a delimiter line need only begin with "--" and the boundary; of several that match, the one that is the whole line,
  else the longest, else the innermost counts;
- the line end before a delimiter belongs to the delimiter; text before the first and after the last to the multipart;
- after its closing delimiter a boundary is no longer looked for; an unterminated multipart ends with its parent;
- a header without a blank line ends at the delimiter, or with the message;
- MIME-Version is not asked for.

Cost: each open boundary is searched for once, never past the next delimiter of the multiparts around it; so the work
is at most depth times length, at the speed of bytes.find, whatever the content. The stack is explicit.
"""

from dataclasses import dataclass, field
from sys import maxsize

from mailboat_mime.content import parse_token, parse_type, raw_content_fields
from mailboat_mime.headers import header_end
from mailboat_mime.part import Kind, Part

_NEVER = maxsize >> 1
_NAME_LIMIT = 127  # octets of a type or subtype (RFC 6838 4.2); longer names are cut, so that the tree stays small
_WORD_LIMIT = 63  # octets of an encoding or charset
_DEEPEST = 200  # renderings recurse; a caller's max_depth is bounded by this


@dataclass(slots=True)
class _Open:
    """A part whose end is not known yet."""

    header_start: int
    body_start: int
    kind: Kind
    type: bytes
    subtype: bytes
    encoding: bytes
    charset: bytes
    flattened: bool
    delimiter: bytes = b""  # LF, "--" and the boundary of a multipart that isn't closed
    next: int = (
        -1
    )  # where the delimiter was last found, at or after the search position; _NEVER if not before its parent's
    lines: int = 0  # LFs of the message before the body, for message parts
    children: list[Part] = field(default_factory=list)


def scan(message: bytes, *, max_depth: int = 30, max_parts: int = 1000) -> Part:
    """The MIME tree of a message.

    A multipart or message deeper than `max_depth` containers is shown as a leaf. Once there are `max_parts` parts
    (at least 1), the last of them takes the rest of the message, and is a leaf.
    """
    return _Scanner(message, min(max_depth, _DEEPEST), max_parts).run()


class _Scanner:
    def __init__(self, message: bytes, max_depth: int, max_parts: int) -> None:
        self.message = message
        self.end = len(message)
        self.max_depth = max_depth
        self.left = max_parts
        self.stack: list[_Open] = []
        self.root: Part | None = None
        self.counted_to = 0  # LFs before this offset were counted once, for message parts
        self.counted = 0

    def run(self) -> Part:
        search = self.open(0)
        while (hit := self.next_delimiter(search)) is not None:
            index, newline = hit
            owner = self.stack[index]
            after = newline + len(owner.delimiter)
            closing = self.message.startswith(b"--", after)
            if not closing and self.left <= 0:
                break
            self.close(index + 1, self.line_end(newline))
            if closing:
                owner.delimiter = b""
                search = after
            else:
                newline = self.message.find(b"\n", after)
                search = self.open(newline + 1 if newline >= 0 else self.end)
        self.close(0, self.end)
        assert self.root is not None
        return self.root

    def line_end(self, newline: int) -> int:
        """Where the line ending with this LF ends without its CR."""
        return newline - 1 if newline > 0 and self.message[newline - 1] == 13 else newline

    # Delimiters

    def next_delimiter(self, search: int) -> tuple[int, int] | None:
        """(index in the stack, offset of the LF before the line) of the next delimiter at or after offset `search`."""
        best, ties, chosen = _NEVER, 0, -1
        for index, part in enumerate(self.stack):
            delimiter = part.delimiter
            if not delimiter:
                continue
            if part.next < search:
                found = self.message.find(delimiter, search, min(best + len(delimiter), self.end))
                part.next = found if found >= 0 else _NEVER
            if part.next < best:
                best, ties, chosen = part.next, 1, index
            elif part.next == best != _NEVER:
                ties += 1
        if best == _NEVER:
            return None
        return (chosen if ties == 1 else self.choose(best)), best

    def choose(self, newline: int) -> int:
        """Which of several boundaries that are prefixes of one another the line after `newline` belongs to."""
        stop = self.message.find(b"\n", newline + 1)
        line_end = self.line_end(stop) if stop >= 0 else self.end
        chosen, length = -1, -1
        for index in range(len(self.stack) - 1, -1, -1):
            part = self.stack[index]
            if not part.delimiter or part.next != newline:
                continue
            if len(part.delimiter) > length:
                chosen, length = index, len(part.delimiter)
                rest = line_end - newline - length
                if rest == 0 or (rest == 2 and self.message.startswith(b"--", line_end - 2)):
                    break
        return chosen

    # Opening and closing parts

    def open(self, start: int) -> int:
        """Open the part whose header begins at `start`, and the messages it consists of; where to search on from."""
        digest = bool(self.stack) and self.stack[-1].subtype.lower() == b"digest"
        embedded = cut = False
        while True:
            body_start = start
            if not cut:
                body_start, cut = self.find_body(start, embedded)
            part = self.describe(start, body_start, digest)
            self.left -= 1
            self.stack.append(part)
            if part.kind is not Kind.MESSAGE:
                return max(body_start - 1, 0)
            part.lines = self.count_lines(body_start)
            start, digest, embedded = body_start, False, True

    def find_body(self, start: int, embedded: bool) -> tuple[int, bool]:
        """(where the body begins, whether a delimiter cut the header short).

        The blank line of a MIME part may be the line end of its multipart's next delimiter; otherwise the header, and
        all of an embedded message, must end before that line end, or it would reach past its parent.
        """
        hit = self.next_delimiter(max(start - 1, 0))
        if hit is None:
            return header_end(self.message, start), False
        index, newline = hit
        limit = self.line_end(newline)
        if newline < start:
            return start, True
        shared = index == len(self.stack) - 1 and not embedded
        if shared and self.message.startswith((b"\n", b"\r\n"), start):
            return header_end(self.message, start), False
        ceiling = newline + 1 if shared else limit
        body_start = header_end(self.message, start, ceiling)
        if body_start < ceiling or self.ends_blank(start, body_start):
            return body_start, False
        return limit, True

    def ends_blank(self, start: int, end: int) -> bool:
        """Whether the header [start, end) ends with a blank line."""
        return self.message.endswith((b"\n\r\n", b"\n\n"), start, end) or self.message[start:end] in (b"\r\n", b"\n")

    def describe(self, start: int, body_start: int, digest: bool) -> _Open:
        """What the header [start, body_start) says the part is, as far as the limits allow."""
        raw = raw_content_fields(self.message[start:body_start])
        main, sub, params = parse_type(raw.get(b"type"))
        encoding = (parse_token(raw.get(b"transfer-encoding")) or b"7bit")[:_WORD_LIMIT]
        if main is None:
            main, sub = (b"message", b"rfc822") if digest else (b"text", b"plain")
        lowered = main.lower()
        shown = (sub or b"unknown")[:_NAME_LIMIT]
        part = _Open(start, body_start, Kind.LEAF, main[:_NAME_LIMIT], shown, encoding, b"", False)
        if lowered == b"text":
            part.subtype = shown if sub else b"plain"
            part.charset = next((value for name, value in params if name.lower() == b"charset"), b"")[:_WORD_LIMIT]
        elif lowered == b"multipart":
            boundary = next((value for name, value in params if name.lower() == b"boundary"), b"")
            part.kind, part.delimiter = Kind.MULTIPART, b"\n--" + boundary
            if not boundary or len(self.stack) >= self.max_depth or self.left <= 1:
                # RFC 2045 5.2: without a boundary it is no multipart, and is read as text
                part.type, part.subtype = (b"application", b"octet-stream") if boundary else (b"text", b"plain")
                part.kind, part.flattened, part.delimiter = Kind.LEAF, True, b""
        elif lowered == b"message" and part.subtype.lower() == b"rfc822":
            part.kind = Kind.MESSAGE
            if len(self.stack) >= self.max_depth or self.left <= 1:
                part.type, part.subtype = b"application", b"octet-stream"
                part.kind, part.flattened = Kind.LEAF, True
        return part

    def close(self, keep: int, end: int) -> None:
        """Close all open parts but the outermost `keep`; their bodies end at `end`."""
        stack = self.stack
        while len(stack) > keep:
            top = stack.pop()
            body_end = max(top.body_start, end)
            lines = 0
            if top.kind is Kind.MESSAGE:
                lines = self.count_lines(body_end) - top.lines
            elif top.kind is Kind.LEAF and top.type.lower() == b"text":
                lines = self.message.count(b"\n", top.body_start, body_end)
            part = Part(
                top.header_start,
                top.body_start,
                body_end,
                top.kind,
                top.type,
                top.subtype,
                top.encoding,
                top.charset,
                lines,
                top.flattened,
                tuple(top.children),
            )
            if stack:
                stack[-1].children.append(part)
            else:
                self.root = part

    def count_lines(self, offset: int) -> int:
        """LFs of the message before `offset`; offsets asked for never go back by more than a line end."""
        if offset < self.counted_to:
            return self.counted - self.message.count(b"\n", offset, self.counted_to)
        self.counted += self.message.count(b"\n", self.counted_to, offset)
        self.counted_to = offset
        return self.counted
