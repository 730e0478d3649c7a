"""mbox as a source (RFC 4155): one file, or a tree of files and directories.

A message begins with a From_ line that has a date where one is expected; anything else that begins with "From " is
text. The dialects differ in how such text was protected: mboxrd (any ">"s and "From " get one more ">"), mboxo (only
"From " gets one), mboxcl and mboxcl2 (Content-Length says where the message ends; cl2 protects nothing). What a store
keeps in the header for itself (Status, X-Status, X-Keywords, X-UID, X-Mozilla-Status, ...) becomes flags and is taken
out. A message is known by the hash of its bytes, and a number where the same bytes are there several times.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from mailboatctl.errors import WrongUse
from mailboatctl.transfer.content import parse_date, too_large
from mailboatctl.transfer.flags import FORWARDED
from mailboatctl.transfer.names import decode_utf7, printable, use_of
from mailboatctl.transfer.source import MAX_MESSAGE, Folder, FolderLost, Item, Known, Unreadable

DIALECTS = ("auto", "mboxrd", "mboxo", "mboxcl", "mboxcl2")
_ASCTIME = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +(?:[A-Z][a-z]{2} +\d{1,2}|\d{1,2} +[A-Z][a-z]{2})"
_FROM = re.compile(rb"From .*?" + _ASCTIME + rb"[ ,]+(?:\d{4} +)?\d\d?:\d\d.*\r?\n?$")
_DATE = re.compile(_ASCTIME + rb".*")
_ONE = re.compile(rb"(?m)^>(From )")
_QUOTED = {"mboxrd": re.compile(rb"(?m)^>(>*From )"), "mboxo": _ONE, "mboxcl": _ONE}
_OWN = (
    "status",
    "x-status",
    "x-keywords",
    "x-uid",
    "x-imap",
    "x-imapbase",
    "content-length",
    "x-mozilla-status",
    "x-mozilla-status2",
    "x-mozilla-keys",
)
_STATUS = {"R": "\\Seen", "A": "\\Answered", "F": "\\Flagged", "T": "\\Draft", "D": "\\Deleted"}
_MOZILLA = {0x1: "\\Seen", 0x2: "\\Answered", 0x4: "\\Flagged", 0x1000: FORWARDED}
_MOZILLA_EXPUNGED = 0x8
_INTERNAL = "FOLDER INTERNAL DATA"
_MAX_LINE = 1 << 20
_MAX_HEADER = 256 << 10
_NOT_MBOX = (".msf", ".lock", ".dat", ".html", ".db", ".json", ".sqlite")


class Mbox:
    """An mbox file, which is imported as `inbox`'s levels say, or a directory of them."""

    def __init__(self, root: Path, dialect: str = "auto", into: tuple[str, ...] = ("INBOX",)) -> None:
        if not root.exists():
            raise WrongUse(f"There is no {root}.")
        self._root = root.resolve()
        self._dialect = dialect
        self._into = into
        self.passed_over: list[str] = []

    @property
    def identity(self) -> str:
        return f"mbox:{printable(self._root)}"

    def folders(self) -> list[Folder]:
        if self._root.is_file():
            if not self._is_mbox(self._root):
                raise WrongUse(f"{self._root} is no mbox: it doesn't begin with a From_ line.")
            return [Folder(self._into, str(self._root), use_of(self._into))]
        found = [
            Folder(levels, str(path), use_of(levels)) for levels, path in self._walk(self._root, ()) if levels != ()
        ]
        if not found:
            raise WrongUse(f"There is no mbox file in {self._root}.")
        return sorted(found, key=lambda folder: (folder.levels != ("INBOX",), folder.levels))

    def count(self, folder: Folder) -> int | None:
        return None

    def messages(self, folder: Folder, known: Known) -> Iterator[Item]:
        seen: Counter[str] = Counter()
        try:
            with Path(folder.key).open("rb") as file:
                for raw in split(file):
                    item = self._item(raw, seen)
                    if item is not None and not known(item.id):
                        yield item
        except OSError as error:
            raise FolderLost(f"{printable(folder.key)} can't be read: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is open."""

    def _item(self, raw: Raw, seen: Counter[str]) -> Item | None:
        if raw.lost:
            return Item(f"large {raw.digest.hexdigest()[:32]}", (), raw.date, _raising(too_large(raw.size)))
        taken = interpret(bytes(raw.data), raw.by_length, self._dialect)
        if taken is None:
            return None
        content, flags = taken
        digest = hashlib.sha256(content).hexdigest()[:32]  # without the flags, which may change
        seen[digest] += 1
        identifier = digest if seen[digest] == 1 else f"{digest}.{seen[digest]}"
        return Item(identifier, flags, raw.date, lambda: content)

    def _walk(self, path: Path, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Path]]:
        for child in sorted(path.iterdir()):
            name = child.name
            if name.startswith(".") or child.is_symlink():
                self.passed_over.append(
                    f"{printable(child)} is " + ("a symbolic link" if child.is_symlink() else "hidden")
                )
                continue
            plain = os.fsencode(name.removesuffix(".sbd").removesuffix(".mbox").removesuffix(".mbx"))
            levels = (*above, decode_utf7(plain.decode("utf-8", "replace")))
            if not above and levels[0].lower() in ("inbox", "mbox"):
                levels = ("INBOX",)
            if child.is_dir():
                yield from self._walk(child, levels)
            elif name.endswith(_NOT_MBOX) or not child.is_file():
                continue
            elif self._is_mbox(child):
                yield levels, child
            elif child.stat().st_size:
                self.passed_over.append(f"{printable(child)} is no mbox")

    def _is_mbox(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                return bool(_FROM.match(file.readline(_MAX_LINE)))
        except OSError as error:
            self.passed_over.append(f"{printable(path)} can't be read: {error.strerror}")
            return False


def _raising(text: str) -> Callable[[], bytes]:
    def load() -> bytes:
        raise Unreadable(text)

    return load


@dataclass(slots=True)
class Raw:
    """A message as it stands in the file, without its From_ line; `lost`: too large to be kept."""

    date: int | None
    data: bytearray = field(default_factory=bytearray)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0
    lost: bool = False
    by_length: bool = False

    def add(self, line: bytes) -> None:
        """A further line, or a part of one."""
        self.digest.update(line)
        self.size += len(line)
        if self.lost or self.size > MAX_MESSAGE:
            self.lost = True
            self.data.clear()
        else:
            self.data += line


def split(file: IO[bytes]) -> Iterator[Raw]:
    """The messages of an mbox, in order; its memory is one message."""
    raw: Raw | None = None
    begins = True  # whether `line` begins a line, and not the rest of a very long one
    while line := file.readline(_MAX_LINE):
        if begins and line.startswith(b"From ") and _FROM.match(line):
            if raw is not None:
                yield _ended(raw)
            raw = Raw(from_date(line))
            _read_header(file, raw)
            begins = True
            continue
        begins = line.endswith(b"\n")
        if raw is not None and not raw.by_length:  # what follows a length is the line that separates messages
            raw.add(line)
    if raw is not None:
        yield _ended(raw)


def _read_header(file: IO[bytes], raw: Raw) -> None:
    """The header, and the body at once if a Content-Length of its own says rightly where it ends."""
    length: int | None = None
    while line := file.readline(_MAX_LINE):
        if _FROM.match(line):  # a message without body, and without the empty line
            file.seek(-len(line), 1)
            return
        raw.add(line)
        if line.lower().startswith(b"content-length:"):
            value = line[15:].strip()
            length = int(value) if value.isdigit() and len(value) < 12 else None
        if line in (b"\n", b"\r\n"):
            break
    if length is None or not _ends_there(file, length):
        return
    raw.by_length = True
    while length > 0 and (chunk := file.read(min(length, _MAX_LINE))):
        raw.add(chunk)
        length -= len(chunk)


def _ends_there(file: IO[bytes], length: int) -> bool:
    """Whether a body of this length ends at the next From_ line or at the end of the file."""
    here = file.tell()
    file.seek(0, 2)
    end = file.tell()
    try:
        if here + length > end:
            return False
        file.seek(here + length)
        following = [file.readline(_MAX_LINE) for _ in range(2)]
        blank = following[0] in (b"\n", b"\r\n")
        start = following[1] if blank else following[0]
        return start == b"" or bool(_FROM.match(start))
    finally:
        file.seek(here)


def _ended(raw: Raw) -> Raw:
    """Without the empty line that stands before the next From_ line."""
    if not raw.lost and not raw.by_length:
        for end in (b"\r\n\r\n", b"\n\n"):
            if raw.data.endswith(end) and raw.data.find(end) < len(raw.data) - len(end):
                del raw.data[len(raw.data) - len(end) // 2 :]
                break
    return raw


def from_date(line: bytes) -> int | None:
    """The date of a From_ line, ms since the epoch; without a zone it is UTC."""
    found = _DATE.search(line)
    if found is None:
        return None
    text = " ".join(found[0].decode("ascii", "replace").split())
    for form in ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Y %z", "%a %b %d %H:%M %Y", "%a %b %d %H:%M:%S %z %Y"):
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 - the zone is set below
        except ValueError:
            continue
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)
    return parse_date(text)


def interpret(data: bytes, by_length: bool, dialect: str) -> tuple[bytes, tuple[str, ...]] | None:
    """(the message, its flags); None for what a store put there for itself, and for what it has expunged."""
    header, blank, body = _cut(data)
    fields = _fields(header)
    own = {name: value for name, value, _ in fields if name in _OWN}
    mozilla = _hexadecimal(own.get("x-mozilla-status", ""))
    if mozilla & _MOZILLA_EXPUNGED or _is_internal(fields):
        return None
    if dialect == "auto":
        dialect = "mboxcl2" if by_length else "mboxrd"
    if dialect in _QUOTED:
        body = _QUOTED[dialect].sub(rb"\1", body)
    flags = [_STATUS[char] for char in own.get("status", "") + own.get("x-status", "") if char in _STATUS]
    flags += [flag for bit, flag in _MOZILLA.items() if mozilla & bit]
    flags += own.get("x-keywords", "").replace(",", " ").split() + own.get("x-mozilla-keys", "").split()
    kept = b"".join(raw for name, _, raw in fields if name not in _OWN)
    return kept + blank + body, tuple(dict.fromkeys(flags))


def _cut(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Header with its last line's end, the empty line, the body."""
    if data.startswith((b"\n", b"\r\n")):
        end = data.index(b"\n") + 1
        return b"", data[:end], data[end:]
    for blank in (b"\n\n", b"\n\r\n"):
        at = data.find(blank, 0, _MAX_HEADER)
        if at >= 0:
            other = data.find(b"\n\r\n", 0, at)
            if other < 0:
                return data[: at + 1], blank[1:], data[at + len(blank) :]
    return data, b"", b""


def _fields(header: bytes) -> list[tuple[str, str, bytes]]:
    """(name in lower case, unfolded value, the lines themselves); a line that is no field has the name ""."""
    found: list[tuple[str, str, bytes]] = []
    for line in re.findall(rb"[^\n]*\n|[^\n]+$", header):
        if line[:1] in b" \t" and line[:1] and found:
            name, value, raw = found[-1]
            found[-1] = (name, value + " " + line.decode("utf-8", "replace").strip(), raw + line)
            continue
        name, colon, value = line.partition(b":")
        shown = name.decode("ascii", "replace").strip().lower() if colon else ""
        found.append((shown, value.decode("utf-8", "replace").strip(), line))
    return found


def _is_internal(fields: list[tuple[str, str, bytes]]) -> bool:
    """Whether this is the message that UW IMAP and Dovecot begin a mailbox with, and show to nobody."""
    names = {name for name, _, _ in fields}
    subject = next((value for name, value, _ in fields if name == "subject"), "")
    return bool(names & {"x-imap", "x-imapbase"}) and _INTERNAL in subject


def _hexadecimal(text: str) -> int:
    return int(text, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", text) else 0
