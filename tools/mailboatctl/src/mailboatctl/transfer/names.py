"""Names of mailboxes on their way in and out: modified UTF-7 (RFC 3501 5.1.3), special uses (RFC 6154), Maildir++.

A name that the platform would refuse is changed as little as it takes, and a name becomes a directory's only after
everything that could mean something to a file system is encoded.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re

MAX_NAME_BYTES = 1000
MAX_DEPTH = 32
MAX_FILE_NAME = 240

_SHIFT = re.compile(r"&([A-Za-z0-9+,]*)-")
_DIRECT = re.compile(r"[ -%'-~]")

USES = {
    "sent": "\\Sent",
    "sent items": "\\Sent",
    "sent messages": "\\Sent",
    "sent mail": "\\Sent",
    "drafts": "\\Drafts",
    "trash": "\\Trash",
    "deleted items": "\\Trash",
    "deleted messages": "\\Trash",
    "junk": "\\Junk",
    "junk e-mail": "\\Junk",
    "junk email": "\\Junk",
    "spam": "\\Junk",
    "bulk mail": "\\Junk",
    "archive": "\\Archive",
    "archives": "\\Archive",
}
"""What mail programs call the mailboxes of a special use when nothing says so."""


def printable(path: object) -> str:
    """A name as text that can be printed, whatever octets it has."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def decode_utf7(text: str) -> str:
    """A name in modified UTF-7; a text that isn't is given back as it is (some stores keep UTF-8)."""
    if not text.isascii() or "&" not in text:
        return text
    try:
        decoded = _SHIFT.sub(_decoded, text)
        decoded.encode()
    except (ValueError, binascii.Error):
        return text
    return decoded


def _decoded(match: re.Match[str]) -> str:
    run = match[1]
    if not run:
        return "&"
    return base64.b64decode(run.replace(",", "/") + "=" * (-len(run) % 4), validate=True).decode("utf-16-be")


def encode_utf7(text: str, also: str = "") -> str:
    """A name in modified UTF-7; the characters of `also` are encoded too, though they needn't be."""
    out: list[str] = []
    run = ""
    for char in text + "\0":
        direct = char == "\0" or (bool(_DIRECT.match(char)) and char not in also) or (char == "&" and "&" not in also)
        if not direct:
            run += char
            continue
        if run:
            packed = base64.b64encode(run.encode("utf-16-be", "surrogatepass")).decode().rstrip("=")
            out.append(f"&{packed.replace('/', ',')}-")
            run = ""
        out.append("&-" if char == "&" else char)
    return "".join(out)[:-1]


def legal(levels: tuple[str, ...]) -> str:
    """The platform's name for a folder: levels joined by "/", what it would refuse replaced by "_"."""
    clean = [_legal_level(level) for level in levels if level][:MAX_DEPTH] or ["_"]
    if clean[0].upper() == "INBOX":
        clean[0] = "INBOX"
    name = "/".join(clean)
    if len(name.encode()) > MAX_NAME_BYTES:
        mark = "~" + hashlib.sha256(name.encode()).hexdigest()[:12]
        name = name.encode()[: MAX_NAME_BYTES - len(mark)].decode("utf-8", "ignore").rstrip("/") + mark
    return name


def _legal_level(level: str) -> str:
    return "".join("_" if char == "/" or not _legal_char(char) else char for char in level)


def _legal_char(char: str) -> bool:
    code = ord(char)
    return not (code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in (0x2028, 0x2029))


def use_of(levels: tuple[str, ...]) -> str | None:
    """The special use a top-level folder has by its name alone."""
    return USES.get(levels[0].casefold()) if len(levels) == 1 else None


def directory(name: str) -> str:
    """The Maildir++ directory of a mailbox: INBOX is the root (""), `Work/2026` is `.Work.2026`.

    Nothing of the name survives that a file system could take for more than a name: "." in a level, control characters
    and everything outside ASCII are in modified UTF-7; a name too long for a file is cut and marked with its hash.
    """
    if name == "INBOX":
        return ""
    levels = [encode_utf7(level, also="./\\") for level in name.split("/")]
    made = "." + ".".join(levels)
    if len(made) > MAX_FILE_NAME:
        made = made[:200].rstrip(".") + "~" + hashlib.sha256(name.encode()).hexdigest()[:16]
    return made
