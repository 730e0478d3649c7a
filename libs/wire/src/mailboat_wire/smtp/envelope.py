"""The arguments of MAIL and RCPT: a path and ESMTP parameters.

RFC 5321 4.1.1.2, 4.1.1.3, 4.1.1.11; SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), AUTH (RFC 4954 5), RET,
ENVID, NOTIFY and ORCPT (RFC 3461), utf-8 address type (RFC 6533).

Rules: a parameter that isn't ours is 555, one that is wrong or given twice 501; texts are fixed, nothing of the
client's is repeated.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mailboat_wire.smtp.address import Address, parse_path
from mailboat_wire.smtp.errors import SmtpError

MAX_ENVID = 100  # RFC 3461 4.4, decoded
MAX_ORCPT = 500  # RFC 3461 4.2

_PARAM = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x7e\x80-\xff]+))?\Z")
_XTEXT = re.compile(rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_XCHAR = re.compile(rb"\+([0-9A-F]{2})")
_UTF8_CHAR = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_ADDRESS_TYPE = re.compile(rb"[A-Za-z0-9-]{1,32}")


class Body(enum.Enum):
    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"
    BINARY_MIME = "BINARYMIME"


class Ret(enum.Enum):
    FULL = "FULL"
    HDRS = "HDRS"


class Notify(enum.Flag):
    NEVER = 0
    SUCCESS = enum.auto()
    FAILURE = enum.auto()
    DELAY = enum.auto()


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """ORCPT: `kind` ("rfc822", "utf-8") in lower case, `address` decoded, `raw` to pass on."""

    kind: str
    address: str
    raw: str


@dataclass(frozen=True, slots=True)
class MailFrom:
    """MAIL FROM. `sender` is None for <>. `size` as declared, in bytes. `envid` decoded.

    `auth` is AUTH= decoded: "" for AUTH=<>, None if absent.
    """

    sender: Address | None
    size: int | None = None
    body: Body | None = None
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    auth: str | None = None


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT TO. `notify` is None if absent (RFC 3461 4.1: FAILURE, perhaps DELAY)."""

    recipient: Address
    notify: Notify | None = None
    orcpt: OriginalRecipient | None = None


def parse_mail(argument: bytes) -> MailFrom:
    """What follows `MAIL `: `FROM:<a@b> SIZE=1`. SmtpError if it is wrong."""
    path, params = _argument(argument, b"FROM:", "5.1.7")
    values = _values(params, _MAIL_PARAMS)
    mail = MailFrom(path, **values)
    if path is not None and not path.is_ascii and not mail.smtputf8:
        raise SmtpError(550, "5.6.7", "Address needs SMTPUTF8")
    return mail


def parse_rcpt(argument: bytes, *, smtputf8: bool = False) -> RcptTo:
    """What follows `RCPT `: `TO:<a@b> NOTIFY=NEVER`; `smtputf8` is the transaction's. SmtpError if it is wrong."""
    path, params = _argument(argument, b"TO:", "5.1.3")
    if path is None:
        raise SmtpError(501, "5.1.3", "Null recipient")
    if not path.is_ascii and not smtputf8:
        raise SmtpError(553, "5.6.7", "Address needs SMTPUTF8")
    values = _values(params, _RCPT_PARAMS)
    return RcptTo(path, **values)


def _argument(argument: bytes, keyword: bytes, enhanced: str) -> tuple[Address | None, bytes]:
    if argument[: len(keyword)].upper() != keyword:
        raise SmtpError(501, "5.5.4", f"Expected {keyword.decode('ascii')}<address>")
    # Not in the grammar, but `FROM: <a@b>` is common.
    try:
        path, rest = parse_path(argument[len(keyword) :].lstrip(b" "))
    except SmtpError as error:
        if error.enhanced == "5.1.3" and enhanced != error.enhanced:
            raise SmtpError(error.code, enhanced, error.text) from None
        raise
    if rest and not rest.startswith(b" "):
        raise SmtpError(501, "5.5.4", "Bad parameter syntax")
    return path, rest


_Reader = Callable[[bytes | None], object]


def _values(params: bytes, readers: dict[bytes, tuple[str, _Reader]]) -> dict[str, Any]:
    """The parameters by the field they fill."""
    values: dict[str, Any] = {}
    for word in params.split():
        found = _PARAM.match(word)
        if found is None:
            raise SmtpError(501, "5.5.4", "Bad parameter syntax")
        entry = readers.get(found[1].upper())
        if entry is None:
            raise SmtpError(555, "5.5.4", "Unsupported parameter")
        field, reader = entry
        if field in values:
            raise SmtpError(501, "5.5.4", "Parameter given twice")
        values[field] = reader(found[2])
    return values


def _bad(name: str) -> SmtpError:
    return SmtpError(501, "5.5.4", f"Bad {name} parameter")


def _size(value: bytes | None) -> int:
    if value is None or not value.isdigit() or len(value) > 20:
        raise _bad("SIZE")
    return int(value)


def _body(value: bytes | None) -> Body:
    try:
        return Body((value or b"").decode("ascii").upper())
    except ValueError:
        raise _bad("BODY") from None


def _smtputf8(value: bytes | None) -> bool:
    if value is not None:
        raise _bad("SMTPUTF8")
    return True


def _ret(value: bytes | None) -> Ret:
    try:
        return Ret((value or b"").decode("ascii").upper())
    except ValueError:
        raise _bad("RET") from None


def decode_xtext(value: bytes) -> str:
    """RFC 3461 4. ValueError if it isn't xtext of UTF-8."""
    if _XTEXT.fullmatch(value) is None:
        raise ValueError("not xtext")
    return _XCHAR.sub(lambda found: bytes([int(found[1], 16)]), value).decode("utf-8")


def encode_xtext(text: str) -> str:
    """The inverse of `decode_xtext`."""
    return "".join(
        chr(byte) if 33 <= byte <= 126 and byte not in b"+=" else f"+{byte:02X}" for byte in text.encode("utf-8")
    )


def _envid(value: bytes | None) -> str:
    try:
        decoded = decode_xtext(value or b"")
    except ValueError:
        raise _bad("ENVID") from None
    if not decoded or len(decoded) > MAX_ENVID or not decoded.isprintable() or not decoded.isascii():
        raise _bad("ENVID")
    return decoded


def _auth(value: bytes | None) -> str:
    if value is None:
        raise _bad("AUTH")
    if value == b"<>":
        return ""
    try:
        decoded = decode_xtext(value)
    except ValueError:
        raise _bad("AUTH") from None
    if not decoded.isprintable():
        raise _bad("AUTH")
    return decoded


def _notify(value: bytes | None) -> Notify:
    words = (value or b"").upper().split(b",")
    if words == [b"NEVER"]:
        return Notify.NEVER
    notify = Notify.NEVER
    for word in words:
        if word not in (b"SUCCESS", b"FAILURE", b"DELAY"):
            raise _bad("NOTIFY")
        notify |= Notify[word.decode("ascii")]
    return notify


def _orcpt(value: bytes | None) -> OriginalRecipient:
    kind, semicolon, address = (value or b"").partition(b";")
    if not semicolon or not address or len(address) > MAX_ORCPT or _ADDRESS_TYPE.fullmatch(kind) is None:
        raise _bad("ORCPT")
    name = kind.decode("ascii").lower()
    try:
        decoded = _decode_utf8_address(address) if name == "utf-8" else decode_xtext(address)
        raw = f"{name};{address.decode('utf-8')}"
    except (ValueError, OverflowError):
        raise _bad("ORCPT") from None
    if not decoded.isprintable():
        raise _bad("ORCPT")
    return OriginalRecipient(name, decoded, raw)


def _decode_utf8_address(value: bytes) -> str:
    """utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 3): characters may be written `\\x{3B1}`."""
    text = _UTF8_CHAR.sub(lambda found: chr(int(found[1], 16)), value.decode("utf-8"))
    text.encode("utf-8")  # no surrogates
    return text


_MAIL_PARAMS: dict[bytes, tuple[str, _Reader]] = {
    b"SIZE": ("size", _size),
    b"BODY": ("body", _body),
    b"SMTPUTF8": ("smtputf8", _smtputf8),
    b"RET": ("ret", _ret),
    b"ENVID": ("envid", _envid),
    b"AUTH": ("auth", _auth),
}
_RCPT_PARAMS: dict[bytes, tuple[str, _Reader]] = {b"NOTIFY": ("notify", _notify), b"ORCPT": ("orcpt", _orcpt)}
