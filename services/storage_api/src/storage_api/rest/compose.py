"""Messages made of JSON (RFC 5322, RFC 2045 to 2047, RFC 2231, RFC 6532), and raw ones made fit to be sent (RFC 6409).

Rules: what is given can't break out of its field; Bcc is in no header; the bodies are seven-bit, so that every server
takes them; SMTPUTF8 is needed only where a local part isn't ASCII. Refused INVALID for what can't be said in a message.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from mailboat_common.errors import Refused, RefusedCode
from mailboat_mime import count_received, first_value, header_block, iter_fields, parse_addresses, select_fields, unfold

from ..directory.addresses import parse
from .dsn import NO_WISHES, Dsn, notify_text, orcpt_text, ret_text
from .models_submit import AddressIn, Attachment, NewMessage, Party, RecipientIn

MAX_HEADER = 256 << 10
MAX_RECEIVED = 100

_NAME = re.compile(r"[!-9;-~]{1,76}")
_OURS = re.compile(
    r"(?i)from|to|cc|bcc|sender|reply-to|subject|date|message-id|in-reply-to|references|return-path|received|"
    r"mime-version|content-.*|resent-.*|dkim-signature|authentication-results|arc-.*|disposition-notification-to"
)
_MESSAGE_ID = re.compile(r"<[^\s<>@]{1,500}@[^\s<>@]{1,400}>")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message before our trace fields: its bytes, who sends it, who gets it, and whether it needs RFC 6531."""

    content: bytes
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    smtputf8: bool = False
    dsn: Dsn = NO_WISHES


def invalid(text: str) -> Refused:
    """What the client gave can't be."""
    return Refused(RefusedCode.INVALID, text)


def envelope_address(text: str) -> str:
    """An address as an envelope has it: its domain as A-labels, its local part as given. Refused INVALID."""
    parsed = parse(text)
    if parsed is None:
        raise invalid("Not a mail address")
    return f"{text.rpartition('@')[0]}@{parsed.domain}"


def compose(given: NewMessage, message_id: str, now: float) -> Outgoing:
    """The message that is asked for. CPU-bound when there are attachments."""
    sender = envelope_address(_text(given.from_))
    recipients = tuple(dict.fromkeys(envelope_address(_text(p)) for p in (*given.to, *given.cc, *given.bcc)))
    shown = [_text(p) for p in (given.from_, *given.to, *given.cc, *given.reply_to)]
    smtputf8 = not all(address.rpartition("@")[0].isascii() for address in (*shown, *recipients))
    message = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit", utf8=smtputf8))
    try:
        _header(message, given, message_id, now)
        _body(message, given)
        content = message.as_bytes()
    except (ValueError, TypeError, IndexError, LookupError) as error:  # what the library says of values it can't write
        raise Refused(RefusedCode.INVALID, "The message can't be written as it is given", repr(error)) from error
    if len(header_block(content[: MAX_HEADER + 4])) > MAX_HEADER:
        raise Refused(RefusedCode.TOO_BIG, f"A header has at most {MAX_HEADER} octets")
    return Outgoing(content, sender, recipients, message_id, smtputf8, _dsn(given))


def _dsn(given: NewMessage) -> Dsn:
    """What notices are asked for; of an address that is named twice, the first time counts."""
    wanted: dict[str, tuple[str, str]] = {}
    for one in (*given.to, *given.cc, *given.bcc):
        own = one if isinstance(one, RecipientIn) else None
        notify = notify_text(own.notify if own and own.notify else given.notify)
        wanted.setdefault(envelope_address(_text(one)), (notify, orcpt_text(own.orcpt if own else None)))
    return Dsn(ret_text(given.ret), given.envid or "", wanted)


def _header(message: EmailMessage, given: NewMessage, message_id: str, now: float) -> None:
    message["From"] = _shown(given.from_)
    for name, parties in (("To", given.to), ("Cc", given.cc), ("Reply-To", given.reply_to)):
        if parties:
            message[name] = tuple(map(_shown, parties))
    message["Subject"] = _line(given.subject)
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = message_id
    references = [_id(text) for text in given.references]
    if given.in_reply_to is not None:
        message["In-Reply-To"] = _id(given.in_reply_to)
        references = [*(text for text in references if text != given.in_reply_to), given.in_reply_to]
    if references:
        message["References"] = " ".join(references)
    for name, value in given.headers.items():
        if not _NAME.fullmatch(name) or _OURS.fullmatch(name):
            raise invalid("A further header field has no such name, or one that the message's other members set")
        message[name] = _line(value)


def _body(message: EmailMessage, given: NewMessage) -> None:
    if given.text is not None or given.html is None:
        message.set_content(given.text or "", charset="utf-8")
    if given.html is not None:
        if given.text is None:
            message.set_content(given.html, subtype="html", charset="utf-8")
        else:
            message.add_alternative(given.html, subtype="html", charset="utf-8")
    inline = [item for item in given.attachments if item.content_id is not None]
    if inline:
        html = message.get_body(("html",))
        if html is None:
            raise invalid("An attachment with a content_id needs an HTML text")
        for item in inline:
            kind, _, subtype = item.content_type.lower().partition("/")
            cid = f"<{item.content_id}>"
            html.add_related(_octets(item), kind, subtype, filename=item.filename, disposition="inline", cid=cid)
    for item in given.attachments:
        if item.content_id is None:
            kind, _, subtype = item.content_type.lower().partition("/")
            message.add_attachment(_octets(item), kind, subtype, filename=item.filename)


def _octets(item: Attachment) -> bytes:
    if item.content_type.lower().startswith(("multipart/", "message/")):
        raise invalid("An attachment can't be of type multipart or message")
    try:
        return b64decode(item.content, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("An attachment's content isn't base64") from None


def _text(party: Party) -> str:
    return party.address if isinstance(party, AddressIn) else party


def _shown(party: Party) -> Address:
    local, _, domain = envelope_address(_text(party)).rpartition("@")
    name = _line(party.name) if isinstance(party, AddressIn) else ""
    return Address(name, local, domain)


def _line(text: str) -> str:
    if any((c < " " and c != "\t") or "\x7f" <= c < "\xa0" or "\ud800" <= c < "\ue000" for c in text):
        raise invalid("A header field can't hold control characters")
    return text


def _id(text: str) -> str:
    if not _MESSAGE_ID.fullmatch(text) or not text.isascii():
        raise invalid("Not a Message-ID: <left@right>")
    return text


def prepare_raw(content: bytes, message_id: str, now: float) -> tuple[bytes, str, list[str]]:
    """A raw message made fit: (content, its Message-ID, the addresses of its From).

    Line ends become CRLF, Bcc goes, Date and Message-ID come where they are missing. Refused INVALID, TOO_BIG.
    """
    content = _BARE_LF.sub(b"\r\n", content)
    if b"\0" in content or _BARE_CR.search(content):
        raise invalid("A message can't hold NUL or a CR that ends no line")
    block = header_block(content[: MAX_HEADER + 4])
    if len(block) > MAX_HEADER:
        raise Refused(RefusedCode.TOO_BIG, f"A header has at most {MAX_HEADER} octets")
    if count_received(block) >= MAX_RECEIVED:
        raise invalid("Too many Received fields, the message is looping")
    senders = [
        f"{address.mailbox.decode('utf-8', 'replace')}@{address.host.decode('utf-8', 'replace')}"
        for name, _raw, value in iter_fields(block)
        if name.lower() == b"from"
        for address in parse_addresses(unfold(value))
        if address.mailbox and address.host
    ]
    if not senders:
        raise invalid("The message has no From address")
    kept = select_fields(block, (b"bcc", b"resent-bcc"), negate=True)
    added = b""
    if first_value(block, b"date") is None:
        added += f"Date: {format_datetime(datetime.fromtimestamp(now, UTC))}\r\n".encode()
    given = first_value(block, b"message-id")
    if given is None:
        added += f"Message-ID: {message_id}\r\n".encode()
    else:
        message_id = given.decode("utf-8", "replace")[:998]
    return added + kept + content[len(block) :], message_id, senders


def trace_fields(trace_id: str, reverse_path: str, hostname: str, now: float) -> bytes:
    """Return-Path and Received of a message that came by HTTP; where it came from is nobody's business."""
    date = format_datetime(datetime.fromtimestamp(now, UTC))
    return (
        f"Return-Path: <{reverse_path}>\r\nReceived: by {hostname} with HTTP\r\n\tid {trace_id};\r\n\t{date}\r\n"
    ).encode()
