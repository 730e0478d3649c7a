"""IMAP strings in replies: quoted where that is safe, else a literal (RFC 3501 4.3, RFC 9051 4.3).

Text from mail can hold anything. Here NUL, CR and LF become spaces (no reply line is ever broken by mail), 8-bit goes
into a literal, or into a quoted string if the session speaks UTF-8 and the bytes are UTF-8 (RFC 6855).
"""

import re

NIL = b"NIL"
FIELD_LIMIT = 256 * 1024  # no rendered field is longer; the store relies on it

_PLAIN = re.compile(rb"[^\x00\r\n\"\\\x80-\xff]*").fullmatch
_EIGHT_BIT = re.compile(rb"[\x80-\xff]").search
_BREAKS = bytes.maketrans(b"\r\n\0", b"   ")


def string(value: bytes, utf8: bool = False) -> bytes:
    """The value as an IMAP string."""
    if _PLAIN(value):
        return b'"%b"' % value
    value = value.translate(_BREAKS)
    if _EIGHT_BIT(value) and not (utf8 and _is_utf8(value)):
        return b"{%d}\r\n%b" % (len(value), value)
    return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def nstring(value: bytes | None, utf8: bool = False) -> bytes:
    """The value as an IMAP string, or NIL."""
    return NIL if value is None else string(value, utf8)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
