"""Content-* fields of a header: type, encoding, disposition, their parameters (RFC 2045 5 and 6, RFC 2183, RFC 2231).

Values are bytes as sent, unquoted and unfolded. The first field of a name counts, as in Dovecot.
"""

import re
from dataclasses import dataclass

from mailboat_mime.headers import decode_extended, decode_words, unfold

Params = tuple[tuple[bytes, bytes], ...]

_TOKEN = rb"[^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]+"
_NAME = re.compile(
    rb"\ncontent-(type|transfer-encoding|id|description|disposition|md5|language|location)[ \t]*:"
    rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)"
)  # over a lower-case block: the literal start lets the search skip at memory speed
# A quoted string, or a comment with its end (group 1). What has no end is taken as well, as far as it goes: looked at
# again from each of its characters, 64 KB of a hostile value took seconds.
_COMMENT = re.compile(rb"\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\"?|\([^()\\]*+(?:\\.[^()\\]*+)*+(\)?)", re.DOTALL)
_TYPE = re.compile(rb"[ \t]*(" + _TOKEN + rb")(?:[ \t]*/[ \t]*(" + _TOKEN + rb"))?[ \t]*")
_FIRST_TOKEN = re.compile(rb"[ \t]*(" + _TOKEN + rb")")
_PARAM = re.compile(
    rb"[;\s]*+(?:([^\s=;\"]++)[ \t]*+=[ \t]*+(?:\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)(?:\"|\\?\Z)|([^;\"]*))[^;]*+"
    rb"|[^;]*+(?:;|\Z))",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_SECTION = re.compile(rb"([^*]+)\*(\d{1,3})(\*?)\Z")
_LANGUAGE = re.compile(rb"[^\x00-\x20,;()\"\x7f-\xff]+")
_MAX_PARAMS = 200
_VALUE_LIMIT = 64 * 1024  # octets of a field that are looked at


@dataclass(frozen=True, slots=True)
class Content:
    """The Content-* fields of one part; None where a field is absent, and an unreadable type counts as absent."""

    type: bytes | None = None
    subtype: bytes | None = None
    params: Params = ()
    encoding: bytes | None = None
    content_id: bytes | None = None
    description: bytes | None = None
    disposition: bytes | None = None
    disposition_params: Params = ()
    md5: bytes | None = None
    language: tuple[bytes, ...] = ()
    location: bytes | None = None

    def filename(self) -> str | None:
        """The name the sender gave the part, as text: disposition "filename", else type "name"."""
        for params, wanted in ((self.disposition_params, b"filename"), (self.params, b"name")):
            for name, value in params:
                lowered = name.lower()
                if lowered == wanted + b"*":
                    return decode_extended(value)
                if lowered == wanted:
                    return decode_words(value)
        return None


def raw_content_fields(block: bytes) -> dict[bytes, bytes]:
    """Lower-case name after "Content-" → unfolded value (64 KB of it) of the first field of each name in a block."""
    lowered = b"\n" + block.lower()
    found: dict[bytes, bytes] = {}
    for match in _NAME.finditer(lowered):
        name = match.group(1)
        if name not in found:
            start, end = match.span(2)
            found[name] = unfold(block[start - 1 : min(end - 1, start + _VALUE_LIMIT)])
    return found


def parse_content(block: bytes) -> Content:
    """All Content-* fields of a header block."""
    raw = raw_content_fields(block)
    kind, subtype, params = parse_type(raw.get(b"type"))
    disposition, disposition_params = _parse_disposition(raw.get(b"disposition"))
    return Content(
        kind,
        subtype,
        params,
        parse_token(raw.get(b"transfer-encoding")),
        raw.get(b"id"),
        raw.get(b"description"),
        disposition,
        disposition_params,
        raw.get(b"md5"),
        tuple(_LANGUAGE.findall(_without_comments(raw[b"language"]))[:_MAX_PARAMS]) if b"language" in raw else (),
        raw.get(b"location"),
    )


def parse_type(value: bytes | None) -> tuple[bytes | None, bytes | None, Params]:
    """Type, subtype and parameters of an unfolded Content-Type value.

    A type without a subtype keeps its type and loses its parameters; anything less readable is (None, None, ()).
    """
    if value is None:
        return None, None, ()
    value = _without_comments(value)
    match = _TYPE.match(value)
    if match is None:
        return None, None, ()
    kind, subtype = match.groups()
    if subtype is None:
        return kind, None, ()
    return kind, subtype, parse_params(value, match.end())


def parse_token(value: bytes | None) -> bytes | None:
    """The first token of a value such as Content-Transfer-Encoding's, or None."""
    match = _FIRST_TOKEN.match(_without_comments(value)) if value else None
    return match.group(1) if match else None


def _parse_disposition(value: bytes | None) -> tuple[bytes | None, Params]:
    if value is None:
        return None, ()
    value = _without_comments(value)
    match = _FIRST_TOKEN.match(value)
    return (match.group(1), parse_params(value, match.end())) if match else (None, ())


def _without_comments(value: bytes) -> bytes:
    if b"(" not in value:
        return value
    return _COMMENT.sub(lambda match: b" " if match[1] else match[0], value)


def parse_params(value: bytes, start: int = 0) -> Params:
    """Parameters from `start` on, in order; RFC 2231 continuations joined under "name", or "name*" if encoded.

    At most 200 are kept. Unterminated quotes run to the end; what is not name=value is passed over.
    """
    params: list[tuple[bytes, bytes]] = []
    joined = False
    for match in _PARAM.finditer(value, start):
        name, quoted, plain = match.groups()
        if name is None:
            continue
        if quoted is not None:
            params.append((name, _ESCAPE.sub(rb"\1", quoted) if b"\\" in quoted else quoted))
        else:
            params.append((name, plain.strip()))
        joined = joined or b"*" in name
        if len(params) >= _MAX_PARAMS:
            break
    return _join_sections(params) if joined else tuple(params)


def _join_sections(params: list[tuple[bytes, bytes]]) -> Params:
    """RFC 2231 3: name*0, name*1* … become one parameter, where the first of them stood."""
    sections: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    out: list[tuple[bytes, bytes]] = []
    for name, value in params:
        match = _SECTION.match(name)
        if match is None:
            out.append((name, value))
            continue
        base, number, extended = match.groups()
        if base not in sections:
            sections[base] = {}
            out.append((base, b""))
        sections[base].setdefault(int(number), (value, bool(extended)))
    return tuple((name, value) if name not in sections else _section_value(name, sections[name]) for name, value in out)


def _section_value(name: bytes, pieces: dict[int, tuple[bytes, bool]]) -> tuple[bytes, bytes]:
    encoded = any(extended for _, extended in pieces.values())
    values: list[bytes] = []
    for number in sorted(pieces):
        if number != len(values):
            break
        value, extended = pieces[number]
        values.append(value.replace(b"%", b"%25") if encoded and not extended else value)
    if encoded and pieces.get(0, (b"", False))[1] is False:
        values.insert(0, b"''")
    return (name + b"*" if encoded else name), b"".join(values)
