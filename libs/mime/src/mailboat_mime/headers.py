"""Header blocks: finding, choosing, unfolding and decoding fields (RFC 5322 2.2, RFC 2047, RFC 2231).

A *block* is the header of a message or part with its terminating blank line, as bytes that are never changed.
Rules kept here:
- a field is its name line and the lines after it that begin with a space or tab; LF ends a line, CR before it or not;
- a line without a colon is a field without a name: it is never chosen by name, and never lost;
- every pattern consumes its input once, so a block of any content costs linear time.
"""

import encodings.aliases
import re
from binascii import a2b_qp
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from mailboat_mime.decoding import decode_base64

_BLANK_LINE = re.compile(rb"\n\r?\n")
# Possessive repeats: a field of a million folds must not be remembered fold by fold.
_VALUE = rb"[^\n]*+(?:\n[ \t][^\n]*+)*+"
_CONTINUED = _VALUE + rb"(?:\n|\Z)"
_FIELD = re.compile(rb"([^\n:]*+)(:?)(" + _CONTINUED + rb")")
_RECEIVED = re.compile(rb"\nreceived[ \t]*:")
_FIRST_LIMIT = 256 * 1024  # octets of a single value that are looked at: no more header is accepted by SMTP
_LINE_BREAKS = bytes.maketrans(b"\r\n\0", b"   ")
_WORD = re.compile(rb"=\?([^?\s*]{1,64})(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")

# Only codecs that Python lists: a miss in codecs.lookup() is remembered for ever, and a sender chooses the name.
_CODECS = frozenset(encodings.aliases.aliases) | frozenset(encodings.aliases.aliases.values())
# Not charsets of mail, and punycode takes quadratic time.
_NOT_CHARSETS = frozenset(
    ("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "dbcs", "oem", "palmos")
)


def header_end(message: bytes, start: int = 0, end: int | None = None) -> int:
    """The offset just after the blank line that ends the header beginning at `start`; `end` if there is none."""
    if end is None:
        end = len(message)
    if message.startswith((b"\r\n", b"\n"), start, end):
        return message.index(b"\n", start) + 1
    found = _BLANK_LINE.search(message, start, end)
    return found.end() if found else end


def header_block(message: bytes) -> bytes:
    """The header of a message, up to and including its blank line; all of it if there is no blank line."""
    return message[: header_end(message)]


def blank_line(block: bytes) -> bytes:
    """The blank line at the end of a block as it is written there, or nothing if the block has none."""
    if block.endswith(b"\n\r\n") or block == b"\r\n":
        return b"\r\n"
    return b"\n" if block.endswith(b"\n\n") or block == b"\n" else b""


def iter_fields(block: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Each field as (name, raw field with its line ends, raw value after the colon without the last line end).

    The name is as sent, without space before the colon, and empty for a line that is no field. The blank line is left
    out.
    """
    stop = len(block) - len(blank_line(block))
    for match in _FIELD.finditer(block, 0, stop):
        name, colon, rest = match.groups()
        raw = match.group()
        if not raw:
            continue
        if colon and name and name[0] not in b" \t":
            yield name.rstrip(b" \t"), raw, rest.rstrip(b"\r\n")
        else:
            yield b"", raw, raw.rstrip(b"\r\n")


@lru_cache(maxsize=512)
def field_selector(names: tuple[bytes, ...], negate: bool = False) -> Callable[[bytes], bytes]:
    """A function from a block to the fields named (or all others), for a command that asks it of many messages."""
    wanted = b"|".join(sorted({re.escape(name) for name in names if name})) or rb"(?!)"
    named = rb"(?i:" + wanted + rb")[ \t]*:" + _CONTINUED
    if negate:
        pattern = re.compile(named + rb"|(" + _CONTINUED + rb")")
    else:
        pattern = re.compile(rb"(" + named + rb")|" + _CONTINUED)
    find, join = pattern.findall, b"".join

    def select(block: bytes) -> bytes:
        blank = blank_line(block)
        if negate:
            return join(find(block, 0, len(block) - len(blank))) + blank
        return join(find(block)) + blank

    return select


def select_fields(block: bytes, names: Iterable[bytes], negate: bool = False) -> bytes:
    """BODY[HEADER.FIELDS (names)], or .NOT: the fields byte for byte in message order, then the block's blank line.

    Names match without regard to case. RFC 3501 6.4.5: the blank line is there except when the message has none.
    """
    return field_selector(names if type(names) is tuple else tuple(names), negate)(block)


@lru_cache(maxsize=128)
def _value_finder(names: tuple[bytes, ...]) -> Callable[[bytes], list[tuple[bytes, bytes]]]:
    wanted = b"|".join(re.escape(name) for name in names)
    return re.compile(rb"(?i:(" + wanted + rb"))[ \t]*:(" + _VALUE + rb")(?:\n|\Z)|" + _CONTINUED).findall


@lru_cache(maxsize=512)
def _value_at(name: bytes) -> Callable[[bytes, int], re.Match[bytes] | None]:
    return re.compile(rb"(?i:" + re.escape(name) + rb")[ \t]*:(" + _VALUE + rb")(?:\n|\Z)").match


def field_values(block: bytes, names: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    """(lower-case name, raw value) of each field whose name is in `names`, in message order."""
    if len(names) == 1:
        return list(_values_of(block, names[0].lower()))
    return [(name.lower(), value) for name, value in _value_finder(names)(block) if name]


def _values_of(block: bytes, name: bytes) -> Iterator[tuple[bytes, bytes]]:
    """One name's fields: its lines are searched for, instead of looking at every field."""
    lowered, line, value_at = block.lower(), b"\n" + name, _value_at(name)
    start = 0 if lowered.startswith(name) else lowered.find(line) + 1 or None
    while name and start is not None:
        found = value_at(block, start)
        if found is not None:
            yield name, found[1]
        start = lowered.find(line, start) + 1 or None


def first_value(block: bytes, name: bytes) -> bytes | None:
    """The unfolded value (of its first 256 KB) of the first field of this name, or None."""
    found = field_values(block, (name,))
    return unfold(found[0][1][:_FIRST_LIMIT]) if found else None


def unfold(value: bytes) -> bytes:
    """A value on one line, without the white space around it.

    Folds are removed (RFC 5322 2.2.3); a tab that began a continuation line, and a stray CR, LF or NUL, become a space.
    """
    if b"\n" in value:
        value = value.replace(b"\r\n\t", b" ").replace(b"\n\t", b" ").replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t\r\n").translate(_LINE_BREAKS)


def count_received(block: bytes) -> int:
    """How many Received fields the block has: the hops so far (RFC 5321 6.3)."""
    return len(_RECEIVED.findall(b"\n" + block.lower()))


# Charsets and encoded words


@lru_cache(maxsize=256)
def _codec(charset: bytes) -> str | None:
    name = charset.decode("ascii", "replace").lower().replace("-", "_").replace(" ", "_").replace(".", "_")
    if name.startswith("cp_"):
        name = "cp" + name[3:]
    if name not in _CODECS or encodings.aliases.aliases.get(name, name) in _NOT_CHARSETS:
        return None
    try:
        b"probe".decode(name, "replace")  # an empty value would decode with any codec, of text or not
    except LookupError:  # a codec of another platform, or one that is not about text
        return None
    return name


def decode_charset(data: bytes, charset: bytes = b"") -> str:
    """Text of a body or encoded word; never fails, never gives a lone surrogate.

    An unknown charset, or us-ascii with other bytes in it, is read as UTF-8 and, where that fails, as Latin-1.
    """
    codec = _codec(charset) if charset else None
    if codec is None or codec in ("ascii", "us_ascii", "utf_8", "utf8"):
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("utf-8", "replace") if codec in ("utf_8", "utf8") else data.decode("latin-1")
    try:
        return data.decode(codec, "replace").encode("utf-8", "replace").decode("utf-8")
    except (UnicodeError, ValueError):
        return data.decode("latin-1")


def decode_words(value: bytes) -> str:
    """A header value as text: RFC 2047 encoded words (with RFC 2231 languages) and raw UTF-8 or Latin-1.

    White space between two encoded words is dropped; neighbours of one charset are decoded together, because senders
    split characters between words. The value is unfolded first.
    """
    value = unfold(value)
    if b"=?" not in value:
        return decode_charset(value)
    out: list[str] = []
    run, charset, end = [b""], b"", 0  # encoded words of one charset, not yet decoded
    for match in _WORD.finditer(value):
        gap = value[end : match.start()]
        name = match.group(1).lower()
        if gap.strip(b" \t") or end == 0 or name != charset:
            out.append(decode_charset(b"".join(run), charset))
            run.clear()
            if gap.strip(b" \t") or end == 0:
                out.append(decode_charset(gap))
        text = match.group(3)
        run.append(decode_base64(text) if match.group(2) in b"bB" else a2b_qp(text, header=True))
        charset, end = name, match.end()
    out.append(decode_charset(b"".join(run), charset))
    out.append(decode_charset(value[end:]))
    return "".join(out)


def decode_extended(value: bytes) -> str:
    """An extended parameter value, charset'language'percent-encoded, as text (RFC 2231 4)."""
    charset, quote, rest = value.partition(b"'")
    if not quote:
        return decode_charset(unquote_to_bytes(value))
    return decode_charset(unquote_to_bytes(rest.partition(b"'")[2]), charset)
