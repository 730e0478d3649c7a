"""What DKIM hashes: header fields and body in canonical form, and the choice of fields (RFC 6376 3.4, 3.5, 3.7, 5.4).

Rules kept here:
- CRLF ends a line and nothing else does: messages are kept and sent with CRLF;
- a field that is named n times in h= means its last n instances, from the bottom up (5.4.2); a name that is left over
  stands for "there is no further one", which is what oversigning uses;
- every replacement looks at each octet a fixed number of times, so hostile runs of spaces cost linear time.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Sequence

from mailboat_mime.headers import header_end, iter_fields

_SPACES = re.compile(rb"\t[ \t]*+| [ \t]++")  # what isn't one space already
_FOLDS = re.compile(rb"\r\n(?=[ \t])")
_SIGNATURE = re.compile(rb"(?<![^; \t\r\n])(b[ \t\r\n]*+=)[^;]*+")

_MANY_EMPTY = b"\r\n" * 4096

Field = tuple[bytes, bytes]
"""Lower-case name and the field as it stands in the message, with its line ends."""


class Form(enum.Enum):
    """A canonicalization algorithm (RFC 6376 3.4)."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def split(message: bytes) -> tuple[list[Field], bytes]:
    """The fields in message order, and the body after the blank line."""
    end = header_end(message)
    return [(name.lower(), raw) for name, raw, _value in iter_fields(message[:end]) if name], message[end:]


def canonical_body(body: bytes, form: Form) -> bytes:
    """RFC 6376 3.4.3, 3.4.4: no empty lines at the end; relaxed: white space in lines reduced, none at their end."""
    if form is Form.RELAXED:
        body = _SPACES.sub(b" ", body).replace(b" \r\n", b"\r\n").removesuffix(b" ")
    end = len(body)
    for lines in (_MANY_EMPTY, b"\r\n"):
        while body.endswith(lines, 0, end):
            end -= len(lines)
    if end == 0:
        return b"" if form is Form.RELAXED else b"\r\n"
    return body[:end] + b"\r\n"


def body_hash(body: bytes, form: Form) -> bytes:
    """SHA-256 of the canonical body."""
    return hashlib.sha256(canonical_body(body, form)).digest()


def canonical_field(raw: bytes, form: Form) -> bytes:
    """RFC 6376 3.4.1 and 3.4.2: one field with its CRLF; relaxed: lower-case name, unfolded, white space reduced."""
    if form is Form.SIMPLE:
        return raw
    name, _, value = raw.partition(b":")
    value = value.removesuffix(b"\r\n")
    if b"\r\n" in value:
        value = _FOLDS.sub(b"", value)
    value = _SPACES.sub(b" ", value)
    return name.strip(b" \t").lower() + b":" + value.strip(b" ") + b"\r\n"


def chosen(fields: Sequence[Field], names: Iterable[bytes]) -> list[bytes]:
    """The raw fields that h= names, in its order (RFC 6376 5.4.2); names without a field are left out."""
    waiting: dict[bytes, list[bytes]] = {}
    for name, raw in fields:
        waiting.setdefault(name, []).append(raw)
    return [waiting[name].pop() for name in names if waiting.get(name)]


def signed_fields(fields: Sequence[Field], names: Iterable[bytes], form: Form) -> bytes:
    """The chosen fields in canonical form: what all signatures over the same names have in common."""
    return b"".join([canonical_field(raw, form) for raw in chosen(fields, names)])


def signature_data(signature: bytes, form: Form) -> bytes:
    """The signature field as it is signed itself: with b= empty and without its CRLF (RFC 6376 3.7)."""
    emptied = _SIGNATURE.sub(rb"\1", signature.removesuffix(b"\r\n"), count=1)
    return canonical_field(emptied + b"\r\n", form).removesuffix(b"\r\n")


def signed_data(fields: Sequence[Field], names: Iterable[bytes], signature: bytes, form: Form) -> bytes:
    """What is signed (RFC 6376 3.7): the chosen fields, then the signature field."""
    return signed_fields(fields, names, form) + signature_data(signature, form)
