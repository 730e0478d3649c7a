"""Commands on messages of the selected mailbox, SEARCH aside.

RFC 9051 6.4; UNSELECT (RFC 3691), UIDPLUS (4315), MOVE (6851), CONDSTORE and QRESYNC (7162), BINARY (3516),
REPLACE (8508), PREVIEW (8970), PARTIAL (9394).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.sequence import SequenceSet
from mailboat_wire.imap.types.base import Command
from mailboat_wire.imap.types.mailboxes import AppendMessage
from mailboat_wire.imap.types.search import PartialRange


@dataclass(frozen=True, slots=True)
class Check(Command):
    name: ClassVar[bytes] = b"CHECK"


@dataclass(frozen=True, slots=True)
class Close(Command):
    name: ClassVar[bytes] = b"CLOSE"


@dataclass(frozen=True, slots=True)
class Unselect(Command):
    name: ClassVar[bytes] = b"UNSELECT"


@dataclass(frozen=True, slots=True)
class Expunge(Command):
    """`uids` is set for UID EXPUNGE (RFC 4315), None for EXPUNGE."""

    name: ClassVar[bytes] = b"EXPUNGE"
    uids: SequenceSet | None = None

    @property
    def uid(self) -> bool:
        return self.uids is not None


class SectionText(enum.Enum):
    """section-msgtext and section-text of RFC 9051; the value is the wire form."""

    ALL = b""
    HEADER = b"HEADER"
    HEADER_FIELDS = b"HEADER.FIELDS"
    HEADER_FIELDS_NOT = b"HEADER.FIELDS.NOT"
    TEXT = b"TEXT"
    MIME = b"MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """What stands in BODY[...]. `part` counts from 1, empty for the message; `fields` as the client wrote them."""

    part: tuple[int, ...] = ()
    text: SectionText = SectionText.ALL
    fields: tuple[bytes, ...] = ()

    def render(self) -> bytes:
        """The section as the response repeats it, without brackets. A field that is no atom is quoted."""
        words = [b"%d" % number for number in self.part]
        if self.text is not SectionText.ALL:
            words.append(self.text.value)
        section = b".".join(words)
        if self.fields:
            section += b" (%b)" % b" ".join(field if _plain(field) else _quote(field) for field in self.fields)
        return section


def _plain(field: bytes) -> bool:
    return bool(field) and not any(byte <= 32 or byte >= 127 or byte in b'(){%*"\\]' for byte in field)


def _quote(field: bytes) -> bytes:
    return b'"' + field.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


@dataclass(frozen=True, slots=True)
class FetchItem:
    """A FETCH item that is one atom, upper case: b"FLAGS", b"UID", b"ENVELOPE", b"BODYSTRUCTURE", b"BODY" (the short
    structure), b"INTERNALDATE", b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT", b"RFC822.SIZE", b"MODSEQ", and any atom
    of an extension (b"EMAILID", b"PREVIEW"): a gateway's registry knows or refuses it."""

    name: bytes


@dataclass(frozen=True, slots=True)
class FetchPreview(FetchItem):
    """PREVIEW (RFC 8970). `lazy`: NIL will do where the text would still have to be made."""

    lazy: bool = False


@dataclass(frozen=True, slots=True)
class FetchSection(FetchItem):
    """BODY[...], BODY.PEEK[...], BINARY[...], BINARY.PEEK[...], BINARY.SIZE[...].

    `name` is b"BODY[", b"BINARY[" or b"BINARY.SIZE[" (with the bracket, so that it is a registry key apart from
    b"BODY").
    `partial` is (first byte, count), count >= 1.
    """

    section: Section
    peek: bool = False
    partial: tuple[int, int] | None = None

    def label(self) -> bytes:
        """How the response names it: `BODY[1.TEXT]<0>`; PEEK and the count are not repeated."""
        label = self.name + self.section.render() + b"]"
        return label if self.partial is None else b"%b<%d>" % (label, self.partial[0])


@dataclass(frozen=True, slots=True)
class Fetch(Command):
    """`items` with macros expanded and repeats dropped, in the client's order.

    `changed_since` (RFC 7162 3.1.4.1) in modseq; `vanished` (3.2.6) only with it and with `uid`; `partial` (RFC 9394
    3.3) only with `uid`.
    """

    name: ClassVar[bytes] = b"FETCH"
    uid: bool
    sequence: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None = None
    vanished: bool = False
    partial: PartialRange | None = None


class StoreMode(enum.Enum):
    REPLACE = b""
    ADD = b"+"
    REMOVE = b"-"


@dataclass(frozen=True, slots=True)
class Store(Command):
    """`flags`: system flags in canonical case, keywords as sent, no repeats, \\Recent dropped. `unchanged_since`: RFC
    7162 3.1.3."""

    name: ClassVar[bytes] = b"STORE"
    uid: bool
    sequence: SequenceSet
    mode: StoreMode
    silent: bool
    flags: tuple[bytes, ...]
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Copy(Command):
    name: ClassVar[bytes] = b"COPY"
    uid: bool
    sequence: SequenceSet
    mailbox: str


@dataclass(frozen=True, slots=True)
class Replace(Command):
    """RFC 8508: the head; the message's bytes follow as with APPEND. `sequence` names one message, by UID if `uid`."""

    name: ClassVar[bytes] = b"REPLACE"
    uid: bool
    sequence: SequenceSet
    mailbox: str
    message: AppendMessage


@dataclass(frozen=True, slots=True)
class Move(Command):
    name: ClassVar[bytes] = b"MOVE"
    uid: bool
    sequence: SequenceSet
    mailbox: str
