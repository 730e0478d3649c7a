"""The sender rewriting scheme: reverse-paths of forwarded mail that come back to us.

What we forward is sent from our address, so the next server's SPF check must find a domain of ours in the reverse-path.
`SRS0=hash=day=domain=local@ours` is the original sender in such a form; a sender that another forwarder has rewritten
already becomes `SRS1=hash=forwarder=rest@ours`, so that a chain of forwarders doesn't grow the address at each hop. A
bounce to one of them goes on to whom it names: only with our hash, only within its days, and only if it is a bounce.

Hash: 6 characters of base32 of an HMAC-SHA256; without regard to case, which servers on the way may change. A local
part over 64 octets (RFC 5321 4.5.3.1.1) isn't made: then the forwarder's own address is the reverse-path.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

VALID_DAYS = 21  # our queue and the next server's, each five days, and some patience
DAY_MS = 86_400_000
MAX_LOCAL = 64
_DAYS = 1024
_HASH = 6
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_SRS = re.compile(r"srs[01][=+-]", re.IGNORECASE)
_SENDER = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+")


def is_srs(address: str) -> bool:
    """Whether an address has the form of a rewritten one, whoever rewrote it."""
    return _SRS.match(address) is not None


class Srs:
    """`keys`: newest first; the first one signs, all of them are believed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def rewrite(self, sender: str, domain: str, now: int) -> str | None:
        """The reverse-path at `domain` for mail from `sender`; None if there is none that fits. `now` in ms."""
        if not _SENDER.fullmatch(sender):
            return None
        local, _, host = sender.rpartition("@")
        if not is_srs(local):
            day = _day(now)
            rewritten = f"SRS0={self._sign(self._keys[0], '0', day, host, local)}={day}={host}={local}"
        else:
            first, rest = (host, local[4:]) if local[3] == "0" else _first_and_rest(local)
            if not first or not rest:
                return None
            rewritten = f"SRS1={self._sign(self._keys[0], '1', first, rest)}={first}={rest}"
        return f"{rewritten}@{domain}" if len(rewritten) <= MAX_LOCAL else None

    def reverse(self, address: str, now: int) -> str | None:
        """Whom a bounce to an address of ours goes on to; None if it isn't ours, was changed, or is too old."""
        local = address.rpartition("@")[0]
        if not is_srs(local):
            return None
        if local[3] == "1":
            hashed, _, _ = local[5:].partition("=")
            first, rest = _first_and_rest(local)
            found = f"SRS0{rest}@{first}"
            valid = bool(first) and len(rest) > 1 and self._signed(hashed, "1", first, rest)
        else:
            fields = local[5:].split("=", 3)
            if len(fields) != 4:
                return None
            hashed, day, host, name = fields
            found = f"{name}@{host}"
            valid = _in_time(day, now) and self._signed(hashed, "0", day, host, name)
        return found if valid and _SENDER.fullmatch(found) else None

    def _signed(self, hashed: str, *fields: str) -> bool:
        given = hashed.lower().encode("utf-8", "replace")
        return any(hmac.compare_digest(given, self._sign(key, *fields).encode()) for key in self._keys)

    def _sign(self, key: bytes, *fields: str) -> str:
        digest = hmac.digest(key, "\0".join(fields).lower().encode(), hashlib.sha256)
        return base64.b32encode(digest).decode()[:_HASH].lower()


def _first_and_rest(local: str) -> tuple[str, str]:
    """(first forwarder, what stood behind its "SRS0", with its separator) of "SRS1=hash=first=rest"."""
    _, _, behind = local[5:].partition("=")
    first, _, rest = behind.partition("=")
    return first, rest


def _day(now: int) -> str:
    number = now // DAY_MS % _DAYS
    return _BASE32[number >> 5] + _BASE32[number & 31]


def _in_time(day: str, now: int) -> bool:
    if len(day) != 2 or not set(day.lower()) <= set(_BASE32):
        return False
    high, low = (_BASE32.index(character) for character in day.lower())
    age = (now // DAY_MS - (high << 5) - low) % _DAYS
    return age <= VALID_DAYS or age == _DAYS - 1  # another process's clock may be past midnight already
