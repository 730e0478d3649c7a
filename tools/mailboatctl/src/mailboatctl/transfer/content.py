"""The bytes of a message on their way in: line ends, NUL, compression, and the date in its header.

Every line end becomes CRLF (RFC 5322 2.1), once: CRLF stays, LF becomes CRLF; a CR that stands alone is kept as it is.
NUL, which IMAP can't send (RFC 9051 9), becomes 0x80. What was changed beyond line ends is named in a note.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO

from mailboatctl.transfer.source import MAX_MESSAGE, Unreadable

_LONE_CR = re.compile(rb"\r(?!\n)")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_RECEIVED = re.compile(rb"(?im)^received:[^\n]*(?:\n[ \t][^\n]*)*")
_DATE = re.compile(rb"(?im)^date:([^\n]*(?:\n[ \t][^\n]*)*)")
_MAX_HEADER = 256 << 10

_OPENERS: tuple[tuple[bytes, Callable[[IO[bytes]], io.BufferedIOBase]], ...] = (
    (b"\x1f\x8b\x08", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)
_OTHERS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


def normalise(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The message with CRLF line ends and without NUL, and what is notable about it."""
    notes: list[str] = []
    if b"\0" in data:
        notes.append(f"{data.count(0)} NUL octets were replaced by 0x80")
        data = data.replace(b"\0", b"\x80")
    lone = len(_LONE_CR.findall(data))
    if lone:
        notes.append(f"{lone} CR without LF were kept")
    if data.count(b"\n") != data.count(b"\r\n"):
        data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return data, tuple(notes)


def unpacked(data: bytes) -> bytes:
    """A message that its store keeps compressed (Dovecot's mail_compress). Raises Unreadable."""
    for magic, name in _OTHERS.items():
        if data.startswith(magic):
            raise Unreadable(f"it is compressed with {name}: decompress it first (doveadm backup to a plain Maildir)")
    for magic, opener in _OPENERS:
        if data.startswith(magic):
            try:
                plain = opener(io.BytesIO(data)).read(MAX_MESSAGE + 1)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise Unreadable("it looks compressed, and can't be decompressed") from error
            if len(plain) > MAX_MESSAGE:
                raise Unreadable(too_large(len(plain)))
            return plain
    return data


def too_large(size: int) -> str:
    """Why a message of this size isn't imported."""
    return f"it has over {MAX_MESSAGE >> 20} MB ({size} octets read)"


def date_of(data: bytes) -> int | None:
    """When it arrived, by its header: the topmost Received (RFC 5321 4.4), else Date; ms since the epoch."""
    end = _HEADER_END.search(data, 0, _MAX_HEADER)
    header = data[: end.start() if end else _MAX_HEADER]
    received = _RECEIVED.search(header)
    found = [received[0].rpartition(b";")[2]] if received and b";" in received[0] else []
    date = _DATE.search(header)
    for text in [*found, *([date[1]] if date else [])]:
        moment = parse_date(text.decode("ascii", "replace"))
        if moment is not None:
            return moment
    return None


def parse_date(text: str) -> int | None:
    """An RFC 5322 date, ms since the epoch; None if it is none."""
    try:
        moment = parsedate_to_datetime(" ".join(text.split()))
        return milliseconds(moment)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def milliseconds(moment: datetime) -> int:
    """ms since the epoch; a time without zone is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)
