"""Delivery status notifications as messages: multipart/report with three parts (RFC 3464, RFC 6522, RFC 6533).

    notice = write(plan, hostname="mail.example.com", notice_id=trace_id(), now=ms)
    notice.content                      # CRLF line ends, ready to be filed or queued; MAIL FROM:<>

Rules:

- Remote servers' words come from strangers: whatever isn't printable is made harmless before it reaches a field, every
  field is folded, every text has a bound. No input makes a line over 998 octets, a bare CR or LF, or another field.
- Everything is 7-bit, but for a returned message (RET=FULL) that is 8-bit itself, and for reports to an address that
  needs SMTPUTF8, whose way can carry 8 bits (RFC 6533 3 wants them then).
- The header of the message comes back; the whole message only for a failure, only if RET=FULL was asked for and it is
  small (RFC 3461 4.3).
"""

from __future__ import annotations

import re
import textwrap
from binascii import b2a_qp
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from mailboat_mime import first_value, header_block, iter_fields

from .notice_text import plain, subject_of, text_of
from .notices import LIFETIME_STATUS, Action, NoticeKind, Plan, Told

MAX_HEADER = 32 << 10
MAX_RETURNED = 64 << 10
MAX_LINE = 998
_MAX_DIAGNOSTICS = 128 << 10  # of all recipients together
_FOLD_AT = 76

_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UTF8_CHAR = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_MESSAGE_ID = re.compile(rb"<[!-;=?-~]{3,250}>")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")


@dataclass(frozen=True, slots=True)
class Notice:
    """A message for `recipient` with the null reverse-path. `trace_id` is its own; `about` the original's.

    `smtputf8`: only a way with RFC 6531 can carry it.
    """

    kind: NoticeKind
    trace_id: str
    about: str
    recipient: str
    content: bytes
    smtputf8: bool = False


def write(plan: Plan, *, hostname: str, notice_id: str, now: int) -> Notice:
    """Write a notice. `notice_id` becomes its trace id and Message-ID; `now` in ms since the epoch."""
    international = _international(plan)
    smtputf8 = not plan.message.reverse_path.isascii()
    parts = [
        _text_part(text_of(plan, hostname)),
        _status_part(plan, hostname, international=international, eight_bit=smtputf8),
        _returned_part(plan, international=international),
    ]
    boundary = b"=_" + notice_id.encode()
    while any(boundary in part for part in parts):
        boundary += b"_"
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    header = _header(plan, hostname, notice_id, now, boundary.decode())
    content = header + b"\r\n" + body + b"--" + boundary + b"--\r\n"
    return Notice(plan.kind, notice_id, plan.message.trace_id, plan.message.reverse_path, content, smtputf8)


def _header(plan: Plan, hostname: str, notice_id: str, now: int, boundary: str) -> bytes:
    fields = [
        f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>",
        f"To: <{plain(plan.message.reverse_path, 400)}>",
        f"Subject: {subject_of(plan)}",
        f"Date: {_date(now)}",
        f"Message-ID: <{notice_id}@{hostname}>",
    ]
    original = first_value(plan.message.header, b"Message-ID")
    if original is not None and _MESSAGE_ID.fullmatch(original):
        fields += [f"In-Reply-To: {original.decode()}", f"References: {original.decode()}"]
    fields += [
        "Auto-Submitted: auto-replied",  # RFC 3834 5.1
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    return "".join(field + "\r\n" for field in fields).encode()


# The three parts


def _text_part(text: str) -> bytes:
    head = b"Content-Description: Notification\r\n"
    if text.isascii():
        return head + b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.replace("\n", "\r\n").encode()
    head += b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head + _quoted(text.replace("\n", "\r\n").encode())


def _status_part(plan: Plan, hostname: str, *, international: bool, eight_bit: bool) -> bytes:
    blocks = [_message_fields(plan, hostname)]
    limit = max(200, min(2000, _MAX_DIAGNOSTICS // len(plan.told)))
    blocks += [_recipient_fields(plan, told, limit, international=international) for told in plan.told]
    data = "\r\n".join("".join(f"{line}\r\n" for line in block) for block in blocks).encode()
    head = b"Content-Description: Delivery report\r\n"
    if not international:
        return head + b"Content-Type: message/delivery-status\r\n\r\n" + data
    head += b"Content-Type: message/global-delivery-status\r\n"
    if eight_bit:
        return head + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + data
    return head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + _quoted(data)


def _returned_part(plan: Plan, *, international: bool) -> bytes:
    content = plan.message.content
    whole = plan.kind is NoticeKind.FAILURE and plan.message.ret == "FULL" and content is not None
    if whole and content is not None and len(content) <= MAX_RETURNED and _carries(content):
        head = b"Content-Description: Undelivered message\r\n"
        utf8_header = not header_block(content).isascii()
        head += b"Content-Type: message/global\r\n" if utf8_header else b"Content-Type: message/rfc822\r\n"
        if not content.isascii():
            head += b"Content-Transfer-Encoding: 8bit\r\n"
        return head + b"\r\n" + content
    data = _bounded_header(plan.message.header)
    head = b"Content-Description: Header of the message\r\n"
    if not data.isascii() and international and _is_utf8(data):
        head += b"Content-Type: message/global-headers\r\n"
    else:
        head += b"Content-Type: text/rfc822-headers\r\n"
    if data.isascii() and _carries(data):
        return head + b"\r\n" + data
    return head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + _quoted(data)


def _message_fields(plan: Plan, hostname: str) -> list[str]:
    """RFC 3464 2.2."""
    fields = [_field("Reporting-MTA", f"dns; {hostname}")]
    if plan.message.envid:
        fields.append(_field("Original-Envelope-Id", _ascii(plan.message.envid, 100)))
    fields.append(_field("Arrival-Date", _date(plan.message.created_at)))
    fields.append(_field("X-Mailboat-Trace-ID", plan.message.trace_id))
    return fields


def _recipient_fields(plan: Plan, told: Told, limit: int, *, international: bool) -> list[str]:
    """RFC 3464 2.3."""
    recipient = told.recipient
    clean = plain if international else _ascii
    fields = []
    if recipient.orcpt:
        fields.append(_field("Original-Recipient", _original(recipient.orcpt, international=international)))
    kind = "rfc822" if recipient.address.isascii() else "utf-8"
    fields.append(_field("Final-Recipient", f"{kind}; {clean(recipient.address, 400)}"))
    fields.append(_field("Action", told.action.value))
    fields.append(_field("Status", _status(told)))
    host = recipient.host.partition(" ")[0]
    if _HOST.fullmatch(host):
        fields.append(_field("Remote-MTA", f"dns; {host}"))
    if recipient.reply:
        fields.append(_field("Diagnostic-Code", f"smtp; {clean(recipient.reply, limit)}"))
    elif recipient.reason:
        fields.append(_field("Diagnostic-Code", f"X-Mailboat; {clean(recipient.reason, limit)}"))
    if recipient.at:
        fields.append(_field("Last-Attempt-Date", _date(recipient.at)))
    if told.action is Action.DELAYED:
        fields.append(_field("Will-Retry-Until", _date(plan.message.expires_at)))
    return fields


# Values


def _status(told: Told) -> str:
    """A code that agrees with the action: what expired keeps the code of its last attempt (RFC 3463 3.5, X.4.7)."""
    status = told.status if _STATUS.fullmatch(told.status) else ""
    if told.action is Action.FAILED:
        if told.recipient.expired:
            return status if status[:1] == "4" else LIFETIME_STATUS
        return status if status[:1] == "5" else "5.0.0"
    first = "4" if told.action is Action.DELAYED else "2"
    return status if status[:1] == first else f"{first}.0.0"


def _original(orcpt: str, *, international: bool) -> str:
    """ORCPT as it was given, decoded (RFC 3461 4.2, RFC 6533 3)."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8":
        octets = _XTEXT.sub(lambda found: chr(int(found[1], 16)), address).encode("latin-1", "replace")
        return f"{_ascii(kind, 32)}; {_ascii(octets.decode('utf-8', 'replace'), 500)}"
    if international:
        return f"utf-8; {plain(_utf8_address(address), 500)}"
    return f"utf-8; {_ascii(address, 500)}"


def _utf8_address(text: str) -> str:
    def char(found: re.Match[str]) -> str:
        code = int(found[1], 16)
        return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "?"

    return _UTF8_CHAR.sub(char, text)


def _international(plan: Plan) -> bool:
    """Whether the report needs RFC 6533's types: an address in it isn't ASCII."""
    addresses = [told.recipient.address for told in plan.told]
    addresses += [_utf8_address(told.recipient.orcpt) for told in plan.told]
    return not all(address.isascii() for address in addresses)


def _ascii(text: str, limit: int) -> str:
    r"""One printable ASCII line; what is more is written as RFC 6533 does, `\x{E9}`."""
    line = plain(text, limit)
    if line.isascii():
        return line
    line = line.replace("…", "...") if line.endswith("…") and not text.endswith("…") else line
    return "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in line)


def _field(name: str, value: str) -> str:
    """A field folded at spaces (RFC 5322 2.2.3); a word no line can hold is cut into several."""
    if len(name) + 2 + len(value) <= _FOLD_AT:
        return f"{name}: {value}"
    lines = textwrap.wrap(
        value, _FOLD_AT, initial_indent=f"{name}: ", subsequent_indent="    ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    cut = [piece for line in lines for piece in _cut(line)]
    return "\r\n".join(cut)


def _cut(line: str) -> list[str]:
    """An overlong line in pieces of at most 240 characters (960 octets), the later ones as continuations."""
    if len(line) <= 240:
        return [line]
    return [line[:240], *(f"    {line[start : start + 230]}" for start in range(240, len(line), 230))]


def _bounded_header(header: bytes) -> bytes:
    """The header block with CRLF line ends, cut between fields if it is long, without its blank line."""
    out: list[bytes] = []
    size = 0
    for _, raw, _ in iter_fields(header):
        size += len(raw)
        if size > MAX_HEADER:
            break
        out.append(raw if raw.endswith(b"\n") else raw + b"\r\n")
    return re.sub(rb"\r?\n", b"\r\n", b"".join(out))


def _carries(data: bytes) -> bool:
    """Whether data can stand in a message as it is: CRLF line ends only, no NUL, no line over the limit."""
    bare = data.replace(b"\r\n", b"")
    if b"\r" in bare or b"\n" in bare or b"\0" in bare:
        return False
    return all(len(line) <= MAX_LINE for line in data.split(b"\r\n"))


def _quoted(data: bytes) -> bytes:
    """Quoted-printable (RFC 2045 6.7); a CR or LF that ends no line is encoded."""
    lines = [b2a_qp(line, istext=False).replace(b"\n", b"\r\n") for line in data.split(b"\r\n")]
    return b"\r\n".join(lines)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _date(ms: int) -> str:
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC))
