"""SORT, UID SORT, THREAD and UID THREAD: RFC 5256 5, RFC 5957 5."""

from __future__ import annotations

from mailboat_wire.imap import types as t
from mailboat_wire.imap.lexer import Lexer
from mailboat_wire.imap.parse_search import parse_criteria

MAX_CRITERIA = 32


def parse_sort(lexer: Lexer) -> t.Command:
    return _sort(lexer, uid=False)


def parse_uid_sort(lexer: Lexer) -> t.Command:
    return _sort(lexer, uid=True)


def parse_thread(lexer: Lexer) -> t.Command:
    return _thread(lexer, uid=False)


def parse_uid_thread(lexer: Lexer) -> t.Command:
    return _thread(lexer, uid=True)


def _sort(lexer: Lexer, *, uid: bool) -> t.Command:
    lexer.space()
    lexer.expect(b"(")
    criteria = [_criterion(lexer)]
    while lexer.skip(b" "):
        criteria.append(_criterion(lexer))
        if len(criteria) > MAX_CRITERIA:
            raise lexer.bad(b"Too many sort criteria")
    lexer.expect(b")")
    lexer.space()
    charset, key = parse_criteria(lexer)
    first = {each.key: each for each in reversed(criteria)}
    kept = tuple(each for each in criteria if first[each.key] is each)
    return t.Sort(lexer.tag, uid, kept, charset, key)


def _criterion(lexer: Lexer) -> t.SortCriterion:
    word = lexer.word()
    reverse = word == b"REVERSE"
    if reverse:
        lexer.space()
        word = lexer.word()
    try:
        return t.SortCriterion(t.SortKey(word), reverse)
    except ValueError:
        raise lexer.bad(b"Unknown sort criterion") from None


def _thread(lexer: Lexer, *, uid: bool) -> t.Command:
    lexer.space()
    try:
        algorithm = t.ThreadAlgorithm(lexer.atom().upper())
    except ValueError:
        raise lexer.bad(b"Unknown threading algorithm") from None
    lexer.space()
    charset, key = parse_criteria(lexer)
    return t.Thread(lexer.tag, uid, algorithm, charset, key)
