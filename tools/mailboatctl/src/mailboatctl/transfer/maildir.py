"""Maildir as a source: Maildir++ (`.Work.2026`, Dovecot and Courier) and Dovecot's `fs` layout (`Work/2026`).

Flags are in the file's name (`:2,FRS`), keywords in its small letters and `dovecot-keywords`, the date is the file's
modification time, what is in `new/` has no flags. A message is known by its name's part before the ":", which stays
when flags change.
Somebody else may own the files: symbolic links and whatever isn't a regular file are never followed or read.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mailboatctl.errors import WrongUse
from mailboatctl.transfer.content import too_large, unpacked
from mailboatctl.transfer.flags import MAILDIR
from mailboatctl.transfer.names import decode_utf7, printable, use_of
from mailboatctl.transfer.source import MAX_MESSAGE, Folder, FolderLost, Item, Known, Unreadable

PARTS = ("cur", "new")
_OWN = ("cur", "new", "tmp")
_INFO = re.compile(r"[:;!-]2,([A-Za-z]*)$")
_DELIVERED = re.compile(r"(\d{1,12})(?:\.M(\d{1,9}))?")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_DEPTH = 32
LAST = 1 << 32


class Maildir:
    """A tree of Maildirs. `layout`: auto, maildir++ or fs."""

    def __init__(self, root: Path, layout: str = "auto") -> None:
        if not root.is_dir():
            raise WrongUse(f"{root} is no directory.")
        self._root = root.resolve()
        self._layout = layout if layout != "auto" else _guess(self._root)
        self.passed_over: list[str] = []

    @property
    def identity(self) -> str:
        return f"maildir:{printable(self._root)}"

    def folders(self) -> list[Folder]:
        found: list[tuple[tuple[str, ...], Path]] = [(("INBOX",), self._root)] if _is_maildir(self._root) else []
        if self._layout == "maildir++":
            found += [(_levels(path.name[1:].split(".")), path) for path in self._children(self._root, dotted=True)]
        else:
            found += self._walk(self._root, ())
        if not found:
            raise WrongUse(f"{self._root} holds no Maildir: there is no directory with cur, new and tmp.")
        subscribed = _subscriptions(self._root, [levels for levels, _ in found])
        return [
            Folder(levels, str(path), use_of(levels), None if subscribed is None else levels in subscribed)
            for levels, path in sorted(found, key=lambda pair: (pair[0] != ("INBOX",), pair[0]))
        ]

    def count(self, folder: Folder) -> int | None:
        total = 0
        for part in PARTS:
            try:
                with os.scandir(Path(folder.key, part)) as entries:
                    total += sum(not entry.name.startswith(".") for entry in entries)
            except OSError:
                continue
        return total

    def messages(self, folder: Folder, known: Known) -> Iterator[Item]:
        path = Path(folder.key)
        keywords = _keywords(path)
        for part, name, date in _files(path):
            identifier = printable(_INFO.sub("", name))
            if not known(identifier):
                flags = _flags(name, keywords) if part == "cur" else ()
                yield Item(identifier, flags, date, partial(_load, path, part, name))

    def close(self) -> None:
        """Nothing is open."""

    def _children(self, path: Path, *, dotted: bool) -> list[Path]:
        """Directories with a Maildir (dotted) or with anything (fs), without the links among them."""
        found = []
        for child in sorted(path.iterdir()):
            if child.name in _OWN or child.name.startswith(".") != dotted or not child.is_dir():
                continue
            if child.is_symlink():
                self.passed_over.append(f"{printable(child)} is a symbolic link")
            elif not dotted or _is_maildir(child):
                found.append(child)
        return found

    def _walk(self, path: Path, above: tuple[str, ...]) -> list[tuple[tuple[str, ...], Path]]:
        found: list[tuple[tuple[str, ...], Path]] = []
        if len(above) == _MAX_DEPTH:
            self.passed_over.append(f"{printable(path)} is too deep")
            return found
        for child in self._children(path, dotted=False):
            levels = (*above, *_levels([child.name]))
            if _is_maildir(child) and (levels != ("INBOX",) or not _is_maildir(self._root)):
                found.append((levels, child))
            found += self._walk(child, levels)
        return found


def _levels(names: list[str]) -> tuple[str, ...]:
    """Decoded levels of a name; INBOX in upper case where it is the first."""
    levels = [decode_utf7(os.fsencode(name).decode("utf-8", "replace")) for name in names if name]
    if levels and levels[0].upper() == "INBOX":
        levels[0] = "INBOX"
    return tuple(levels) or ("_",)


def _guess(root: Path) -> str:
    """Maildir++ if there is a folder of that kind, or nothing else; `fs` if there are Maildirs in plain directories."""
    children = [child for child in root.iterdir() if child.is_dir() and not child.is_symlink()]
    if any(child.name.startswith(".") and _is_maildir(child) for child in children):
        return "maildir++"
    return "fs" if any(child.name not in _OWN and not child.name.startswith(".") for child in children) else "maildir++"


def _is_maildir(path: Path) -> bool:
    return all((path / part).is_dir() for part in PARTS) and not any((path / part).is_symlink() for part in PARTS)


def _files(path: Path) -> list[tuple[str, str, int]]:
    """(cur or new, name, modification time in ms), by Dovecot's UIDs, else by delivery. Raises FolderLost."""
    uids = _uids(path)
    found: list[tuple[int, int, int, str, str, int]] = []
    for part in PARTS:
        try:
            with os.scandir(path / part) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    modified = entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000
                    at = _DELIVERED.match(entry.name)
                    seconds, fraction = (int(at[1]), int(at[2] or 0)) if at else (modified // 1000, 0)
                    uid = uids.get(_INFO.sub("", entry.name), LAST)
                    found.append((uid, seconds, fraction, entry.name, part, modified))
        except OSError as error:
            raise FolderLost(f"{printable(path / part)} can't be read: {error.strerror}") from error
    return [(part, name, modified) for *_, name, part, modified in sorted(found)]


def _uids(path: Path) -> dict[str, int]:
    """File → UID, as `dovecot-uidlist` says: after its first line a line each, UID, fields, a colon and the name."""
    found: dict[str, int] = {}
    for line in (_text(path / "dovecot-uidlist") or "").splitlines()[1:]:
        uid, _, rest = line.partition(" ")
        if uid.isascii() and uid.isdigit() and len(uid) <= 10:
            found[_INFO.sub("", rest.partition(":")[2])] = int(uid)
    return found


def _load(path: Path, part: str, name: str) -> bytes:
    """The file's bytes; a reader of the mailbox may have renamed it since it was listed. Raises Unreadable."""
    try:
        return _read(path / part / name)
    except FileNotFoundError:
        pass
    stem = _INFO.sub("", name)
    for other in PARTS:
        for entry in os.scandir(path / other):
            if _INFO.sub("", entry.name) == stem:
                return _read(Path(entry.path))
    raise Unreadable("its file has gone")


def _read(path: Path) -> bytes:
    try:
        number = os.open(path, _READ)
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise Unreadable("it is no regular file")
            with open(number, "rb", closefd=False) as file:
                data = file.read(MAX_MESSAGE + 1)
        finally:
            os.close(number)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a symbolic link" if error.errno == errno.ELOOP else f"its file can't be read: {error.strerror}"
        raise Unreadable(why) from error
    if len(data) > MAX_MESSAGE:
        raise Unreadable(too_large(len(data)))
    return unpacked(data)


def _flags(name: str, keywords: dict[str, str]) -> tuple[str, ...]:
    info = _INFO.search(name)
    return tuple(flag for char in (info[1] if info else "") if (flag := MAILDIR.get(char) or keywords.get(char)))


def _text(path: Path) -> str | None:
    """A small file of a mail store; None if there is none, or it is none of ours to read."""
    try:
        return _read(path).decode("utf-8", "replace")
    except (FileNotFoundError, Unreadable):
        return None


def _keywords(path: Path) -> dict[str, str]:
    """Letter → keyword, from `dovecot-keywords`: lines of a number (0 is a) and a name."""
    found: dict[str, str] = {}
    for line in (_text(path / "dovecot-keywords") or "").splitlines():
        number, _, name = line.partition(" ")
        if number.isascii() and number.isdigit() and len(number) < 3 and int(number) < 26 and name:
            found[chr(ord("a") + int(number))] = name
    return found


def _subscriptions(root: Path, known: list[tuple[str, ...]]) -> set[tuple[str, ...]] | None:
    """Which of the folders are subscribed: Dovecot's `subscriptions` (both versions), Courier's
    `courierimapsubscribed`; None if there is neither.
    """
    text = _text(root / "subscriptions")
    if text is None:
        text = _text(root / "courierimapsubscribed")
    if text is None:
        return None
    if text.startswith("V\t2\n"):
        return {_levels(line.split("\t")) for line in text.splitlines()[2:] if line}
    names = {separator.join(levels): levels for levels in known for separator in "./"}
    found: set[tuple[str, ...]] = set()
    for line in text.splitlines():
        for name in (line, line.removeprefix("INBOX.")):
            plain = decode_utf7(name)
            if plain in names or plain.upper() == "INBOX":
                found.add(names.get(plain, ("INBOX",)))
                break
    return found
