"""What the store indexes of a header: sent date, message ids and the thread they make, base subject.

RFC 5322 3.3 and 3.6.4, RFC 5256 2.1.
"""

import datetime
import hashlib
import re

from mailboat_mime.headers import decode_words, first_value

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
_DATE = re.compile(rb"(?:\A|[\s,])(\d{1,2})[\s-]{1,8}([A-Za-z]{3})[A-Za-z]{0,6}[\s,-]{1,8}(\d{2,4})(?!\d)")
_ASCTIME = re.compile(
    rb"([A-Za-z]{3})[A-Za-z]{0,6}\s{1,8}(\d{1,2})[\s,]{1,8}(?:\d{1,2}:\d\d(?::\d\d)?\s[^\d]{0,8})?(\d{4})(?!\d)"
)
_ISO = re.compile(rb"\s*(\d{4})-(\d\d)-(\d\d)(?!\d)")
_COMMENT = re.compile(rb"\([^()]*\)")
_ID = re.compile(rb"<[^<>\s]+>")
_MAX_DATE = 256  # no Date is longer; the rest isn't looked at


def sent_date(block: bytes) -> datetime.date | None:
    """The day of the Date field as it is written there, without regard to its zone (SENTBEFORE, SENTON, SENTSINCE).

    Tolerates comments, missing or wrong weekdays, long month names, two- and three-digit years (RFC 5322 4.3), the
    order of asctime and ISO dates. None if there is no Date or no day can be read in it.
    """
    value = first_value(block, b"date")
    if value is None:
        return None
    value = _COMMENT.sub(b" ", value[:_MAX_DATE])
    if found := _DATE.search(value):
        day, month, year = found.groups()
        return _date(year, _MONTHS.get(month.lower(), 0), day)
    if found := _ASCTIME.search(value):
        month, day, year = found.groups()
        return _date(year, _MONTHS.get(month.lower(), 0), day)
    if found := _ISO.match(value):
        return _date(found.group(1), int(found.group(2)), found.group(3))
    return None


def _date(year: bytes, month: int, day: bytes) -> datetime.date | None:
    full = int(year)
    if len(year) == 2:
        full += 2000 if full < 50 else 1900
    elif len(year) == 3:
        full += 1900
    try:
        return datetime.date(full, month, int(day))
    except ValueError:  # no such day: the key doesn't match, as with no Date
        return None


def message_id(block: bytes) -> bytes | None:
    """The Message-ID with its angle brackets; of a malformed one the whole value; None if absent or empty."""
    value = first_value(block, b"message-id")
    if not value:
        return None
    found = _ID.search(value)
    return found.group() if found else value


def references(block: bytes) -> tuple[bytes, ...]:
    """The ids of References in order, each once; if there are none, the first id of In-Reply-To (RFC 5256 3)."""
    found = dict.fromkeys(_ID.findall(first_value(block, b"references") or b""))
    if found:
        return tuple(found)
    return tuple(_ID.findall(first_value(block, b"in-reply-to") or b"")[:1])


def thread_id(block: bytes) -> bytes | None:
    """16 octets equal for messages of one conversation: a hash of the first id of References, else In-Reply-To, else
    of Message-ID (the parent links of RFC 5256). None if the message has no id at all: it is a thread of its own."""
    ids = references(block)
    root = ids[0] if ids else message_id(block)
    return hashlib.sha256(b"thread\0" + root).digest()[:16] if root else None


# Base subject (RFC 5256 2.1 and the grammar of section 5)

_BLOB = r"\[[^\[\]]*\]\s*"
_LEADER = re.compile(rf"\s+|(?:(?:{_BLOB})*(?:re|fwd?)\s*(?:{_BLOB})?:)", re.IGNORECASE)
_SUBJECT_BLOB = re.compile(_BLOB)
_FORWARD = re.compile(r"\[fwd:", re.IGNORECASE)
_SPACES = re.compile(r"\s+")
_SUBJECT_LIMIT = 1024  # characters looked at: more is no subject of a thread


def base_subject(subject: bytes) -> str:
    """The base subject of a raw Subject value, without "Re:", "Fwd:", "(fwd)" and blobs: what SORT compares."""
    text = _SPACES.sub(" ", decode_words(subject)[:_SUBJECT_LIMIT])
    start, end = 0, len(text)
    while True:
        end = _strip_trailers(text, start, end)
        start = _strip_leaders(text, start, end)
        if end - start > 6 and text[end - 1] == "]" and _FORWARD.match(text, start, end):
            start, end = start + 5, end - 1
            continue
        return text[start:end].strip()


def _strip_trailers(text: str, start: int, end: int) -> int:
    while end > start:
        if text[end - 1].isspace():
            end -= 1
        elif text[max(start, end - 5) : end].lower() == "(fwd)":
            end -= 5
        else:
            break
    return end


def _strip_leaders(text: str, start: int, end: int) -> int:
    while True:
        if match := _LEADER.match(text, start, end):
            start = match.end()
            continue
        blob = _SUBJECT_BLOB.match(text, start, end)
        if blob is None or blob.end() >= end:  # a blob goes only if something is left
            return start
        start = blob.end()
