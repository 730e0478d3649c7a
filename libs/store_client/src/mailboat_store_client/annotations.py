"""Annotations of mailboxes and accounts (RFC 5464): what may be set, and what a change makes of those there.

Names compare without case and are kept as first written. The store's implementations share these rules, so that one
can't admit what another refuses. `/private/specialuse` isn't kept as an annotation: it is the mailbox's special use
(RFC 6154 4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mailboat_common.errors import Refused, RefusedCode

from .types import SpecialUse

SPECIAL_USE = "/private/specialuse"

MAX_NAME = 255
MAX_VALUE = 32 * 1024
MAX_ENTRIES = 100
MAX_OCTETS = 256 * 1024
"""Names and values of one mailbox, or of the account itself."""
MAX_ACCOUNT_OCTETS = 8 * 1024 * 1024
"""Names and values of all mailboxes of an account, and its own."""

# RFC 5464 3.2: ASCII without controls, `*` and `%`; components are not empty; under vendor there are at least four.
_COMPONENT = r"/[\x20-\x24\x26-\x29\x2b-\x2e\x30-\x7e]+"
_ENTRY = re.compile(rf"/(?:private|shared)(?:(?!/vendor(?:/|\Z))(?:{_COMPONENT})+|/vendor(?:{_COMPONENT}){{2,}})", re.I)
_USES = {use.value.lower(): use for use in SpecialUse}


def is_entry(name: str) -> bool:
    """Whether an annotation can have this name."""
    return len(name) <= MAX_NAME and _ENTRY.fullmatch(name) is not None


def octets(entries: Mapping[str, bytes]) -> int:
    """What counts against the bounds."""
    return sum(len(name) + len(value) for name, value in entries.items())


def changed(entries: Mapping[str, bytes], values: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """The entries with `values` set, or removed where None. Refused INVALID (name), TOO_BIG (value), LIMIT (too many).

    What only becomes less is never refused, even beyond a bound.
    """
    spelling = {name.lower(): name for name in entries}
    out = dict(entries)
    for given, value in values.items():
        name = spelling.setdefault(given.lower(), given)
        if not is_entry(name):
            raise Refused(RefusedCode.INVALID, "Not a name for an annotation")
        if value is None:
            out.pop(name, None)
            continue
        if len(value) > MAX_VALUE:
            raise Refused(RefusedCode.TOO_BIG, "Value too large")
        out[name] = value
    if len(out) > max(MAX_ENTRIES, len(entries)) or octets(out) > max(MAX_OCTETS, octets(entries)):
        raise Refused(RefusedCode.LIMIT, "Too many annotations")
    return out


def split_use(values: Mapping[str, bytes | None]) -> tuple[dict[str, bytes | None], list[bytes | None]]:
    """The values apart from the special use, and the special use if it is among them (one item or none)."""
    rest = {name: value for name, value in values.items() if name.lower() != SPECIAL_USE}
    return rest, [value for name, value in values.items() if name.lower() == SPECIAL_USE]


def use_of(value: bytes | None) -> SpecialUse | None:
    """The special use that a value of SPECIAL_USE says. Refused SPECIAL_USE for none of ours, and for several."""
    if value is None:
        return None
    use = _USES.get(value.decode("ascii", "replace").lower())
    if use is None:
        raise Refused(RefusedCode.SPECIAL_USE, "Not a special use that can be had")
    return use
