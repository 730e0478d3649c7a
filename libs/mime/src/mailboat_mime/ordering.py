"""What SORT and THREAD compare of a message, worked out once when it arrives (RFC 5256, RFC 5957).

    keys = SortKeys.of(header_block(message))
    SortKeys.from_bytes(keys.to_bytes()) == keys       # some 120 octets, kept beside the body

Texts are already in the form that compares by octets (`collation`); ids of messages are numbers, hashes of their
normalised form: 64 bits of them, so that a thread of 100,000 messages is numbers in a dict. Two ids that share a number
by chance would put a message into the wrong thread; a forged References field does that too.

Bounds: the first 256 KB of the header count, texts are cut (`SUBJECT_LIMIT`, `TEXT_LIMIT`), and of References over
MAX_REFERENCES the first and the last stay, as mail programs cut it.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from mailboat_mime.addresses import Address, parse_addresses
from mailboat_mime.collation import casemap
from mailboat_mime.dates import sent_time, subject_of
from mailboat_mime.headers import decode_charset, decode_words, field_values, unfold

HEADER_LIMIT = 256 * 1024
SUBJECT_LIMIT = 1024
TEXT_LIMIT = 256
MAX_REFERENCES = 256

_VERSION = 1
_IS_REPLY = 1
_HAS_DATE = 2
_HEAD = struct.Struct("<BBqQ6H")  # version, flags, sent (s), message id, the texts' lengths; then texts, references
_ID_SIZE = 8

_NAMES = (b"date", b"subject", b"from", b"to", b"cc", b"message-id", b"references", b"in-reply-to")
_LIST_LIMIT = 64 * 1024  # octets of an address field: only its first address is of interest
_ID_LIMIT = (
    998  # octets of a message id: a line's (RFC 5322 2.1.1); "<" and quotes without end would be sought for ever
)
_BROKEN_LIMIT = 1000
_MSG_ID = re.compile(rb'<((?:"(?:[^"\\]|\\.)*+"|[^<>" \t])++)>', re.DOTALL)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SortKeys:
    """One message's keys. `sent` in seconds since the epoch, None: not in the message (INTERNALDATE counts then).

    `message_id` and `references` are numbers as `id_number` gives them, 0: the message has no id.
    """

    sent: int | None = None
    subject: bytes = b""
    from_: bytes = b""
    to: bytes = b""
    cc: bytes = b""
    display_from: bytes = b""
    display_to: bytes = b""
    is_reply: bool = False
    message_id: int = 0
    references: tuple[int, ...] = ()

    @classmethod
    def of(cls, block: bytes) -> "SortKeys":
        """The keys of a header block. Never fails."""
        first: dict[bytes, bytes] = {}
        for name, raw in field_values(block[:HEADER_LIMIT], _NAMES):
            first.setdefault(name, raw)
        subject = subject_of(first.get(b"subject", b""))
        sender, to, cc = (_first_address(first.get(name)) for name in (b"from", b"to", b"cc"))
        return cls(
            sent=sent_time(unfold(first[b"date"])) if b"date" in first else None,
            subject=casemap(subject.base)[:SUBJECT_LIMIT],
            from_=_mailbox(sender),
            to=_mailbox(to),
            cc=_mailbox(cc),
            display_from=_display(sender),
            display_to=_display(to),
            is_reply=subject.is_reply,
            message_id=next(iter(_ids(first.get(b"message-id"))), 0),
            references=_references(first),
        )

    def to_bytes(self) -> bytes:
        """The stored form."""
        texts = (self.subject, self.from_, self.to, self.cc, self.display_from, self.display_to)
        flags = (_IS_REPLY if self.is_reply else 0) | (_HAS_DATE if self.sent is not None else 0)
        head = _HEAD.pack(_VERSION, flags, self.sent or 0, self.message_id, *map(len, texts))
        return b"".join((head, *texts, struct.pack(f"<{len(self.references)}Q", *self.references)))

    @classmethod
    def from_bytes(cls, data: bytes) -> "SortKeys":
        """What `to_bytes` gave. ValueError if it is something else."""
        if len(data) < _HEAD.size or data[0] != _VERSION:
            raise ValueError("not sort keys")
        _, flags, sent, message_id, *lengths = _HEAD.unpack_from(data)
        texts, at = [], _HEAD.size
        for length in lengths:
            texts.append(data[at : at + length])
            at += length
        count, over = divmod(len(data) - at, _ID_SIZE)
        if count < 0 or over:
            raise ValueError("sort keys of a wrong length")
        subject, from_, to, cc, display_from, display_to = texts
        return cls(
            sent=sent if flags & _HAS_DATE else None,
            subject=subject,
            from_=from_,
            to=to,
            cc=cc,
            display_from=display_from,
            display_to=display_to,
            is_reply=bool(flags & _IS_REPLY),
            message_id=message_id,
            references=struct.unpack_from(f"<{count}Q", data, at),
        )


NO_KEYS: Final = SortKeys()  # of a message that is gone


def id_number(message_id: bytes) -> int:
    """The number of a Message ID as it stands between its angle brackets; quoting makes no difference, case does."""
    plain = _QUOTED.sub(lambda quoted: _ESCAPE.sub(rb"\1", quoted[1]), message_id) if b'"' in message_id else message_id
    return int.from_bytes(blake2b(plain, digest_size=_ID_SIZE).digest(), "little") or 1


def _message_ids(value: bytes) -> Iterator[bytes]:
    """What stands between angle brackets in an unfolded value, in order; what is longer than a line is none, and
    behind a thousand that are none nothing is looked for.
    """
    start, broken = value.find(b"<"), 0
    while start >= 0 and broken < _BROKEN_LIMIT:
        found = _MSG_ID.match(value, start, start + _ID_LIMIT)
        if found is None:
            broken += 1
        else:
            yield found[1]
        start = value.find(b"<", start + 1 if found is None else found.end())


def _ids(value: bytes | None) -> Sequence[int]:
    """The numbers of the Message IDs in a raw field value, in order."""
    return [] if value is None else [id_number(found) for found in _message_ids(unfold(value))]


def _references(fields: dict[bytes, bytes]) -> tuple[int, ...]:
    """The ids of References; if it has none, the first of In-Reply-To (RFC 5256 3, THREAD)."""
    found = _ids(fields.get(b"references"))
    if not found:
        return tuple(_ids(fields.get(b"in-reply-to"))[:1])
    if len(found) > MAX_REFERENCES:
        return (found[0], *found[1 - MAX_REFERENCES :])
    return tuple(found)


def _first_address(value: bytes | None) -> Address | None:
    return None if value is None else next(parse_addresses(unfold(value[:_LIST_LIMIT])), None)


def _mailbox(address: Address | None) -> bytes:
    """addr-mailbox; of a group, its name."""
    if address is None or address.mailbox is None:
        return b""
    return casemap(decode_charset(address.mailbox[:TEXT_LIMIT]))[:TEXT_LIMIT]


def _display(address: Address | None) -> bytes:
    """The display value of an address (RFC 5957 3): its name decoded, else mailbox@host, else the mailbox."""
    if address is None:
        return b""
    name = decode_words(address.name[: 4 * TEXT_LIMIT]) if address.name is not None else ""
    if name:
        return casemap(name[:TEXT_LIMIT])[:TEXT_LIMIT]
    if address.mailbox is None or address.host is None:
        return _mailbox(address)
    return casemap(decode_charset((address.mailbox + b"@" + address.host)[:TEXT_LIMIT]))[:TEXT_LIMIT]
