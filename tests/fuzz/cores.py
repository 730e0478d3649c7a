"""What must hold of each core for any octets. Used by the random runs, by hypothesis and by atheris.

Rules: nothing leaves a core but its protocol's error type; input whole, in pieces or octet by octet gives the same;
what a core keeps stays within the bounds it states; what it says is whole lines of printable text.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable

from mailboat_mime import (
    Part,
    SortKeys,
    body,
    bodystructure,
    count_received,
    decode_words,
    envelope,
    header_block,
    iter_fields,
    parse_addresses,
    preview,
    references,
    resolve,
    scan,
    select_fields,
    sent_date,
    text_of,
    thread_id,
    transfer_decoder,
    unfold,
    without_nul,
)
from mailboat_mime.strings import FIELD_LIMIT
from mailboat_wire import sasl
from mailboat_wire.imap import (
    AppendEnd,
    AppendFrame,
    BadCommand,
    ContinuationLine,
    Event,
    Fault,
    Frame,
    ImapReceiver,
    Limits,
    LiteralChunk,
    check_append_end,
    parse_append,
    parse_command,
)
from mailboat_wire.imap import types as t
from mailboat_wire.pop3 import BadCommand as BadPop3Command
from mailboat_wire.pop3 import Fault as Pop3Fault
from mailboat_wire.pop3 import Pop3Receiver
from mailboat_wire.pop3 import parse_command as parse_pop3_command
from mailboat_wire.smtp import (
    DataReader,
    LineEndCheck,
    ReplyError,
    ReplyReader,
    SmtpError,
    parse_extensions,
    parse_mail,
    parse_rcpt,
)

from tests.support import bodygrammar

Pieces = Iterable[bytes]
# A refused line without end is told of once or in two faults, as it comes: nothing is dropped for good here.
IMAP_LIMITS = Limits(line=4000, literal=2000, literals=4000, append=50_000, discard=1 << 40, buffered=8000)


def line_of(response: bytes) -> None:
    """A response is one line, or several whole ones, and holds nothing of Python's."""
    assert response.endswith(b"\r\n"), response
    assert b"\n" not in response.replace(b"\r\n", b""), response
    assert b"\0" not in response, response


def imap_command(event: Event, appended: t.AppendMessage | None) -> t.AppendMessage | None:
    """The event's grammar: a command or BadCommand, with and without UTF-8. The message of an APPEND, if it is one."""
    for utf8 in (False, True):
        try:
            match event:
                case Frame():
                    assert isinstance(parse_command(event, utf8=utf8), t.Command)
                case AppendFrame():
                    appended = parse_append(event, appended, utf8=utf8).message
                case AppendEnd():
                    check_append_end(event, appended)
        except BadCommand as wrong:
            line_of(wrong.response())
    return appended


def imap(pieces: Pieces, limits: Limits = IMAP_LIMITS) -> list[object]:
    """The events of an IMAP session that takes every message and expects a line behind IDLE and AUTHENTICATE."""
    receiver, seen, message, dead = ImapReceiver(limits), list[object](), b"", False
    appended: t.AppendMessage | None = None
    for piece in pieces:
        receiver.receive_data(piece)
        while (event := receiver.next_event()) is not None:
            assert not dead, "an event after the end"
            appended = imap_command(event, appended if isinstance(event, AppendFrame | AppendEnd) else None)
            if isinstance(event, AppendFrame):
                receiver.accept_literal()
            elif isinstance(event, Fault):
                line_of(event.response)
                dead = event.fatal
                message = b""
            elif isinstance(event, Frame):
                assert len(event.texts) == len(event.literals) + 1
                if event.texts[0][len(event.tag) :].strip().upper().startswith((b"IDLE", b"AUTHENTICATE")):
                    receiver.expect_line()
            elif isinstance(event, LiteralChunk):
                message += event.data
                if not event.last:
                    continue
                seen.append(message)
                message = b""
                continue
            else:
                assert not isinstance(event, ContinuationLine) or receiver.between_commands
            seen.append(event)
        assert receiver.buffered <= limits.line + len(piece) + max(limits.literal, 2), "more is kept than allowed"
    return seen


def pop3(pieces: Pieces) -> list[object]:
    """The lines and faults of a POP3 session, each line parsed."""
    receiver, seen = Pop3Receiver(), list[object]()
    for piece in pieces:
        receiver.receive_data(piece)
        while (event := receiver.next_line()) is not None:
            seen.append(event)
            if isinstance(event, Pop3Fault):
                line_of(event.response)
                continue
            try:
                parse_pop3_command(event.data)
            except BadPop3Command as wrong:
                line_of(wrong.response())
        assert receiver.wants_data
    return seen


def smtp_data(pieces: Pieces) -> list[object]:
    """What DATA gives: the octets, whether it ended, its fault, and what is left for commands."""
    reader, checked = DataReader(10_000), LineEndCheck()
    taken = b""
    for piece in pieces:
        checked.feed(piece)
        taken += reader.feed(piece)
    if reader.fault is not None:
        taken = b""  # thrown away; how much had been given out depends on the pieces
    return [taken, reader.done, reader.fault, reader.rest if reader.done else b"", checked.finish()]


def smtp_replies(pieces: Pieces) -> list[object]:
    """The replies a server's octets make to us as a client."""
    reader, seen = ReplyReader(), list[object]()
    try:
        for piece in pieces:
            for reply in reader.feed(piece):
                seen.append(reply)
                assert reply.status
                assert str(reply).isprintable()
                parse_extensions(reply.lines)
    except ReplyError as error:
        return [*seen, *error.before, error.text]
    return seen


def smtp_arguments(data: bytes) -> None:
    """MAIL, RCPT and SASL with any argument: a value or the error."""
    for parse in (parse_mail, parse_rcpt, lambda argument: parse_rcpt(argument, smtputf8=True)):
        try:
            parse(data)
        except SmtpError as error:
            assert error.code in range(500, 600) or error.code == 452
            line_of(error.reply().encode() + b"\r\n")
    for mechanism in sasl.MECHANISMS:
        for lines in ([data], [None, data, data], [binascii.b2a_base64(data, newline=False)] * 2):
            exchange = sasl.start(mechanism)
            assert exchange is not None
            try:
                for line in lines:
                    if isinstance(exchange.step(line), sasl.Credentials):
                        break
            except sasl.SaslError:
                continue


STREAMS: dict[str, Callable[[Pieces], list[object]]] = {
    "imap": imap,
    "pop3": pop3,
    "smtp_data": smtp_data,
    "smtp_replies": smtp_replies,
}


def _same(core: Callable[[Pieces], list[object]], data: bytes, cut: Pieces) -> None:
    """Whole, in the given pieces and octet by octet."""
    whole = core([data])
    assert core(cut) == whole, "pieces give something else"
    if len(data) <= 20_000:
        assert core([data[n : n + 1] for n in range(len(data))]) == whole, "octet by octet gives something else"


def streams(name: str, data: bytes, cut: Pieces) -> None:
    """One core, however the octets come."""
    _same(STREAMS[name], data, cut)


def message(content: bytes, cut: Pieces) -> Part:
    """Everything that is shown of a message: never an error, within its bounds, in the grammar, octets that exist."""
    part = scan(content)
    assert Part.from_bytes(part.to_bytes()) == part
    block = header_block(content)
    assert content.startswith(block)
    bodygrammar.envelope(envelope(block))
    envelope(block, utf8=True)
    shown = bodystructure(part, content), body(part, content)
    assert max(map(len, shown)) <= FIELD_LIMIT
    for path, _told in bodygrammar.structure(shown[0]).sections():
        start, end = resolve(part, path) or (-1, -1)
        assert 0 <= start <= end <= len(content), path
    for _name, _value, _raw in iter_fields(block):
        pass
    assert len(select_fields(block, [b"subject", b"to"])) <= len(block) + 2
    assert count_received(block) >= 0
    sent_date(block), thread_id(block), references(block), SortKeys.of(block)
    for value in (block, unfold(block)):
        list(parse_addresses(value))
        decode_words(value).encode("utf-8")
    text_of(part, content).encode("utf-8")
    assert len(preview(part, content)) <= 200
    cleaned = without_nul(content)
    assert cleaned is None or b"\0" not in cleaned
    pieces = list(cut)
    for encoding in (b"base64", b"quoted-printable"):
        decoders = [transfer_decoder(encoding), transfer_decoder(encoding)]
        whole, cut_up = (one for one in decoders if one is not None)
        decoded = whole.feed(content) + whole.finish()
        assert b"".join([*map(cut_up.feed, pieces), cut_up.finish()]) == decoded
        assert len(decoded) <= len(content)
    return part
