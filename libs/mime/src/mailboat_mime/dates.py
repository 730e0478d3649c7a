"""What the store indexes of a header: sent date, message ids and the thread they make, base subject.

RFC 5322 3.3, 3.6.4 and 4.3; RFC 5256 2.1 (base subject) and 2.2 (sent date).
"""

import datetime
import hashlib
import re
from typing import NamedTuple

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
_CLOCK = re.compile(
    rb"(?<!\d)(\d{1,2})[ \t]?:[ \t]?(\d\d)(?:[ \t]?:[ \t]?(\d\d)(?:[.,]\d{1,9})?)?(?!\d)"
    rb"(?:[ \t]+\d{4}(?!\d))?[ \t]*([+-]\d\d:?\d\d(?!\d)|[A-Za-z]+)?"  # asctime has the year before the zone
)
_ZONES = {b"EST": -5, b"EDT": -4, b"CST": -6, b"CDT": -5, b"MST": -7, b"MDT": -6, b"PST": -8, b"PDT": -7}
_EPOCH = datetime.date(1970, 1, 1)
_COMMENT = re.compile(rb"\([^()]*\)")
_ID = re.compile(rb"<[^<>\s]+>")
_MAX_DATE = 256  # no Date is longer; the rest isn't looked at


def sent_date(block: bytes) -> datetime.date | None:
    """The day of the Date field as it is written there, without regard to its zone (SENTBEFORE, SENTON, SENTSINCE).

    Tolerates comments, missing or wrong weekdays, long month names, two- and three-digit years (RFC 5322 4.3), the
    order of asctime and ISO dates. None if there is no Date or no day can be read in it.
    """
    value = first_value(block, b"date")
    found = None if value is None else _day(value)
    return found[0] if found else None


def sent_time(value: bytes) -> int | None:
    """The moment a Date value names, in seconds since the epoch (RFC 5256 2.2).

    A zone that is none is taken for UTC, a time of day that is none for midnight. None if no day can be read.
    """
    found = _day(value)
    if found is None:
        return None
    day, rest = found
    seconds = (day - _EPOCH).days * 86_400
    clock = _CLOCK.search(rest)
    if clock is None:
        return seconds
    hour, minute, second = (int(part or 0) for part in clock.group(1, 2, 3))
    if hour < 24 and minute < 60 and second <= 60:
        seconds += hour * 3600 + minute * 60 + second
    return seconds - _zone(clock.group(4) or b"")


def _day(value: bytes) -> tuple[datetime.date, bytes] | None:
    """The day, and the text in which its time and zone stand."""
    value = _COMMENT.sub(b" ", value[:_MAX_DATE])
    if found := _DATE.search(value):
        day, month, year = found.groups()
        date = _date(year, _MONTHS.get(month.lower(), 0), day)
        rest = value[found.end() :]
    elif found := _ASCTIME.search(value):
        month, day, year = found.groups()
        date = _date(year, _MONTHS.get(month.lower(), 0), day)
        rest = value[found.start() :]
    elif found := _ISO.match(value):
        date = _date(found.group(1), int(found.group(2)), found.group(3))
        rest = value[found.end() :]
    else:
        return None
    return None if date is None else (date, rest)


def _zone(name: bytes) -> int:
    """Seconds east of UTC; 0 for what is no zone, and for the one-letter zones (RFC 5322 4.3)."""
    if name[:1] in (b"+", b"-"):
        digits = name[1:].replace(b":", b"")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        return 0 if int(digits[2:]) > 59 else (minutes if name[:1] == b"+" else -minutes) * 60
    return _ZONES.get(name.upper(), 0) * 3600


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

_BLOB = r"\[[^\[\]]*+\] *"
_LEADER = re.compile(rf" +|((?:{_BLOB})*+(?:re|fwd?) *(?:{_BLOB})?:)", re.IGNORECASE)
_SUBJECT_BLOB = re.compile(_BLOB)
_FORWARD = re.compile(r"\[fwd:", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n]+")
_SUBJECT_LIMIT = 1024  # characters looked at: more is no subject of a thread


class Subject(NamedTuple):
    """A subject without its artefacts; `is_reply`: one of them says that it is a reply or forward (RFC 5256 3)."""

    base: str
    is_reply: bool


def base_subject(subject: bytes) -> str:
    """The base subject of a raw Subject value, without "Re:", "Fwd:", "(fwd)" and blobs: what SORT compares."""
    return subject_of(subject).base


def subject_of(subject: bytes) -> Subject:
    """The base subject of a raw Subject value, by the steps of RFC 5256 2.1, and whether it is a reply."""
    text = _SPACES.sub(" ", decode_words(subject)[:_SUBJECT_LIMIT])
    start, end, is_reply = 0, len(text), False
    while True:
        end, forwarded = _strip_trailers(text, start, end)
        start, replied = _strip_leaders(text, start, end)
        is_reply = is_reply or forwarded or replied
        if end - start > 5 and text[end - 1] == "]" and _FORWARD.match(text, start, end):
            start, end, is_reply = start + 5, end - 1, True
            continue
        return Subject(text[start:end], is_reply)


def _strip_trailers(text: str, start: int, end: int) -> tuple[int, bool]:
    found = False
    while end > start:
        if text[end - 1] == " ":
            end -= 1
        elif text[max(start, end - 5) : end].lower() == "(fwd)":
            end -= 5
            found = True
        else:
            break
    return end, found


def _strip_leaders(text: str, start: int, end: int) -> tuple[int, bool]:
    found = False
    while True:
        if match := _LEADER.match(text, start, end):
            found = found or match.group(1) is not None
            start = match.end()
            continue
        blob = _SUBJECT_BLOB.match(text, start, end)
        if blob is None or blob.end() >= end:  # a blob goes only if something is left
            return start, found
        start = blob.end()
