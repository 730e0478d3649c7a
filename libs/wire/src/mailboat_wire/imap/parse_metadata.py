"""The grammar of METADATA (RFC 5464 5).

Options stand before the mailbox in the grammar and behind it in the examples (errata 2785, 2786); both are understood,
since an entry begins with a slash and an option doesn't. An invalid entry name is BAD (3.2).
"""

from __future__ import annotations

import re

from mailboat_wire.imap import types as t
from mailboat_wire.imap.lexer import Lexer
from mailboat_wire.imap.names import normalise_inbox

MAX_ENTRIES = 1000
MAX_NAME = 255

_NAME = re.compile(
    rb"/(?:private|shared)(?:/vendor(?:/[ -$&-)+-.0-~]+){2,}|(?!/vendor(?:/|\Z))(?:/[ -$&-)+-.0-~]+)+)", re.IGNORECASE
)
_ROOT = re.compile(rb"/(?:private|shared)(?:/vendor(?:/[ -$&-)+-.0-~]+)?)?", re.IGNORECASE)


def parse_get_metadata(lexer: Lexer) -> t.Command:
    """RFC 5464 4.2."""
    depth, max_size = t.Depth.ZERO, None
    lexer.space()
    before = lexer.peek(b"(")
    if before:
        depth, max_size = _options(lexer)
        lexer.space()
    mailbox = normalise_inbox(lexer.reference())
    lexer.space()
    if not before and lexer.peek(b"(") and not lexer.peek(b"(/") and not lexer.peek(b'("') and not lexer.peek(b"({"):
        depth, max_size = _options(lexer)
        lexer.space()
    entries: dict[str, str] = {}
    listed = lexer.skip(b"(")
    while True:
        name = _entry(lexer, root=True)
        entries.setdefault(name.lower(), name)
        if len(entries) > MAX_ENTRIES:
            raise lexer.bad(b"Too many entries")
        if not (listed and lexer.skip(b" ")):
            break
    if listed:
        lexer.expect(b")")
    lexer.end()
    return t.GetMetadata(lexer.tag, mailbox, tuple(entries.values()), depth, max_size)


def parse_set_metadata(lexer: Lexer) -> t.Command:
    """RFC 5464 4.3."""
    lexer.space()
    mailbox = normalise_inbox(lexer.reference())
    lexer.space()
    lexer.expect(b"(")
    values: dict[str, tuple[str, bytes | None]] = {}
    while True:
        name = _entry(lexer, root=False)
        lexer.space()
        values[name.lower()] = name, lexer.nstring()
        if len(values) > MAX_ENTRIES:
            raise lexer.bad(b"Too many entries")
        if not lexer.skip(b" "):
            break
    lexer.expect(b")")
    lexer.end()
    return t.SetMetadata(lexer.tag, mailbox, dict(values.values()))


def _options(lexer: Lexer) -> tuple[t.Depth, int | None]:
    """`(DEPTH 1 MAXSIZE 1024)`."""
    depth, max_size = t.Depth.ZERO, None
    lexer.expect(b"(")
    while True:
        option = lexer.word()
        lexer.space()
        if option == b"MAXSIZE":
            max_size = lexer.number()
        elif option == b"DEPTH":
            try:
                depth = t.Depth(lexer.word())
            except ValueError:
                raise lexer.bad(b"DEPTH is 0, 1 or infinity") from None
        else:
            raise lexer.bad(b"Unknown option")
        if not lexer.skip(b" "):
            break
    lexer.expect(b")")
    return depth, max_size


def _entry(lexer: Lexer, *, root: bool) -> str:
    """An entry's name. `root`: also one that can have no value itself, but others below."""
    name = lexer.astring()
    if len(name) > MAX_NAME or not (_NAME.fullmatch(name) or (root and _ROOT.fullmatch(name))):
        raise lexer.bad(b"Invalid entry name")
    return name.decode("ascii")
