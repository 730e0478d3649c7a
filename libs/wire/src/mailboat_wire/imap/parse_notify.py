"""NOTIFY, RFC 5465 section 8.

Rules: event names are taken as they come, because an unknown one is answered with those that are known (BADEVENT), not
with BAD; which of them go together is the session's business.
"""

from __future__ import annotations

from mailboat_wire.imap import types as t
from mailboat_wire.imap.lexer import Lexer
from mailboat_wire.imap.parse_message import fetch_item

_FILTERS = {each.value: each for each in t.MailboxFilter}
_WITH_MAILBOXES = (t.MailboxFilter.SUBTREE, t.MailboxFilter.MAILBOXES)


def parse_notify(lexer: Lexer) -> t.Command:
    lexer.space()
    word = lexer.word()
    if word == b"NONE":
        lexer.end()
        return t.Notify(lexer.tag)
    if word != b"SET":
        raise lexer.bad(b"Expected SET or NONE")
    lexer.space()
    status = not lexer.peek(b"(")
    if status:
        if lexer.word() != b"STATUS":
            raise lexer.bad(b"Expected STATUS or an event group")
        lexer.space()
    groups = [_group(lexer)]
    while lexer.skip(b" "):
        groups.append(_group(lexer))
    lexer.end()
    return t.Notify(lexer.tag, tuple(groups), status)


def _group(lexer: Lexer) -> t.EventGroup:
    """`(subtree Lists (MessageNew (UID) MessageExpunge))`"""
    lexer.expect(b"(")
    which = _FILTERS.get(lexer.word())
    if which is None:
        raise lexer.bad(b"Unknown mailbox filter")
    mailboxes: tuple[str, ...] = ()
    lexer.space()
    if which in _WITH_MAILBOXES:
        mailboxes = _mailboxes(lexer)
        lexer.space()
    events, fetch = _events(lexer)
    lexer.expect(b")")
    return t.EventGroup(which, mailboxes, events, fetch)


def _mailboxes(lexer: Lexer) -> tuple[str, ...]:
    if not lexer.skip(b"("):
        return (lexer.mailbox(),)
    found = [lexer.mailbox()]
    while lexer.skip(b" "):
        found.append(lexer.mailbox())
    lexer.expect(b")")
    return tuple(dict.fromkeys(found))


def _events(lexer: Lexer) -> tuple[tuple[bytes, ...], tuple[t.FetchItem, ...]]:
    if not lexer.skip(b"("):
        if lexer.word() != b"NONE":
            raise lexer.bad(b"Expected events or NONE")
        return (), ()
    events: list[bytes] = []
    fetch: list[t.FetchItem] = []
    while True:
        events.append(lexer.word())
        if lexer.peek(b" (") and events[-1] == b"MESSAGENEW":
            lexer.expect(b" (")
            fetch.append(fetch_item(lexer))
            while lexer.skip(b" "):
                fetch.append(fetch_item(lexer))
            lexer.expect(b")")
        if lexer.skip(b")"):
            return tuple(dict.fromkeys(events)), tuple(dict.fromkeys(fetch))
        lexer.space()
