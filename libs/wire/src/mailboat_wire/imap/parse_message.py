"""FETCH, STORE, COPY, MOVE and UID EXPUNGE.

RFC 9051 6.4.5-6.4.9; RFC 7162 3.1.3, 3.1.4, 3.2.6 (modifiers); RFC 3516 (BINARY); RFC 4315 (UID EXPUNGE); RFC 6851
(MOVE); RFC 8970 (PREVIEW).
"""

from __future__ import annotations

import re

from mailboat_wire.imap import types as t
from mailboat_wire.imap.lexer import Lexer
from mailboat_wire.imap.sequence import SequenceSet

MAX_PART_DEPTH = 64  # numbers in a section: no message is shown nested deeper

_ITEM = re.compile(rb"[A-Za-z][A-Za-z0-9.\-]*")
_SECTION_PART = re.compile(rb"[1-9][0-9]{0,8}(?:\.[1-9][0-9]{0,8})*")
_SECTION_TEXT = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)
_LAZY = re.compile(rb" \(LAZY(?: LAZY)*\)", re.IGNORECASE)
_PARTIAL = re.compile(rb"<([0-9]{1,10})\.([0-9]{1,10})>")

_MACROS = {
    b"FAST": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"),
    b"ALL": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"),
    b"FULL": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY"),
}
_EXPANDED = {macro: tuple(t.FetchItem(name) for name in items) for macro, items in _MACROS.items()}

# Shared values of the usual items: a FETCH of thousands of clients makes none.
_ITEMS = {
    name: t.FetchItem(name)
    for name in (
        *(b"FLAGS", b"UID", b"MODSEQ", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODYSTRUCTURE", b"BODY"),
        *(b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT", b"EMAILID", b"THREADID", b"SAVEDATE"),
    )
}
_WHOLE = t.Section()
_SECTIONS = {
    b"BODY": (b"BODY[", False),
    b"BODY.PEEK": (b"BODY[", True),
    b"BINARY": (b"BINARY[", False),
    b"BINARY.PEEK": (b"BINARY[", True),
    b"BINARY.SIZE": (b"BINARY.SIZE[", True),
}


def parse_fetch(lexer: Lexer) -> t.Command:
    return _fetch(lexer, uid=False)


def parse_uid_fetch(lexer: Lexer) -> t.Command:
    return _fetch(lexer, uid=True)


def _fetch(lexer: Lexer, *, uid: bool) -> t.Command:
    lexer.space()
    sequence = lexer.sequence()
    lexer.space()
    if lexer.skip(b"("):
        found = [_item(lexer)]
        while lexer.skip(b" "):
            found.append(_item(lexer))
        lexer.expect(b")")
        # Repeats need equal names first, which are cheaper to compare than sections.
        items = tuple(found) if len({item.name for item in found}) == len(found) else tuple(dict.fromkeys(found))
    else:
        single = _item(lexer)
        items = _EXPANDED.get(single.name, (single,))
    changed_since = None
    vanished = False
    partial = None
    if lexer.skip(b" "):
        changed_since, vanished, partial = _fetch_modifiers(lexer)
        if vanished and (changed_since is None or not uid):
            raise lexer.bad(b"VANISHED needs UID FETCH and CHANGEDSINCE")
        if partial is not None and not uid:
            raise lexer.bad(b"PARTIAL needs UID FETCH")
    lexer.end()
    return t.Fetch(lexer.tag, uid, sequence, items, changed_since, vanished, partial)


def _fetch_modifiers(lexer: Lexer) -> tuple[int | None, bool, t.PartialRange | None]:
    changed_since = None
    vanished = False
    partial = None
    lexer.expect(b"(")
    while True:
        match lexer.word():
            case b"CHANGEDSINCE":
                lexer.space()
                changed_since = lexer.modseq(1)
            case b"VANISHED":
                vanished = True
            case b"PARTIAL" if partial is None:
                lexer.space()
                partial = lexer.partial_range()
            case _:
                raise lexer.bad(b"Unknown modifier")
        if lexer.skip(b")"):
            return changed_since, vanished, partial
        lexer.space()


def _item(lexer: Lexer) -> t.FetchItem:
    name = lexer.match(_ITEM, b"a FETCH item").upper()
    if name == b"PREVIEW":
        return _preview(lexer)
    if not lexer.peek(b"["):
        return _ITEMS.get(name) or t.FetchItem(name)
    if name not in _SECTIONS:
        raise lexer.bad(b"Unknown FETCH item")
    label, peek = _SECTIONS[name]
    lexer.pos += 1
    section = _section(lexer, binary=label is not _SECTIONS[b"BODY"][0])
    lexer.expect(b"]")
    return t.FetchSection(label, section, peek, _partial(lexer) if name != b"BINARY.SIZE" else None)


fetch_item = _item  # NOTIFY names the items of new messages as FETCH does


def _preview(lexer: Lexer) -> t.FetchPreview:
    """PREVIEW with its modifiers; another list that follows belongs to the command (CHANGEDSINCE)."""
    found = _LAZY.match(lexer.text, lexer.pos)
    if found is None:
        return t.FetchPreview(b"PREVIEW")
    lexer.pos = found.end()
    return t.FetchPreview(b"PREVIEW", lazy=True)


def _partial(lexer: Lexer) -> tuple[int, int] | None:
    if not lexer.peek(b"<"):
        return None
    found = _PARTIAL.match(lexer.text, lexer.pos)
    if found is None:
        raise lexer.bad(b"Invalid partial")
    first, count = int(found[1]), int(found[2])
    if first > 0xFFFFFFFF or not 1 <= count <= 0xFFFFFFFF:
        raise lexer.bad(b"Invalid partial")
    lexer.pos = found.end()
    return first, count


def _section(lexer: Lexer, *, binary: bool) -> t.Section:
    """What stands between the brackets: section-spec, or section-part alone for BINARY."""
    if lexer.peek(b"]"):
        return _WHOLE
    part: tuple[int, ...] = ()
    found = _SECTION_PART.match(lexer.text, lexer.pos)
    if found is not None:
        part = tuple(map(int, found[0].split(b".")))
        if len(part) > MAX_PART_DEPTH:
            raise lexer.bad(b"Section too deep")
        lexer.pos = found.end()
        if lexer.peek(b"]"):
            return t.Section(part)
        lexer.expect(b".")
    if binary:
        raise lexer.bad(b"Invalid section")
    text = t.SectionText(lexer.match(_SECTION_TEXT, b"a section").upper())
    if text is t.SectionText.MIME and not part:
        raise lexer.bad(b"MIME needs a part")
    fields: tuple[bytes, ...] = ()
    if text in (t.SectionText.HEADER_FIELDS, t.SectionText.HEADER_FIELDS_NOT):
        fields = _header_list(lexer)
    return t.Section(part, text, fields)


def _header_list(lexer: Lexer) -> tuple[bytes, ...]:
    lexer.expect(b" (")
    fields = [lexer.header_name()]
    while lexer.skip(b" "):
        fields.append(lexer.header_name())
    lexer.expect(b")")
    return tuple(fields)


# --- STORE --------------------------------------------------------------------------------------------------------

_STORE_ITEMS = {
    sign.value + b"FLAGS" + suffix: (sign, bool(suffix)) for sign in t.StoreMode for suffix in (b"", b".SILENT")
}
_STORE_ITEM = re.compile(rb"[+-]?[A-Za-z.]+")


def parse_store(lexer: Lexer) -> t.Command:
    return _store(lexer, uid=False)


def parse_uid_store(lexer: Lexer) -> t.Command:
    return _store(lexer, uid=True)


def _store(lexer: Lexer, *, uid: bool) -> t.Command:
    lexer.space()
    sequence = lexer.sequence()
    lexer.space()
    unchanged_since = None
    if lexer.skip(b"("):
        if lexer.word() != b"UNCHANGEDSINCE":
            raise lexer.bad(b"Unknown modifier")
        lexer.space()
        unchanged_since = lexer.modseq(0)
        lexer.expect(b") ")
    action = _STORE_ITEMS.get(lexer.match(_STORE_ITEM, b"FLAGS").upper())
    if action is None:
        raise lexer.bad(b"Expected FLAGS")
    lexer.space()
    flags = lexer.flag_list() if lexer.peek(b"(") else lexer.bare_flags()
    lexer.end()
    return t.Store(lexer.tag, uid, sequence, *action, flags, unchanged_since)


# --- COPY, MOVE, UID EXPUNGE --------------------------------------------------------------------------------------


def _set_and_mailbox(lexer: Lexer) -> tuple[SequenceSet, str]:
    lexer.space()
    sequence = lexer.sequence()
    lexer.space()
    mailbox = lexer.mailbox()
    lexer.end()
    return sequence, mailbox


def parse_copy(lexer: Lexer) -> t.Command:
    return t.Copy(lexer.tag, False, *_set_and_mailbox(lexer))


def parse_uid_copy(lexer: Lexer) -> t.Command:
    return t.Copy(lexer.tag, True, *_set_and_mailbox(lexer))


def parse_move(lexer: Lexer) -> t.Command:
    return t.Move(lexer.tag, False, *_set_and_mailbox(lexer))


def parse_uid_move(lexer: Lexer) -> t.Command:
    return t.Move(lexer.tag, True, *_set_and_mailbox(lexer))


def parse_uid_expunge(lexer: Lexer) -> t.Command:
    lexer.space()
    sequence = lexer.sequence()
    lexer.end()
    return t.Expunge(lexer.tag, sequence)
