"""Keys that look into messages: header fields, SENT dates, BODY and TEXT (RFC 9051 6.4.4).

Substring match on decoded text (RFC 2047 words, transfer encodings, charsets), without regard to case or to how
characters are composed (`mailboat_mime.fold`). Address fields match also by the letters of an internationalised domain.
BODY looks at text parts (HTML without markup), file names and descriptions of parts, and headers of embedded messages;
TEXT at the message's header as well. What is not text (attachments, preamble, boundaries) isn't searched.
Headers come in batches and are kept; whole messages come in batches of about 1 MB and are not. Of a message over 64 KB
only the ranges that hold text are read, one at a time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import compress

from mailboat_common.errors import Refused, Unavailable
from mailboat_mime import Part, decode_words, fold, holds, readables, sent_date, text_of, unicode_domains
from mailboat_mime.headers import field_values
from mailboat_store_client.types import BodyField, BodyInfo
from mailboat_wire.imap import types as t

from ..bodies import CONTENT_BATCH, CONTENT_BYTES
from .base import Key, Mask, Search

HEADER_BATCH = 512
LARGE_BYTES = 64 * 1024  # from here on only what holds text is read
MAX_TEXT = 4 << 20  # characters of one message that are looked at; octets of a large one
BUDGET_SECONDS = 60.0

_ADDRESSES = frozenset((b"from", b"to", b"cc", b"bcc", b"sender", b"reply-to"))
_FIELDS = {
    t.TextField.BCC: b"bcc",
    t.TextField.CC: b"cc",
    t.TextField.FROM: b"from",
    t.TextField.SUBJECT: b"subject",
    t.TextField.TO: b"to",
}


async def _by_header(search: Search, candidates: Mask, matches: Callable[[bytes], bool]) -> Mask:
    """The candidates whose header block matches."""
    rows = list(compress(range(len(candidates)), candidates))
    account = search.selected.view.account_id
    found = []
    for start in range(0, len(rows), HEADER_BATCH):
        search.progress.at(start, len(rows))
        batch = rows[start : start + HEADER_BATCH]
        ids = [search.rows.body_id(row) for row in batch]
        infos = await search.gateway.bodies.infos(account, ids, BodyField.HEADER)
        for row, info in zip(batch, infos, strict=True):
            if info is None:
                continue
            block = info.header
            if matches(await _header(search, info) if block is None else block):
                found.append(row)
    search.progress.next_stage()
    return search.rows.mask(found)


async def _header(search: Search, info: BodyInfo) -> bytes:
    """The header block; one over 256 KB isn't kept rendered and is read."""
    if info.header is not None:
        return info.header
    chunks = search.gateway.store.read.read(search.selected.view.account_id, info.body_id, 0, info.header_size)
    return b"".join([chunk async for chunk in chunks])


def _field_matcher(name: bytes, value: str) -> Callable[[bytes], bool]:
    wanted, names = fold(value), (name.lower(),)
    domains = fold(unicode_domains(value)) if names[0] in _ADDRESSES else None

    def matches(block: bytes) -> bool:
        values = field_values(block, names)
        if not wanted:
            return bool(values)
        return any(found_in(decode_words(raw)) for _name, raw in values)

    def found_in(text: str) -> bool:
        if holds(text, wanted):
            return True
        return domains is not None and "xn--" in (text + value).lower() and domains in fold(unicode_domains(text))

    return matches


async def _header_key(search: Search, key: t.SearchHeader, candidates: Mask) -> Mask:
    return await _by_header(search, candidates, _field_matcher(key.field, key.value))


async def sent(search: Search, key: t.SearchDate, candidates: Mask) -> Mask:
    """SENTBEFORE, SENTON, SENTSINCE: the Date field's day, without regard to time and zone."""

    def matches(block: bytes) -> bool:
        day = sent_date(block)
        return day is not None and _compare(day, key)

    return await _by_header(search, candidates, matches)


def _compare(day: dt.date, key: t.SearchDate) -> bool:
    match key.test:
        case t.DateTest.BEFORE:
            return day < key.day
        case t.DateTest.SINCE:
            return day >= key.day
        case t.DateTest.ON:
            return day == key.day


async def _text_key(search: Search, key: t.SearchText, candidates: Mask) -> Mask:
    name = _FIELDS.get(key.field)
    if name is not None:
        return await _by_header(search, candidates, _field_matcher(name, key.value))
    if not key.value:
        return candidates
    return await _by_content(search, candidates, fold(key.value), header=key.field is t.TextField.TEXT)


async def _by_content(search: Search, candidates: Mask, wanted: str, *, header: bool) -> Mask:
    """The candidates whose body text (and header) holds `wanted`. The memory held counts as mail in flight."""
    rows = []
    found = []
    asked = list(compress(range(len(candidates)), candidates))
    done = 0
    for row in asked:
        if search.rows.sizes[row] <= LARGE_BYTES:
            rows.append(row)
            continue
        if await _large_holds(search, row, wanted, header=header):
            found.append(row)
        done += 1
        search.progress.at(done, len(asked))
    account, bodies, budget = search.selected.view.account_id, search.gateway.bodies, search.gateway.in_flight
    while rows:
        batch = _batch(search, rows)
        del rows[: len(batch)]
        ids = [search.rows.body_id(row) for row in batch]
        size = sum(search.rows.sizes[row] for row in batch)
        if not await budget.acquire(size, BUDGET_SECONDS):
            raise Unavailable("no memory to search messages in")
        try:
            infos = await bodies.infos(account, ids, BodyField.STRUCTURE)
            contents = await bodies.contents(account, ids)
            for row, info, content in zip(batch, infos, contents, strict=True):
                if info is not None and content is not None and _holds(info, content, wanted, header=header):
                    found.append(row)
        finally:
            budget.release(size)
        search.progress.at(len(asked) - len(rows), len(asked))
    search.progress.next_stage()
    return search.rows.mask(found)


async def _large_holds(search: Search, row: int, wanted: str, *, header: bool) -> bool:
    """Whether a message over 64 KB holds `wanted`, from as little of it as can tell."""
    account, gateway = search.selected.view.account_id, search.gateway
    fields = BodyField.STRUCTURE | BodyField.HEADER if header else BodyField.STRUCTURE
    (info,) = await gateway.bodies.infos(account, [search.rows.body_id(row)], fields)
    if info is None:
        return False
    try:
        if header and holds(decode_words(await _header(search, info)), wanted):
            return True
        left = MAX_TEXT
        for piece in readables(Part.from_bytes(info.structure)) if info.structure is not None else ():
            octets = min(piece.end - piece.start, left)
            if octets <= 0:
                continue
            left -= octets
            if not await gateway.in_flight.acquire(octets, BUDGET_SECONDS):
                raise Unavailable("no memory to search messages in")
            try:
                chunks = gateway.store.read.read(account, info.body_id, piece.start, octets)
                if holds(piece.text(b"".join([chunk async for chunk in chunks])), wanted):
                    return True
            finally:
                gateway.in_flight.release(octets)
    except Refused:  # expunged and collected meanwhile
        return False
    return False


def _batch(search: Search, rows: list[int]) -> list[int]:
    """The first rows whose messages together stay under CONTENT_BYTES, at least one."""
    total = 0
    for index, row in enumerate(rows[:CONTENT_BATCH]):
        total += search.rows.sizes[row]
        if total > CONTENT_BYTES and index:
            return rows[:index]
    return rows[:CONTENT_BATCH]


def _holds(info: BodyInfo, content: bytes, wanted: str, *, header: bool) -> bool:
    if header and holds(decode_words(content[: info.header_size]), wanted):
        return True
    if info.structure is None:
        return False
    return holds(text_of(Part.from_bytes(info.structure), content, MAX_TEXT), wanted)


HEADER = Key(_header_key, lambda _search, _key: 1)
TEXT = Key(_text_key, lambda _search, key: 1 if key.field in _FIELDS else 2)
