"""Mailbox addresses as SMTP writes them: paths, quoted local parts, address literals, internationalised ones.

RFC 5321 4.1.2 and 4.1.3, RFC 6531 (SMTPUTF8), RFC 3490 (IDNA, as the standard library has it), RFC 5233 (subaddress).

Rules: an Address has one form: the local part unquoted, the domain in lower case and A-labels, so equal addresses
compare equal.
Plain addresses take one regular expression; everything else the slow path. Source routes are read and ignored (RFC
5321 C).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass

from mailboat_wire.smtp.errors import SmtpError

MAX_LOCAL = 255  # RFC 5321 asks for 64 at least; bounce addresses (VERP) of large senders are longer
MAX_DOMAIN = 253
MAX_PATH = 1024  # with its source route

_ATEXT = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_LABEL = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_PLAIN = re.compile(rb"<([%b]+(?:\.[%b]+)*)@(%b(?:\.%b)*)>" % (_ATEXT, _ATEXT, _LABEL, _LABEL))
_ROUTE = re.compile(rb"@[^:<>,\"\s]+(?:,@[^:<>,\"\s]+)*:")
_ATEXT_UTF8 = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_DOT_STRING = re.compile(rf"{_ATEXT_UTF8}(?:\.{_ATEXT_UTF8})*")
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x1f\x7f-\x9f\u2028\u2029]|\\[\x20-\x7e])*)"')
_ESCAPED = re.compile(r"\\(.)")
_ASCII_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_CONTROL = re.compile("[\x00-\x20\x7f-\x9f\xa0\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Address:
    """`local` as meant (quotes removed), `domain` normalised: "" for a bare <postmaster>, "[192.0.2.1]" for a
    literal."""

    local: str
    domain: str

    def __str__(self) -> str:
        """The address as SMTP writes it, without angle brackets; the local part quoted if it must be."""
        local = self.local
        if not _is_dot_string(local):
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def is_ascii(self) -> bool:
        """False if it can only be sent with SMTPUTF8."""
        return self.local.isascii()

    @property
    def is_literal(self) -> bool:
        return self.domain.startswith("[")

    def folded(self) -> str:
        """The form under which a directory finds it: local part NFC and lower case."""
        return f"{unicodedata.normalize('NFC', self.local).lower()}@{self.domain}"

    def split_tag(self, separator: str = "+") -> tuple[str, str | None]:
        """(user, detail) of the local part, RFC 5233: `a+b+c` is ("a", "b+c"); (local, None) without a detail or a
        user."""
        user, found, detail = self.local.partition(separator)
        return (user, detail) if found and user else (self.local, None)


def _is_dot_string(local: str) -> bool:
    """Whether `local` needs no quotes."""
    return _DOT_STRING.fullmatch(local) is not None and _CONTROL.search(local) is None


def normalise_domain(domain: str) -> str:
    """Lower case, A-labels; an address literal in its shortest form. ValueError if it is no domain."""
    if domain.startswith("["):
        return _normalise_literal(domain)
    if not domain or len(domain) > MAX_DOMAIN:
        raise ValueError("no domain")
    lowered = domain.lower() if domain.isascii() else domain.encode("idna").decode("ascii").lower()
    if len(lowered) > MAX_DOMAIN or not all(_ASCII_LABEL.fullmatch(label) for label in lowered.split(".")):
        raise ValueError("no domain")
    return lowered


def _normalise_literal(literal: str) -> str:
    if not literal.endswith("]") or "%" in literal:
        raise ValueError("no address literal")
    inner = literal[1:-1]
    if inner[:5].upper() == "IPV6:":
        return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
    return f"[{ipaddress.IPv4Address(inner)}]"


def domain_to_unicode(domain: str) -> str:
    """U-labels for people to read; a label that doesn't decode stays as it is."""
    return ".".join(_label_to_unicode(label) for label in domain.split("."))


def _label_to_unicode(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label.encode("ascii").decode("idna")
    except UnicodeError:
        return label


def parse_address(text: str) -> Address:
    """`local@domain` without brackets. ValueError if it isn't an address."""
    quoted = _QUOTED.match(text)
    if quoted is not None:
        local, rest = _ESCAPED.sub(r"\1", quoted[1]), text[quoted.end() :]
    else:
        cut = text.rfind("@")
        local, rest = (text[:cut], text[cut:]) if cut >= 0 else (text, "")
        if not _is_dot_string(local):
            raise ValueError("no local part")
    if not local or not rest.startswith("@") or len(local.encode("utf-8")) > MAX_LOCAL:
        raise ValueError("no address")
    return Address(unicodedata.normalize("NFC", local), normalise_domain(rest[1:]))


def parse_path(text: bytes) -> tuple[Address | None, bytes]:
    """Read `<path>` at the start of `text`: (address, what follows it); None for `<>`. SmtpError if it isn't a path.

    Both reverse-path and forward-path; a path without domain is only <postmaster>, given with domain "". UTF-8 is read
    always: whether it is allowed depends on a parameter that follows (see `envelope`).
    """
    plain = _PLAIN.match(text)
    if plain is not None and len(plain[1]) <= MAX_LOCAL and len(plain[2]) <= MAX_DOMAIN:
        return Address(plain[1].decode("ascii"), plain[2].decode("ascii").lower()), text[plain.end() :]
    if not text.startswith(b"<"):
        raise SmtpError(501, "5.5.2", "Address must be in angle brackets")
    end = _path_end(text)
    inner = text[1:end]
    if not inner:
        return None, text[end + 1 :]
    route = _ROUTE.match(inner)
    if route is not None:
        inner = inner[route.end() :]
    if inner.lower() == b"postmaster":
        return Address("postmaster", ""), text[end + 1 :]
    try:
        return parse_address(inner.decode("utf-8")), text[end + 1 :]
    except ValueError:  # of UTF-8, IDNA and IP addresses as well
        raise SmtpError(501, "5.1.3", "Bad address syntax") from None


def _path_end(text: bytes) -> int:
    """Where the path's `>` is, quoted strings skipped."""
    quoted = False
    place = 1
    while place < min(len(text), MAX_PATH):
        byte = text[place]
        if byte == 0x5C and quoted:
            place += 1
        elif byte == 0x22:
            quoted = not quoted
        elif byte == 0x3E and not quoted:
            return place
        place += 1
    raise SmtpError(501, "5.1.3", "Bad address syntax")
