"""The grammar of IMAP commands: a framed command in, a typed one out.

RFC 9051 section 9, RFC 3501 section 9 and the extensions named in `types`. FETCH and STORE are in `parse_message`,
SEARCH in `parse_search`, SORT and THREAD in `parse_sort`; the table at the end joins them.

Rules: only BadCommand leaves `parse_command` and `parse_append`. Its text is public. A word that isn't in the table is
an UnknownCommand. `utf8` is the session's: UTF8=ACCEPT or IMAP4rev2 was enabled (names are then UTF-8 instead of
modified UTF-7).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mailboat_wire.imap import types as t
from mailboat_wire.imap.events import AppendEnd, AppendFrame, BadCommand, Frame
from mailboat_wire.imap.lexer import Lexer
from mailboat_wire.imap.names import DELIMITER
from mailboat_wire.imap.parse_message import (
    parse_copy,
    parse_fetch,
    parse_move,
    parse_store,
    parse_uid_copy,
    parse_uid_expunge,
    parse_uid_fetch,
    parse_uid_move,
    parse_uid_store,
)
from mailboat_wire.imap.parse_metadata import parse_get_metadata, parse_set_metadata
from mailboat_wire.imap.parse_notify import parse_notify
from mailboat_wire.imap.parse_search import parse_search, parse_uid_search
from mailboat_wire.imap.parse_sort import parse_sort, parse_thread, parse_uid_sort, parse_uid_thread
from mailboat_wire.imap.sequence import STAR, SequenceSet

MAX_ID_PAIRS = 30  # RFC 2971 3.3
MAX_ID_FIELD = 30
MAX_ID_VALUE = 1024

_COMMAND = re.compile(rb"[A-Za-z][A-Za-z0-9_.\-]{0,63}(?= |\Z)")
_MECHANISM = re.compile(rb"[A-Za-z0-9_\-]{1,20}(?= |\Z)")
_BASE64 = re.compile(rb"=\Z|[A-Za-z0-9+/]+={0,2}\Z")
_USE = re.compile(rb"\\[A-Za-z]+")
_SPECIAL_USES = {
    use.lower(): use
    for use in (b"\\All", b"\\Archive", b"\\Drafts", b"\\Flagged", b"\\Important", b"\\Junk", b"\\Sent", b"\\Trash")
}

_Parse = Callable[[Lexer], t.Command]


def parse_command(frame: Frame, *, utf8: bool = False) -> t.Command:
    """The command of `frame`. BadCommand if it isn't one."""
    text = frame.texts[0]
    if frame.tag == b"*":
        raise BadCommand(b"*", b"Empty line" if not text else b"Invalid tag")
    lexer = Lexer(frame, len(frame.tag), utf8=utf8)
    parse, word = _command_word(lexer)
    return t.UnknownCommand(frame.tag, word) if parse is None else parse(lexer)


def _command_word(lexer: Lexer) -> tuple[_Parse | None, bytes]:
    """Read ` FETCH` or ` UID FETCH`: its parser and the word."""
    lexer.space()
    word = lexer.match(_COMMAND, b"a command").upper()
    if word != b"UID":
        return _COMMANDS.get(word), word
    lexer.space()
    word = lexer.match(_COMMAND, b"a command").upper()
    return _UID_COMMANDS.get(word), b"UID " + word


def parse_append(
    frame: AppendFrame, previous: t.AppendMessage | None = None, *, utf8: bool = False
) -> t.Append | t.Replace:
    """The head of APPEND or REPLACE. For a further message of APPEND (`frame.more`) give the `previous` one; its result
    has mailbox "".

    RFC 9051 6.3.12, RFC 3502, RFC 8508, and RFC 6855 4 for UTF8 (~{…}).
    """
    if frame.tag == b"*":
        raise BadCommand(b"*", b"Invalid tag")
    if frame.more:
        lexer = Lexer(frame, 0, utf8=utf8)
        if previous is not None and previous.utf8:
            lexer.expect(b")")
        return t.Append(frame.tag, "", _append_message(lexer, frame))
    lexer = Lexer(frame, len(frame.tag), utf8=utf8)
    _, word = _command_word(lexer)
    lexer.space()
    if word == b"APPEND":
        mailbox = lexer.mailbox()
        return t.Append(frame.tag, mailbox, _append_message(lexer, frame))
    target = _one_message(lexer)
    lexer.space()
    mailbox = lexer.mailbox()
    return t.Replace(frame.tag, word == b"UID REPLACE", target, mailbox, _append_message(lexer, frame))


def _one_message(lexer: Lexer) -> SequenceSet:
    """A message number, a UID, or `*`."""
    number = STAR if lexer.skip(b"*") else lexer.number(1)
    return SequenceSet(((number, number),))


def _append_message(lexer: Lexer, frame: AppendFrame) -> t.AppendMessage:
    """` (flags) "date" `, and then the announced literal."""
    lexer.space()
    flags: tuple[bytes, ...] = ()
    date = None
    if lexer.peek(b"("):
        flags = lexer.flag_list()
        lexer.space()
    if lexer.peek(b'"'):
        date = lexer.date_time()
        lexer.space()
    wrapped = lexer.text[lexer.pos :].upper() == b"UTF8 ("
    if wrapped:
        lexer.pos = len(lexer.text)
        if not lexer.utf8 or not frame.binary:
            raise lexer.bad(b"UTF8 needs a literal8 and to be enabled")
    if not lexer.at_end:  # the message's literal follows
        raise lexer.bad(b"Expected a message")
    return t.AppendMessage(flags, date, frame.size, frame.binary, wrapped)


def check_append_end(end: AppendEnd, previous: t.AppendMessage | None = None) -> None:
    """BadCommand if anything but the command's end follows the last message."""
    if end.text != (b")" if previous is not None and previous.utf8 else b""):
        raise BadCommand(end.tag, b"Unexpected argument")


def _bare(command: type[t.Command]) -> _Parse:
    """A parser for a command without arguments."""

    def parse(lexer: Lexer) -> t.Command:
        lexer.end()
        return command(lexer.tag)

    return parse


def _on_mailbox(command: Callable[[bytes, str], t.Command]) -> _Parse:
    """A parser for a command whose one argument is a mailbox."""

    def parse(lexer: Lexer) -> t.Command:
        lexer.space()
        mailbox = lexer.mailbox()
        lexer.end()
        return command(lexer.tag, mailbox)

    return parse


def _parse_append_without_message(lexer: Lexer) -> t.Command:
    """APPEND or REPLACE whose message wasn't offered as a literal (or before login): never right."""
    raise lexer.bad(b"Expected a message")


def _parse_authenticate(lexer: Lexer) -> t.Command:
    """RFC 9051 6.2.2, RFC 4959."""
    lexer.space()
    mechanism = lexer.match(_MECHANISM, b"a mechanism").upper()
    initial = None
    if lexer.skip(b" "):
        raw = lexer.match(_BASE64, b"base64")
        initial = b"" if raw == b"=" else raw
    lexer.end()
    return t.Authenticate(lexer.tag, mechanism, initial)


def _parse_login(lexer: Lexer) -> t.Command:
    lexer.space()
    username = lexer.astring()
    lexer.space()
    password = lexer.astring()
    lexer.end()
    return t.Login(lexer.tag, username, password)


def _parse_compress(lexer: Lexer) -> t.Command:
    lexer.space()
    mechanism = lexer.atom().upper()
    lexer.end()
    return t.Compress(lexer.tag, mechanism)


def _parse_enable(lexer: Lexer) -> t.Command:
    lexer.space()
    features = [lexer.atom().upper()]
    while lexer.skip(b" "):
        features.append(lexer.atom().upper())
    lexer.end()
    return t.Enable(lexer.tag, tuple(dict.fromkeys(features)))


def _parse_id(lexer: Lexer) -> t.Command:
    """RFC 2971 3.1. A space inside a parenthesis is taken too, as aioimaplib sends it: `ID ( "name" "x" )`."""
    lexer.space()
    params: list[tuple[bytes, bytes | None]] = []
    if not lexer.peek(b"("):
        if lexer.word() != b"NIL":
            raise lexer.bad(b"Expected a list or NIL")
        lexer.end()
        return t.Id(lexer.tag, None)
    lexer.expect(b"(")
    lexer.skip(b" ")
    while not lexer.skip(b")"):
        field = lexer.string()
        lexer.space()
        value = lexer.nstring()
        if not lexer.peek(b")"):
            lexer.space()
        if len(field) > MAX_ID_FIELD or len(value or b"") > MAX_ID_VALUE or len(params) == MAX_ID_PAIRS:
            raise lexer.bad(b"Too much in ID")
        params.append((field, value))
    lexer.end()
    return t.Id(lexer.tag, tuple(params))


def _parse_open(command: type[t.Select] | type[t.Examine]) -> _Parse:
    """SELECT and EXAMINE, RFC 9051 6.3.2, with the parameters of RFC 7162."""

    def parse(lexer: Lexer) -> t.Command:
        lexer.space()
        mailbox = lexer.mailbox()
        condstore = False
        qresync = None
        if lexer.skip(b" "):
            lexer.expect(b"(")
            while True:
                match lexer.word():
                    case b"CONDSTORE":
                        condstore = True
                    case b"QRESYNC":
                        lexer.space()
                        qresync = _qresync(lexer)
                    case _:
                        raise lexer.bad(b"Unknown parameter")
                if lexer.skip(b")"):
                    break
                lexer.space()
        lexer.end()
        return command(lexer.tag, mailbox, condstore, qresync)

    return parse


def _qresync(lexer: Lexer) -> t.QResync:
    """`(uidvalidity modseq [known-uids] [(numbers uids)])`, RFC 7162 7."""
    lexer.expect(b"(")
    uid_validity = lexer.number(1)
    lexer.space()
    modseq = lexer.modseq(1)
    known = None
    match = None
    if lexer.peek(b" ") and not lexer.peek(b" ("):
        lexer.space()
        known = lexer.static_set()
    if lexer.skip(b" ("):
        message_numbers = lexer.static_set()
        lexer.space()
        match = (message_numbers, lexer.static_set())
        lexer.expect(b")")
    lexer.expect(b")")
    return t.QResync(uid_validity, modseq, known, match)


def _parse_create(lexer: Lexer) -> t.Command:
    """RFC 9051 6.3.4, RFC 6154 3. The trailing delimiter that announces children carries no meaning here."""
    lexer.space()
    mailbox = lexer.mailbox()
    uses: list[bytes] = []
    if lexer.skip(b" ("):
        if lexer.word() != b"USE":
            raise lexer.bad(b"Unknown parameter")
        lexer.expect(b" (")
        while not lexer.skip(b")"):
            if uses:
                lexer.space()
            use = lexer.match(_USE, b"a special use").lower()
            if use not in _SPECIAL_USES:
                raise BadCommand(lexer.tag, b"Unknown special use", status=b"NO", code=b"USEATTR")
            uses.append(_SPECIAL_USES[use])
        lexer.expect(b")")
    lexer.end()
    if mailbox.endswith(DELIMITER):
        mailbox = mailbox[:-1]
        if not mailbox:
            raise BadCommand(lexer.tag, b"Invalid mailbox name", status=b"NO", code=b"CANNOT")
    return t.Create(lexer.tag, mailbox, tuple(dict.fromkeys(uses)))


def _parse_rename(lexer: Lexer) -> t.Command:
    lexer.space()
    source = lexer.mailbox()
    lexer.space()
    target = lexer.mailbox()
    lexer.end()
    return t.Rename(lexer.tag, source, target)


def _status_items(lexer: Lexer) -> tuple[bytes, ...]:
    lexer.expect(b"(")
    items = [lexer.word()]
    while lexer.skip(b" "):
        items.append(lexer.word())
    lexer.expect(b")")
    return tuple(dict.fromkeys(items))


def _parse_status(lexer: Lexer) -> t.Command:
    lexer.space()
    mailbox = lexer.mailbox()
    lexer.space()
    items = _status_items(lexer)
    lexer.end()
    return t.Status(lexer.tag, mailbox, items)


_SELECT_OPTIONS = {
    b"SUBSCRIBED": t.ListSelect.SUBSCRIBED,
    b"REMOTE": t.ListSelect.REMOTE,
    b"RECURSIVEMATCH": t.ListSelect.RECURSIVE_MATCH,
    b"SPECIAL-USE": t.ListSelect.SPECIAL_USE,
}
_RETURN_OPTIONS = {
    b"SUBSCRIBED": t.ListReturn.SUBSCRIBED,
    b"CHILDREN": t.ListReturn.CHILDREN,
    b"SPECIAL-USE": t.ListReturn.SPECIAL_USE,
}


def _list_select(lexer: Lexer) -> t.ListSelect:
    """`(SUBSCRIBED RECURSIVEMATCH)`, RFC 5258 3.1."""
    selected = t.ListSelect.NONE
    first = True
    while not lexer.skip(b")"):
        if not first:
            lexer.space()
        first = False
        option = _SELECT_OPTIONS.get(lexer.word())
        if option is None:
            raise lexer.bad(b"Unknown selection option")
        selected |= option
    base = t.ListSelect.SUBSCRIBED | t.ListSelect.SPECIAL_USE
    if t.ListSelect.RECURSIVE_MATCH in selected and not selected & base:
        raise lexer.bad(b"RECURSIVEMATCH needs another option")
    return selected


def _list_return(lexer: Lexer) -> tuple[t.ListReturn, tuple[bytes, ...]]:
    """`(CHILDREN STATUS (MESSAGES))`, RFC 5258 3.2, RFC 5819."""
    returns = t.ListReturn.NONE
    status: tuple[bytes, ...] = ()
    first = True
    while not lexer.skip(b")"):
        if not first:
            lexer.space()
        first = False
        word = lexer.word()
        if word == b"STATUS":
            lexer.space()
            status = _status_items(lexer)
        elif word in _RETURN_OPTIONS:
            returns |= _RETURN_OPTIONS[word]
        else:
            raise lexer.bad(b"Unknown return option")
    return returns, status


def _parse_list(lexer: Lexer) -> t.Command:
    """RFC 9051 6.3.9."""
    lexer.space()
    select, returns = t.ListSelect.NONE, t.ListReturn.NONE
    status: tuple[bytes, ...] = ()
    extended = lexer.skip(b"(")
    if extended:
        select = _list_select(lexer)
        lexer.space()
    reference = lexer.reference()
    lexer.space()
    if lexer.skip(b"("):
        extended = True
        patterns = [lexer.list_mailbox()]
        while lexer.skip(b" "):
            patterns.append(lexer.list_mailbox())
        lexer.expect(b")")
    else:
        patterns = [lexer.list_mailbox()]
    if lexer.skip(b" "):
        if lexer.word() != b"RETURN":
            raise lexer.bad(b"Unexpected argument")
        lexer.expect(b" (")
        extended = True
        returns, status = _list_return(lexer)
    lexer.end()
    return t.List(lexer.tag, reference, tuple(patterns), select, returns, status, extended)


def _parse_lsub(lexer: Lexer) -> t.Command:
    lexer.space()
    reference = lexer.reference()
    lexer.space()
    pattern = lexer.list_mailbox()
    lexer.end()
    return t.Lsub(lexer.tag, reference, pattern)


def _parse_get_quota(lexer: Lexer) -> t.Command:
    """RFC 9208 4.1.1."""
    lexer.space()
    root = lexer.astring()
    lexer.end()
    return t.GetQuota(lexer.tag, root)


_COMMANDS: dict[bytes, _Parse] = {
    b"CAPABILITY": _bare(t.Capability),
    b"NOOP": _bare(t.Noop),
    b"LOGOUT": _bare(t.Logout),
    b"ID": _parse_id,
    b"STARTTLS": _bare(t.StartTls),
    b"AUTHENTICATE": _parse_authenticate,
    b"LOGIN": _parse_login,
    b"ENABLE": _parse_enable,
    b"NAMESPACE": _bare(t.Namespace),
    b"SELECT": _parse_open(t.Select),
    b"EXAMINE": _parse_open(t.Examine),
    b"CREATE": _parse_create,
    b"DELETE": _on_mailbox(t.Delete),
    b"RENAME": _parse_rename,
    b"SUBSCRIBE": _on_mailbox(t.Subscribe),
    b"UNSUBSCRIBE": _on_mailbox(t.Unsubscribe),
    b"LIST": _parse_list,
    b"LSUB": _parse_lsub,
    b"STATUS": _parse_status,
    b"APPEND": _parse_append_without_message,
    b"IDLE": _bare(t.Idle),
    b"GETMETADATA": parse_get_metadata,
    b"SETMETADATA": parse_set_metadata,
    b"GETQUOTA": _parse_get_quota,
    b"GETQUOTAROOT": _on_mailbox(t.GetQuotaRoot),
    b"CHECK": _bare(t.Check),
    b"CLOSE": _bare(t.Close),
    b"UNSELECT": _bare(t.Unselect),
    b"EXPUNGE": _bare(t.Expunge),
    b"FETCH": parse_fetch,
    b"STORE": parse_store,
    b"COPY": parse_copy,
    b"MOVE": parse_move,
    b"REPLACE": _parse_append_without_message,
    b"SEARCH": parse_search,
    b"NOTIFY": parse_notify,
    b"COMPRESS": _parse_compress,
    b"UNAUTHENTICATE": _bare(t.Unauthenticate),
    b"SORT": parse_sort,
    b"THREAD": parse_thread,
}

_UID_COMMANDS: dict[bytes, _Parse] = {
    b"FETCH": parse_uid_fetch,
    b"STORE": parse_uid_store,
    b"COPY": parse_uid_copy,
    b"MOVE": parse_uid_move,
    b"REPLACE": _parse_append_without_message,
    b"SEARCH": parse_uid_search,
    b"SORT": parse_uid_sort,
    b"THREAD": parse_uid_thread,
    b"EXPUNGE": parse_uid_expunge,
}
