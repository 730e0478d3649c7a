"""Mailbox names between the wire and str.

RFC 3501 5.1.3 (modified UTF-7), RFC 9051 5.1 and RFC 6855 (UTF-8 once enabled), RFC 5198 (Net-Unicode).

Rules: each name has one form on the wire and one as str (NFC; INBOX in capitals, also as the first level of a longer
name), so that two spellings can't be two mailboxes. What isn't canonical, or holds control characters, is refused with
ValueError.
"""

from __future__ import annotations

import binascii
import re
import unicodedata

DELIMITER = "/"

_PLAIN = re.compile(rb"[\x20-\x25\x27-\x7e]*")
_SHIFT = re.compile(rb"&([A-Za-z0-9+,]*)-")
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]+|&")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def mutf7_encode(name: str) -> bytes:
    """`name` in modified UTF-7. Its inverse is `mutf7_decode`."""
    return _NOT_PLAIN.sub(_encode_run, name).encode("ascii")


def _encode_run(run: re.Match[str]) -> str:
    text = run[0]
    if text == "&":
        return "&-"
    packed = binascii.b2a_base64(text.encode("utf-16-be"), newline=False).rstrip(b"=").replace(b"/", b",")
    return f"&{packed.decode('ascii')}-"


def mutf7_decode(raw: bytes) -> str:
    """The name that modified UTF-7 `raw` writes. ValueError unless `raw` is its one canonical form."""
    if _PLAIN.fullmatch(raw):
        return raw.decode("ascii")
    pieces: list[str] = []
    place = 0
    while place < len(raw):
        plain = _PLAIN.match(raw, place)
        if plain is not None and plain.end() > place:
            pieces.append(plain[0].decode("ascii"))
            place = plain.end()
            continue
        shift = _SHIFT.match(raw, place)
        if shift is None:
            raise ValueError("not modified UTF-7")
        pieces.append(_decode_shift(shift[1]))
        place = shift.end()
    name = "".join(pieces)
    if mutf7_encode(name) != raw:
        raise ValueError("not canonical modified UTF-7")
    return name


def _decode_shift(packed: bytes) -> str:
    if not packed:
        return "&"
    padded = packed.replace(b",", b"/") + b"=" * (-len(packed) % 4)
    # binascii.Error and UnicodeDecodeError are ValueErrors
    return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")


def decode_text(raw: bytes, *, utf8: bool) -> str:
    """A mailbox name or LIST pattern as str, INBOX not touched. ValueError if it can't be a name."""
    if _PLAIN.fullmatch(raw):
        return raw.decode("ascii")
    name = unicodedata.normalize("NFC", raw.decode("utf-8") if utf8 else mutf7_decode(raw))
    if _CONTROL.search(name):
        raise ValueError("control character in a mailbox name")
    return name


def normalise_inbox(name: str) -> str:
    """`inbox` and `Inbox/x` with INBOX in capitals: it is case-insensitive (RFC 9051 5.1), so its children's parent is
    one."""
    if name[:5].upper() == "INBOX" and name[5:6] in ("", DELIMITER):
        return "INBOX" + name[5:]
    return name


def encode_name(name: str, *, utf8: bool) -> bytes:
    """A mailbox name for the wire, not yet quoted."""
    return name.encode("utf-8") if utf8 else mutf7_encode(name)
