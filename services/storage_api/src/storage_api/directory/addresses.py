"""One form for every address, so that comparing is equality.

Local parts compare case-insensitively (RFC 5321 2.4 leaves that to the receiving host; every client expects it), in
NFC; domains as lower-case IDNA A-labels (RFC 5891). `user+tag@…` is `user@…` with a tag (RFC 5233).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import idna
from mailboat_common.errors import Refused, RefusedCode

MAX_LOCAL = 64
MAX_DOMAIN = 253
MAX_ADDRESS = 320
TAG = "+"
ROLES = frozenset({"postmaster", "abuse"})

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# RFC 5321 4.1.2 Dot-string, with RFC 6531's UTF-8.
_DOT_STRING = re.compile(r"[^\x00-\x20\x7f-\xa0()<>@,;:\\\".\[\]]+(\.[^\x00-\x20\x7f-\xa0()<>@,;:\\\".\[\]]+)*")
_QUOTED_PAIR = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Address:
    """A normalised address. `base` is the local part without its tag; `tag` "" for none."""

    local: str
    domain: str
    base: str
    tag: str

    @property
    def full(self) -> str:
        """With the tag."""
        return f"{self.local}@{self.domain}"

    @property
    def account(self) -> str:
        """Without the tag."""
        return f"{self.base}@{self.domain}"

    @property
    def is_role(self) -> bool:
        """postmaster or abuse: always accepted, never over quota (RFC 5321 4.5.1, RFC 2142)."""
        return self.base in ROLES


def normalise_domain(text: str) -> str | None:
    """The A-label form in lower case, without a trailing dot; None if it is no domain name (an address literal)."""
    text = text.removesuffix(".")
    if not text or len(text) > MAX_DOMAIN:
        return None
    if text.isascii():
        domain = text.lower()
    else:
        try:
            domain = idna.encode(text, uts46=True, transitional=False).decode("ascii").lower()
        except idna.IDNAError:
            return None
    labels = domain.split(".")
    if len(domain) > MAX_DOMAIN or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return domain


def parse(text: str) -> Address | None:
    """An address as it came in a command; None if it isn't one or its domain is no name. "postmaster" has no domain."""
    local, at, domain_text = text.rpartition("@")
    if not at or len(text) > 2 * MAX_ADDRESS:
        return None
    domain = normalise_domain(domain_text)
    if domain is None:
        return None
    if len(local) >= 2 and local[0] == local[-1] == '"':
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    if not _DOT_STRING.fullmatch(local) or len(local.encode("utf-8", "replace")) > MAX_LOCAL:
        return None
    local = unicodedata.normalize("NFC", local).casefold()
    base, _, tag = local.partition(TAG)
    if not base:
        base, tag = local, ""
    return Address(local, domain, base, tag)


def require(text: str) -> Address:
    """An address for a new account: normalised, without a tag. Refused INVALID."""
    address = parse(text)
    if address is None:
        raise Refused(RefusedCode.INVALID, "Not a mail address")
    if address.tag or TAG in address.local:
        raise Refused(RefusedCode.INVALID, "An account's address can't hold a plus tag")
    return address


def require_domain(text: str) -> str:
    """A domain to be added. Refused INVALID."""
    domain = normalise_domain(text)
    if domain is None or "." not in domain:
        raise Refused(RefusedCode.INVALID, "Not a domain name")
    return domain
