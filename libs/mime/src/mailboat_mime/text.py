"""Bodies as text: transfer encodings (RFC 2045 6), text for SEARCH, and the preview of RFC 8970.

Nothing fails: broken base64, quoted-printable and charsets give what can be read of them. Work is bounded by what is
asked for, not by the size of the part.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from unicodedata import normalize

from mailboat_mime.content import parse_content
from mailboat_mime.decoding import decode_base64, decode_quoted_printable
from mailboat_mime.headers import decode_charset, decode_words
from mailboat_mime.part import Kind, Part
from mailboat_mime.structure import content_fields

PREVIEW_LENGTH = 200
_PREVIEW_BYTES = 64 * 1024
_SLACK = 1024  # octets read at least, for line ends, padding and short markup

_ELEMENTS = ("script", "style", "head", "title")  # whose content is never shown
_HIDDEN = re.compile(rf"<(?:({'|'.join(_ELEMENTS)})\b|!--)", re.IGNORECASE | re.ASCII)
_CLOSE = {name: re.compile(rf"</{name}[^>]*>?", re.IGNORECASE | re.ASCII) for name in _ELEMENTS}
_COMMENT_END = re.compile("-->")
_BLOCK_TAG = re.compile(r"</?(?:p|div|br|tr|li|ul|ol|h[1-6]|table|td|th|blockquote|hr)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[/!?a-zA-Z][^<>]*>")
_ASCII = bytes(range(128))
# Letters and signs whose folding has nothing of ASCII, and that don't combine with an ASCII letter before them.
_FOLD_APART = re.compile(
    "[\u00a1-\u00a7\u00a9\u00ab-\u00ae\u00b0\u00b1\u00b5-\u00b7\u00bb\u00bf-\u00de\u00e0-\u012f\u0131\u0134-\u013e\u0141-\u0148"
    "\u014a-\u017e\u0391-\u03ce\u0400-\u0482\u048a-\u052f\u05d0-\u05ea\u0621-\u064a\u2013\u2014\u2018-\u201e\u2022\u20ac"
    "\u3001-\u3020\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3\U0001f300-\U0001f6d7\U0001f900-\U0001f9ff]*"
)
_A_LABEL = re.compile(r"\bxn--([a-z0-9-]{1,59})(?![a-z0-9-])", re.IGNORECASE)
_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028\u2029\ufeff\u00ad\u034f]+")


def decode_part(body: bytes, encoding: bytes) -> bytes:
    """A body without its content transfer encoding; unknown encodings (and 7bit, 8bit, binary) leave it as it is."""
    encoding = encoding.lower()
    if encoding == b"base64":
        return decode_base64(body)
    if encoding == b"quoted-printable":
        return decode_quoted_printable(body)
    return body


@dataclass(frozen=True, slots=True)
class Readable:
    """Octets [start, end) of a message that hold text. `header`: those of a part, else a text part's body."""

    start: int
    end: int
    part: Part
    header: bool

    def text(self, octets: bytes) -> str:
        """The text of these octets, or of as many as were read of them."""
        if not self.header:
            return _body_text(self.part, octets, whole=len(octets) == self.part.size)
        if self.part.kind is Kind.MESSAGE:
            return decode_words(octets)
        lowered = octets.lower()
        if b"name" not in lowered and b"description" not in lowered:
            return ""  # most parts: neither a file name nor a description
        content = parse_content(octets)
        shown = content.filename() or "", decode_words(content.description or b"")
        return "\n".join(filter(None, shown))


def readables(part: Part) -> Iterator[Readable]:
    """Where the text of a message's body is, in message order.

    Bodies of text parts, whole headers of embedded messages, and of headers of parts the file name and description.
    """
    for item in part.walk():
        if item is not part and item.kind is not Kind.MESSAGE and item.body_start > item.header_start:
            yield Readable(item.header_start, item.body_start, item, True)
        embedded = item.message
        if embedded is not None:
            yield Readable(embedded.header_start, embedded.body_start, item, True)
        elif item.kind is Kind.LEAF and item.is_text:
            yield Readable(item.body_start, item.body_end, item, False)


def text_of(part: Part, message: bytes, limit: int = 1 << 20) -> str:
    """All text of a message's body: see `readables`; HTML without its markup.

    `limit` bounds the characters given, and the octets read to about four times that. Pieces are separated by a
    newline.
    """
    out: list[str] = []
    left = limit
    for piece in readables(part):
        if left <= 0:
            break
        text = piece.text(message[piece.start : min(piece.end, piece.start + left * 4 + _SLACK)])
        if text or not piece.header:
            out.append(text[:left])
            left -= len(out[-1]) + 1
    return "\n".join(out)


def fold(text: str) -> str:
    """Text for comparison without regard to case and to how its characters are composed: casefolded, in NFKC.

    Full-width and half-width forms, ligatures and decomposed accents equal the usual characters; accents count.
    """
    if text.isascii():
        return text.lower()
    return normalize("NFKC", normalize("NFKC", text).casefold())


def holds(text: str, wanted: str) -> bool:
    """Whether `text`, folded, holds `wanted`, which is folded already: `wanted in fold(text)`, in less time.

    Most text beyond ASCII is letters that never fold into ASCII; then an ASCII string is found, or not, as it stands.
    """
    if text.isascii():
        return wanted in text.lower()
    if wanted.isascii():
        octets = text.encode("utf-8", "surrogatepass")
        if _FOLD_APART.fullmatch(octets.translate(None, _ASCII).decode("utf-8", "surrogatepass")):
            return wanted.encode() in octets.lower()
    return wanted in fold(text)


def unicode_domains(text: str) -> str:
    """Text in which each A-label (RFC 5890, "xn--…") is shown as the letters it stands for."""
    return _A_LABEL.sub(_letters, text)


def _letters(match: re.Match[str]) -> str:
    try:
        return match[1].lower().encode("ascii").decode("punycode")
    except UnicodeError:
        return match[0]


def preview(part: Part, message: bytes) -> str:
    """At most 200 characters of readable text: the first text/plain, else text/html, that isn't an attachment.

    White space and control characters are collapsed to single spaces. Embedded messages aren't looked into. Empty if
    there is no text.
    """
    for leaf in _candidates(part, message):
        first = _SLACK * 4 if _is_html(leaf) else _SLACK
        shown = _SPACES.sub(" ", _leaf_text(leaf, message, first)).strip()
        if len(shown) < PREVIEW_LENGTH and leaf.size > first:
            shown = _SPACES.sub(" ", _leaf_text(leaf, message, _PREVIEW_BYTES)).strip()
        if shown:
            return shown[:PREVIEW_LENGTH].rstrip()
    return ""


def _candidates(part: Part, message: bytes) -> list[Part]:
    leaves: list[Part] = []
    stack = [part]
    while stack:
        item = stack.pop()
        if item.kind is Kind.MULTIPART:
            stack.extend(reversed(item.children))
        elif item.kind is Kind.LEAF and item.is_text and len(leaves) < 8:
            disposition = content_fields(item, message).disposition
            if disposition is None or disposition.lower() != b"attachment":
                leaves.append(item)
    return sorted(leaves, key=_is_html)


def _is_html(part: Part) -> bool:
    return part.subtype.lower() == b"html"


def _leaf_text(part: Part, message: bytes, octets: int) -> str:
    """The text of one part, read from at most `octets` octets of its body."""
    body = message[part.body_start : min(part.body_end, part.body_start + octets)]
    return _body_text(part, body, whole=part.size <= octets)


def _body_text(part: Part, body: bytes, *, whole: bool) -> str:
    data = decode_part(body, part.encoding)
    text = decode_charset(data if whole else _whole(data), part.charset)
    return html_to_text(text) if _is_html(part) else text


def _whole(data: bytes) -> bytes:
    """Without a UTF-8 character cut at the end of what was read: it would make the rest look like Latin-1."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            need = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < need else data
    return data


def html_to_text(markup: str) -> str:
    """The readable text of HTML: no scripts, styles, comments or tags; block tags are line ends, entities resolved."""
    text = _BLOCK_TAG.sub("\n", _without_hidden(markup))
    return html.unescape(_TAG.sub("", text))


def _without_hidden(markup: str) -> str:
    """Without elements that are never shown; an unclosed one hides the rest, as in a browser."""
    out: list[str] = []
    pos = 0
    while (found := _HIDDEN.search(markup, pos)) is not None:
        out.append(markup[pos : found.start()])
        name = found.group(1)
        close = (_CLOSE[name.lower()] if name else _COMMENT_END).search(markup, found.end())
        if close is None:
            return "".join(out)
        pos = close.end()
    out.append(markup[pos:])
    return "".join(out)
