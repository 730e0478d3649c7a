"""Signing messages, and verifying signatures (DKIM: RFC 6376, 8301, 8463).

A message is signed with all keys it is given, relaxed/relaxed, one DKIM-Signature field for each. Rules:
- From is always signed, and so is every other field that a reader sees or that changes what the body means;
- those among them that must be there at most once are oversigned: h= names them once more than the message has them, so
  that a second Subject or Content-Type added on the way breaks the signature (RFC 6376 8.15). What mailing lists add or
  set (Sender, List-*) is signed where it is there and never oversigned; trace fields and Return-Path are never signed;
- nothing expires (no x=) and the whole body is signed (no l=, RFC 6376 8.2);
- a signature is a function of message, keys and `at`: signing again gives the same octets.

Verifying asks `lookup` for key records and is bounded: the first `MAX_SIGNATURES` signatures are looked at.
"""

from __future__ import annotations

import base64
import binascii
import enum
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mailboat_mime.dkim_canonical import Field, Form, body_hash, signature_data, signed_data, signed_fields, split
from mailboat_mime.dkim_keys import Algorithm, RecordError, SigningKey, is_valid, parse_record, parse_tags

FIELD = b"dkim-signature"
MAX_SIGNATURES = 8
WIDTH = 72

_OVERSIGNED = (
    b"from", b"to", b"cc", b"reply-to", b"subject", b"date", b"message-id",
    b"mime-version", b"content-type", b"content-transfer-encoding",
)  # fmt: skip
_OVERSIGNED_IF_PRESENT = (b"in-reply-to", b"references", b"content-id", b"content-description", b"content-language")
_SIGNED = (
    b"sender", b"resent-date", b"resent-from", b"resent-sender", b"resent-to", b"resent-cc", b"resent-message-id",
    b"list-id", b"list-help", b"list-unsubscribe", b"list-unsubscribe-post", b"list-subscribe", b"list-post",
    b"list-owner", b"list-archive", b"autocrypt", b"auto-submitted", b"importance", b"priority",
)  # fmt: skip


def sign(message: bytes, keys: Sequence[SigningKey], at: int) -> bytes:
    """The fields to put in front of `message` (CRLF line ends), one for each key; nothing without keys.

    `at` in seconds since the epoch. Raises ValueError for a message without From, which no signature may vouch for.
    """
    if not keys:
        return b""
    fields, body = split(message)
    names = field_names(fields)
    digest = base64.b64encode(body_hash(body, Form.RELAXED)).decode("ascii")
    data = signed_fields(fields, names, Form.RELAXED)
    return b"".join([_signature(data, names, digest, key, at) for key in keys])


def field_names(fields: Sequence[Field]) -> list[bytes]:
    """The names for h=. Raises ValueError without From."""
    count = Counter(name for name, _raw in fields)
    if not count[b"from"]:
        raise ValueError("no From")
    names: list[bytes] = []
    for name in _OVERSIGNED:
        names += [name] * (count[name] + 1)
    for name in _OVERSIGNED_IF_PRESENT:
        names += [name] * (count[name] + 1 if count[name] else 0)
    for name in _SIGNED:
        names += [name] * count[name]
    return names


def _signature(data: bytes, names: Sequence[bytes], digest: str, key: SigningKey, at: int) -> bytes:
    """One field; `data` are the signed fields in canonical form."""
    tags = [
        "v=1;", f"a={key.algorithm.value};", "c=relaxed/relaxed;", f"d={key.domain};", f"s={key.selector};", f"t={at};",
        *_names_tag(names), f"bh={digest};", "b=",
    ]  # fmt: skip
    field = b"DKIM-Signature: " + _fold(tags)
    value = base64.b64encode(key.sign(data + signature_data(field, Form.RELAXED))).decode("ascii")
    lines = [value[start : start + WIDTH] for start in range(0, len(value), WIDTH)]
    return field + b"\r\n " + "\r\n ".join(lines).encode("ascii") + b"\r\n"


def _names_tag(names: Sequence[bytes]) -> list[str]:
    """h=, in pieces between which a line may be folded."""
    pieces = [name.decode("ascii") + ":" for name in names]
    pieces[0] = "h=" + pieces[0]
    pieces[-1] = pieces[-1].removesuffix(":") + ";"
    return pieces


def _fold(pieces: Sequence[str]) -> bytes:
    """The pieces with a space or a fold between them; inside h= there is none but a fold."""
    text, column = "", len("DKIM-Signature: ")
    for piece in pieces:
        gap = "" if not text or text.endswith(":") else " "
        if column + len(gap) + len(piece) > WIDTH and text:
            gap, column = "\r\n ", 0
        text += gap + piece
        column += len(gap) + len(piece)
    return text.encode("ascii")


class Verdict(enum.Enum):
    """What a signature is worth, in the words of Authentication-Results."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"  # it doesn't match the message
    NEUTRAL = "neutral"  # it can't be read
    PERMERROR = "permerror"  # its key can't be had, ever
    TEMPERROR = "temperror"  # its key can't be had at present


@dataclass(frozen=True, slots=True)
class Verified:
    """One signature's verdict; `reason` is a text of ours, "" for a pass."""

    verdict: Verdict
    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    reason: str = ""


class TemporaryLookupError(Exception):
    """`lookup` has got no answer that counts."""


Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""From a name to its TXT records, each with its strings joined; none: there are none. Raises TemporaryLookupError."""


async def verify(message: bytes, lookup: Lookup, now: int) -> list[Verified]:
    """What the message's signatures are worth, from the top down (RFC 6376 6.1). `now` in seconds since the epoch."""
    fields, body = split(message)
    signatures = [raw for name, raw in fields if name == FIELD][:MAX_SIGNATURES]
    bodies = _BodyHashes(body)
    return [await _verify_one(fields, bodies, raw, lookup, now) for raw in signatures]


class _BodyHashes:
    """The hash of one body in each form that is asked for."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._known: dict[Form, bytes] = {}

    def __getitem__(self, form: Form) -> bytes:
        if form not in self._known:
            self._known[form] = body_hash(self._body, form)
        return self._known[form]


async def _verify_one(fields: Sequence[Field], bodies: _BodyHashes, raw: bytes, lookup: Lookup, now: int) -> Verified:
    try:
        tags = parse_tags(raw.partition(b":")[2].decode("ascii"))
        _check_tags(tags, now)
        header_form, body_form = _forms(tags.get("c", "simple/simple"))
        signature, digest = (base64.b64decode("".join(tags[tag].split()), validate=True) for tag in ("b", "bh"))
    except (ValueError, binascii.Error, KeyError) as error:
        return Verified(Verdict.NEUTRAL, reason=_reason(error))
    domain, selector, algorithm = tags["d"].lower(), tags["s"], tags["a"]

    def verdict(verdict: Verdict, reason: str = "") -> Verified:
        return Verified(verdict, domain, selector, algorithm, reason)

    if bodies[body_form] != digest:
        return verdict(Verdict.FAIL, "the body was changed")
    try:
        records = await lookup(f"{selector}._domainkey.{domain}")
    except TemporaryLookupError:
        return verdict(Verdict.TEMPERROR, "the key can't be looked up at present")
    if len(records) != 1:
        return verdict(Verdict.PERMERROR, "several keys are published" if records else "no key is published")
    try:
        record = parse_record(records[0])
        public = record.public()
    except RecordError as error:
        return verdict(Verdict.PERMERROR, str(error))
    identity = tags.get("i", "@" + domain).rpartition("@")[2].lower()
    if record.algorithm.value != algorithm or (record.strict and identity != domain):
        return verdict(Verdict.PERMERROR, "the key isn't meant for this signature")
    names = [name.strip().lower().encode("ascii") for name in tags["h"].split(":")]
    others = [field for field in fields if field[1] is not raw]
    if not is_valid(public, signature, signed_data(others, names, raw, header_form)):
        return verdict(Verdict.FAIL, "the header was changed")
    return verdict(Verdict.PASS)


def _check_tags(tags: dict[str, str], now: int) -> None:
    """RFC 6376 6.1.1. Raises ValueError, KeyError."""
    domain = tags["d"].lower()
    names = [name.strip().lower() for name in tags["h"].split(":")]
    identity = tags.get("i", "@" + domain).rpartition("@")[2].lower()
    if tags["v"] != "1" or not domain or not tags["s"]:
        raise RecordError("it isn't a signature of version 1")
    if tags["a"] not in {algorithm.value for algorithm in Algorithm}:
        raise RecordError("its algorithm is unknown or given up (RFC 8301)")
    if "from" not in names:
        raise RecordError("it doesn't sign From")
    if identity != domain and not identity.endswith("." + domain):
        raise RecordError("i= isn't within d=")
    if "l" in tags:
        raise RecordError("it signs only a part of the body (l=)")
    if "x" in tags and int(tags["x"]) < now:
        raise RecordError("it has expired")


def _forms(text: str) -> tuple[Form, Form]:
    header, _, body = text.partition("/")
    return Form(header), Form(body or "simple")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, RecordError) else "it isn't of the form it should have"
