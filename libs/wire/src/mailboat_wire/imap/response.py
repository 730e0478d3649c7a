"""What an IMAP server says: whole lines with CRLF, or pieces to join into one.

RFC 9051 sections 7 and 9, RFC 3501; codes of RFC 5530, RFC 4315 (UIDPLUS), RFC 7162 (CONDSTORE, QRESYNC), RFC 4731
(ESEARCH), RFC 6154, RFC 5258, RFC 9208 (QUOTA), RFC 5464 (METADATA), RFC 5256 (SORT, THREAD), RFC 9394 (PARTIAL),
RFC 9585 (INPROGRESS).

Rules: every function returns bytes that are legal where its name says; text from users goes through `string`,
`astring`, `mailbox` or `public_text`, so none of it can end a line. Functions on whole mailboxes cost well under a
microsecond a message.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Iterable, Sequence

from mailboat_wire.imap import names
from mailboat_wire.imap.sequence import compact, compact_ordered, render_ranges

OK = b"OK"
NO = b"NO"
BAD = b"BAD"
BYE = b"BYE"
PREAUTH = b"PREAUTH"
UNTAGGED = b"*"
NIL = b"NIL"

_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")
_QUOTABLE_UTF8 = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\xff]*")
_MAX_QUOTED = 1000  # longer strings go as literals: clients bound their line buffers
_UNSAFE_TEXT = re.compile(rb"[^\x20-\x7e]+")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


# --- Strings ------------------------------------------------------------------------------------------------------


def quoted(data: bytes) -> bytes:
    """`data` in quotes. It must hold no CR, LF or NUL, and 8-bit bytes only where UTF-8 is enabled: see `string`."""
    if b"\\" in data or b'"' in data:
        data = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % data


def literal(data: bytes) -> bytes:
    """`data` as a literal; it must hold no NUL (RFC 9051 4.3), else `literal8`."""
    return b"{%d}\r\n%b" % (len(data), data)


def literal8(data: bytes) -> bytes:
    """`data` as a literal8 (RFC 3516): only in answers to BINARY."""
    return b"~{%d}\r\n%b" % (len(data), data)


def string(data: bytes, *, utf8: bool = False) -> bytes:
    """Quoted if it can be, else a literal. Only with `utf8` are 8-bit bytes (then valid UTF-8) quoted."""
    pattern = _QUOTABLE_UTF8 if utf8 else _QUOTABLE
    if len(data) <= _MAX_QUOTED and pattern.fullmatch(data):
        return quoted(data)
    return literal(data)


def nstring(data: bytes | None, *, utf8: bool = False) -> bytes:
    return NIL if data is None else string(data, utf8=utf8)


def astring(data: bytes, *, utf8: bool = False) -> bytes:
    """An atom if it can be one (and can't be taken for NIL), else a string."""
    if _ASTRING.fullmatch(data) and data.upper() != NIL:
        return data
    return string(data, utf8=utf8)


def mailbox(name: str, *, utf8: bool = False) -> bytes:
    """A mailbox name as an astring, in modified UTF-7 unless `utf8`."""
    return astring(names.encode_name(name, utf8=utf8), utf8=utf8)


def public_text(text: bytes) -> bytes:
    """`text` fit for the human-readable part of a status response: printable ASCII, not empty."""
    return _UNSAFE_TEXT.sub(b" ", text).strip() or b"-"


def internal_date(seconds: int) -> bytes:
    """Seconds since the epoch as a quoted date-time in UTC: `" 2-Nov-2026 10:00:00 +0000"`, always 28 bytes."""
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return b'"%2d-%b-%04d %02d:%02d:%02d +0000"' % (day, _MONTHS[month - 1], year, hour, minute, second)


def date(day: dt.date) -> bytes:
    """`2-Nov-2026`, unquoted."""
    return b"%d-%b-%04d" % (day.day, _MONTHS[day.month - 1], day.year)


# --- Status responses (7.1) ---------------------------------------------------------------------------------------


def status(tag: bytes, condition: bytes, text: bytes, code: bytes | None = None) -> bytes:
    """`A1 OK [CODE] text`. `tag` b"*" for untagged; `condition` one of OK, NO, BAD, BYE, PREAUTH; `code` without
    brackets."""
    if code is None:
        return b"%b %b %b\r\n" % (tag, condition, public_text(text))
    return b"%b %b [%b] %b\r\n" % (tag, condition, code, public_text(text))


def ok(tag: bytes, text: bytes, code: bytes | None = None) -> bytes:
    return status(tag, OK, text, code)


def no(tag: bytes, text: bytes, code: bytes | None = None) -> bytes:
    return status(tag, NO, text, code)


def bad(tag: bytes, text: bytes, code: bytes | None = None) -> bytes:
    return status(tag, BAD, text, code)


def continuation(text: bytes = b"") -> bytes:
    """`+ text`; a SASL challenge goes here already in base64 (empty: `+ ` CRLF)."""
    return b"+ %b\r\n" % text


def code_append_uid(uid_validity: int, uids: Sequence[int]) -> bytes:
    """RFC 4315 3; one UID per message of the command, in its order."""
    return b"APPENDUID %d %b" % (uid_validity, compact_ordered(uids))


def code_copy_uid(uid_validity: int, sources: Sequence[int], targets: Sequence[int]) -> bytes:
    """RFC 4315 3: `sources[i]` became `targets[i]`. Not for an empty copy."""
    return b"COPYUID %d %b %b" % (uid_validity, compact_ordered(sources), compact_ordered(targets))


def code_modified(numbers: Sequence[int]) -> bytes:
    """RFC 7162 3.1.3: the UIDs (or message numbers) that a conditional STORE left alone, ascending."""
    return b"MODIFIED " + compact(numbers)


def code_in_progress(tag: bytes, done: int | None, goal: int | None) -> bytes:
    """RFC 9585 4: `goal` over `done`, or None if they aren't known. A tag with "]" would end the code: it is NIL."""
    shown = NIL if b"]" in tag else quoted(tag)
    numbers = [NIL if number is None else b"%d" % number for number in (done, goal)]
    return b"INPROGRESS (%b %b %b)" % (shown, *numbers)


# --- Mailbox data (7.3) -------------------------------------------------------------------------------------------


def capability(names_: Iterable[bytes]) -> bytes:
    return b"* CAPABILITY %b\r\n" % b" ".join(names_)


def enabled(features: Iterable[bytes]) -> bytes:
    return b"* %b\r\n" % b" ".join([b"ENABLED", *features])


def list_line(
    attributes: Iterable[bytes],
    name: str,
    *,
    utf8: bool = False,
    delimiter: bytes = b"/",
    child_info: Iterable[bytes] = (),
    old_name: str | None = None,
    word: bytes = b"LIST",
) -> bytes:
    """LIST (or, by `word`, LSUB). `child_info` as in RFC 5258 3.5: the selection options that children match.

    `old_name`: what the mailbox was called until now (RFC 5465 5.4, RFC 9051 6.3.9.7).
    """
    children = list(child_info)
    items = [b'"CHILDINFO" (%b)' % b" ".join(map(quoted, children))] if children else []
    if old_name is not None:
        items.append(b'"OLDNAME" (%b)' % mailbox(old_name, utf8=utf8))
    extended = b" (%b)" % b" ".join(items) if items else b""
    return b"* %b (%b) %b %b%b\r\n" % (
        word,
        b" ".join(attributes),
        quoted(delimiter),
        mailbox(name, utf8=utf8) if name else b'""',
        extended,
    )


def namespace(prefix: bytes = b"", delimiter: bytes = b"/") -> bytes:
    """RFC 2342: one personal namespace, no others."""
    return b"* NAMESPACE ((%b %b)) NIL NIL\r\n" % (quoted(prefix), quoted(delimiter))


def identity(params: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """ID (RFC 2971)."""
    if not params:
        return b"* ID NIL\r\n"
    return b"* ID (%b)\r\n" % b" ".join(b"%b %b" % (string(field), nstring(value)) for field, value in params)


def status_line(name: str, items: Iterable[tuple[bytes, int | bytes]], *, utf8: bool = False) -> bytes:
    """STATUS; a value in bytes is on the wire as it is."""
    pairs = [b"%b %b" % (item, value if isinstance(value, bytes) else b"%d" % value) for item, value in items]
    return b"* STATUS %b (%b)\r\n" % (mailbox(name, utf8=utf8), b" ".join(pairs))


def quota(root: bytes, resources: Iterable[tuple[bytes, int, int]]) -> bytes:
    """QUOTA (RFC 9208 4.2.1) of (resource, usage, limit)s; what isn't listed isn't limited."""
    return b"* QUOTA %b (%b)\r\n" % (astring(root), b" ".join(b"%b %d %d" % resource for resource in resources))


def quota_root(name: str, roots: Iterable[bytes], *, utf8: bool = False) -> bytes:
    """QUOTAROOT (RFC 9208 4.2.2)."""
    return b"* QUOTAROOT %b\r\n" % b" ".join([mailbox(name, utf8=utf8), *map(astring, roots)])


def metadata(name: str, entries: Iterable[tuple[bytes, bytes | None]], *, utf8: bool = False) -> bytes:
    """METADATA with values (RFC 5464 4.4.1), not empty; a value with NUL goes as literal8. Name "" is the server."""
    pairs = []
    for entry, value in entries:
        shown = literal8(value) if value is not None and b"\0" in value else nstring(value)
        pairs.append(b"%b %b" % (astring(entry), shown))
    return b"* METADATA %b (%b)\r\n" % (mailbox(name, utf8=utf8), b" ".join(pairs))


def flags(names_: Iterable[bytes]) -> bytes:
    return b"* FLAGS (%b)\r\n" % b" ".join(names_)


def recent(count: int) -> bytes:
    return b"* %d RECENT\r\n" % count


def search(numbers: Sequence[int], modseq: int | None = None) -> bytes:
    """The RFC 3501 answer; `modseq` (RFC 7162 3.1.5) only if the search used MODSEQ and found something."""
    found = "".join([f" {number}" for number in numbers]).encode("ascii")
    return b"* SEARCH%b%b\r\n" % (found, b"" if modseq is None else b" (MODSEQ %d)" % modseq)


def sort(numbers: Sequence[int], modseq: int | None = None) -> bytes:
    """SORT (RFC 5256 4); `modseq` (RFC 7162 7) as in `search`."""
    found = "".join([f" {number}" for number in numbers]).encode("ascii")
    return b"* SORT%b%b\r\n" % (found, b"" if modseq is None else b" (MODSEQ %d)" % modseq)


def thread(threads: bytes) -> bytes:
    """THREAD (RFC 5256 4); `threads` are its thread-lists, one after the other."""
    return b"* THREAD %b\r\n" % threads if threads else b"* THREAD\r\n"


def esearch(
    tag: bytes,
    *,
    uid: bool,
    minimum: int | None = None,
    maximum: int | None = None,
    count: int | None = None,
    found: Sequence[int] = (),
    modseq: int | None = None,
    partial: tuple[bytes, Sequence[int]] | None = None,
) -> bytes:
    """ESEARCH (RFC 4731 3.1): give what was asked for; `found`, ascending, only for ALL. What is None or empty is left
    out. `partial` (RFC 9394): the range as sent, and what is in it."""
    parts = [b'* ESEARCH (TAG "%b")' % tag]
    if uid:
        parts.append(b"UID")
    for name, number in ((b"MIN", minimum), (b"MAX", maximum), (b"COUNT", count)):
        if number is not None:
            parts.append(b"%b %d" % (name, number))
    if found:
        parts.append(b"ALL " + compact(found))
    if partial is not None:
        parts.append(b"PARTIAL (%b %b)" % (partial[0], compact(partial[1]) or NIL))
    if modseq is not None:
        parts.append(b"MODSEQ %d" % modseq)
    return b" ".join(parts) + b"\r\n"


# --- Message data (7.5) -------------------------------------------------------------------------------------------


def expunge(number: int) -> bytes:
    return b"* %d EXPUNGE\r\n" % number


def vanished(ranges: Sequence[tuple[int, int]], *, earlier: bool = False) -> bytes:
    """RFC 7162 3.2.10, from ascending (low, high) ranges (`sequence.runs` makes them). b"" if there are none."""
    if not ranges:
        return b""
    return b"* VANISHED %b%b\r\n" % (b"(EARLIER) " if earlier else b"", render_ranges(ranges))


def fetch(number: int, items: Iterable[bytes]) -> bytes:
    """One FETCH line of rendered items (`FLAGS (\\Seen)`, `UID 7`, `BODY[] {5}` CRLF `hello`)."""
    return b"* %d FETCH (%b)\r\n" % (number, b" ".join(items))
