"""SEARCH and UID SEARCH.

RFC 9051 6.4.4, RFC 3501 6.4.4 (CHARSET, NEW, OLD, RECENT), RFC 4731 and RFC 5182 (RETURN), RFC 7162 3.1.5 (MODSEQ),
RFC 5032 (OLDER, YOUNGER), RFC 8474 (EMAILID, THREADID), RFC 8514 (SAVED…), RFC 9394 (PARTIAL). SORT and THREAD end
with the same keys (RFC 5256).

Rules: nesting (parentheses, NOT, OR) is at most MAX_DEPTH deep, keys at most MAX_KEYS, so that neither this parser nor
what walks its tree can run out of stack or time on one line. Strings are in the CHARSET given, UTF-8 without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mailboat_wire.imap import charsets
from mailboat_wire.imap import flags as f
from mailboat_wire.imap import types as t
from mailboat_wire.imap.events import BadCommand
from mailboat_wire.imap.lexer import ATOM, Lexer

MAX_DEPTH = 50
MAX_KEYS = 2000

_KEY = re.compile(rb"[A-Za-z][A-Za-z0-9.\-]*")
_OBJECT_ID = re.compile(rb"[A-Za-z0-9_\-]{1,255}")
_MODSEQ_ENTRY = re.compile(rb"PRIV|SHARED|ALL", re.IGNORECASE)

_RETURNS = {option.name.encode("ascii"): option for option in t.SearchReturn if option.name}


def parse_search(lexer: Lexer) -> t.Command:
    return _Search(lexer).command(uid=False)


def parse_uid_search(lexer: Lexer) -> t.Command:
    return _Search(lexer).command(uid=True)


def parse_criteria(lexer: Lexer) -> tuple[bytes, t.SearchKey]:
    """search-criteria of SORT and THREAD (RFC 5256 5): the charset, upper case, and the keys, to the command's end."""
    return _Search(lexer).criteria()


class _Search:
    """One SEARCH being read: the cursor, the count of keys so far, and what strings are decoded with."""

    __slots__ = ("codec", "keys", "lexer", "partial")

    def __init__(self, lexer: Lexer) -> None:
        self.lexer = lexer
        self.keys = 0
        self.codec = "utf-8"
        self.partial: t.PartialRange | None = None

    def command(self, *, uid: bool) -> t.Search:
        lexer = self.lexer
        returns = None
        charset = None
        lexer.space()
        if self._skip_word(b"RETURN"):
            lexer.expect(b"(")
            returns = self._returns()
            lexer.space()
        if self._skip_word(b"CHARSET"):
            charset, key = self.criteria()
        else:
            key = self._keys(0)
            lexer.end()
        return t.Search(lexer.tag, uid, key, returns, charset, self.partial)

    def criteria(self) -> tuple[bytes, t.SearchKey]:
        """A charset and keys in it, to the end of the command."""
        lexer = self.lexer
        charset = lexer.astring().upper()
        codec = charsets.codec(charset)
        if codec is None:
            code = b"BADCHARSET (%b)" % charsets.SUPPORTED
            raise BadCommand(lexer.tag, b"Unknown charset", status=b"NO", code=code)
        self.codec = codec
        lexer.space()
        key = self._keys(0)
        lexer.end()
        return charset, key

    def _skip_word(self, word: bytes) -> bool:
        """Consume `word` and the space after it, in any case, if they are next."""
        lexer = self.lexer
        end = lexer.pos + len(word) + 1
        if lexer.text[lexer.pos : end].upper() != word + b" ":
            return False
        lexer.pos = end
        return True

    def _returns(self) -> t.SearchReturn:
        lexer = self.lexer
        wanted: t.SearchReturn | None = None
        while not lexer.skip(b")"):
            if wanted is not None:
                lexer.space()
            option = _RETURNS.get(lexer.word())
            if option is None:
                raise lexer.bad(b"Unknown return option")
            if option is t.SearchReturn.PARTIAL:
                lexer.space()
                if self.partial is not None:
                    raise lexer.bad(b"PARTIAL given twice")
                self.partial = lexer.partial_range()
            wanted = option if wanted is None else wanted | option
        if wanted is None:
            return t.SearchReturn.ALL
        if t.SearchReturn.PARTIAL in wanted and t.SearchReturn.ALL in wanted:
            raise lexer.bad(b"PARTIAL and ALL exclude each other")
        return wanted

    def _keys(self, depth: int) -> t.SearchKey:
        """One or more keys, all of which must hold."""
        found = [self.key(depth)]
        while self.lexer.skip(b" "):
            found.append(self.key(depth))
        return found[0] if len(found) == 1 else t.SearchAnd(tuple(found))

    def key(self, depth: int) -> t.SearchKey:
        lexer = self.lexer
        self.keys += 1
        if depth > MAX_DEPTH or self.keys > MAX_KEYS:
            raise lexer.bad(b"Search too complex")
        if lexer.skip(b"("):
            inner = self._keys(depth + 1)
            lexer.expect(b")")
            return inner
        if lexer.at_sequence():
            return t.SearchSequence(lexer.sequence(), uid=False)
        word = lexer.match(_KEY, b"a search key").upper()
        if word in _SIMPLE:
            return _SIMPLE[word]
        reader = _READERS.get(word)
        if reader is None:
            raise lexer.bad(b"Unknown search key")
        lexer.space()
        return reader(self, depth)

    def text(self) -> str:
        """A string, decoded. NO for what isn't in the charset: JavaMail, which sends ISO 8859-1 once UTF8=ACCEPT is
        enabled, looks through the messages itself at a NO, and reports a BAD as an error."""
        try:
            return self.lexer.astring().decode(self.codec)
        except UnicodeError:
            raise BadCommand(self.lexer.tag, b"String is not in the charset", status=b"NO") from None

    def negation(self, depth: int) -> t.SearchKey:
        return t.SearchNot(self.key(depth + 1))

    def either(self, depth: int) -> t.SearchKey:
        left = self.key(depth + 1)
        self.lexer.space()
        return t.SearchOr(left, self.key(depth + 1))

    def header(self, _depth: int) -> t.SearchKey:
        field = self.lexer.header_name()
        self.lexer.space()
        return t.SearchHeader(field, self.text())

    def uid_set(self, _depth: int) -> t.SearchKey:
        return t.SearchSequence(self.lexer.sequence(), uid=True)

    def modseq(self, _depth: int) -> t.SearchKey:
        lexer = self.lexer
        entry = entry_type = None
        if lexer.peek(b'"'):
            entry = lexer.string()
            lexer.space()
            entry_type = lexer.match(_MODSEQ_ENTRY, b"an entry type").lower()
            lexer.space()
        return t.SearchModseq(lexer.modseq(0), entry, entry_type)


_Reader = Callable[[_Search, int], t.SearchKey]


def _flag(flag: bytes, *, present: bool) -> t.SearchKey:
    return t.SearchFlag(flag, present)


_SIMPLE: dict[bytes, t.SearchKey] = {
    b"ALL": t.SearchAll(),
    b"ANSWERED": _flag(f.ANSWERED, present=True),
    b"DELETED": _flag(f.DELETED, present=True),
    b"DRAFT": _flag(f.DRAFT, present=True),
    b"FLAGGED": _flag(f.FLAGGED, present=True),
    b"SEEN": _flag(f.SEEN, present=True),
    b"UNANSWERED": _flag(f.ANSWERED, present=False),
    b"UNDELETED": _flag(f.DELETED, present=False),
    b"UNDRAFT": _flag(f.DRAFT, present=False),
    b"UNFLAGGED": _flag(f.FLAGGED, present=False),
    b"UNSEEN": _flag(f.SEEN, present=False),
    b"RECENT": t.SearchRecent(),
    b"NEW": t.SearchAnd((t.SearchRecent(), _flag(f.SEEN, present=False))),
    b"OLD": t.SearchNot(t.SearchRecent()),
}


def _keyword(present: bool) -> _Reader:
    return lambda search, _depth: t.SearchFlag(search.lexer.match(ATOM, b"a keyword"), present)


def _text(field: t.TextField) -> _Reader:
    return lambda search, _depth: t.SearchText(field, search.text())


def _date(field: t.DateField, test: t.DateTest) -> _Reader:
    return lambda search, _depth: t.SearchDate(field, test, search.lexer.date())


def _size(larger: bool) -> _Reader:
    return lambda search, _depth: t.SearchSize(larger, search.lexer.number(0, 2**63 - 1))


def _within(younger: bool) -> _Reader:
    return lambda search, _depth: t.SearchWithin(younger, search.lexer.number(1))


def _object_id(kind: t.ObjectIdKind) -> _Reader:
    return lambda search, _depth: t.SearchObjectId(kind, search.lexer.match(_OBJECT_ID, b"an object id"))


_READERS: dict[bytes, _Reader] = {
    b"NOT": _Search.negation,
    b"OR": _Search.either,
    b"HEADER": _Search.header,
    b"UID": _Search.uid_set,
    b"MODSEQ": _Search.modseq,
    b"KEYWORD": _keyword(True),
    b"UNKEYWORD": _keyword(False),
    b"LARGER": _size(True),
    b"SMALLER": _size(False),
    b"YOUNGER": _within(True),
    b"OLDER": _within(False),
    **{field.value: _text(field) for field in t.TextField},
    **{field.value + test.value: _date(field, test) for field in t.DateField for test in t.DateTest},
    **{kind.value: _object_id(kind) for kind in t.ObjectIdKind},
}
