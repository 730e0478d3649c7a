"""Export to Maildir++: a tree that Dovecot, Courier and every program that knows Maildir can read.

Rules: a file is complete, on disk and dated before its name appears in `cur/`; its name begins with the message's id,
so a repeat writes what is new, renames what was flagged, and leaves the rest; a mailbox's name can't lead out of the
tree (`names.directory`), and nothing is written through a symbolic link.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailboatctl.errors import ApiRefused, CommandError, WrongUse
from mailboatctl.transfer.api import AccountApi
from mailboatctl.transfer.flags import FORWARDED, MAILDIR, SYSTEM
from mailboatctl.transfer.names import directory, encode_utf7
from mailboatctl.transfer.report import Report

LETTERS = 26
TOGETHER = 64
_OURS = re.compile(r"(\d+\.[0-9a-z]{26}_\d+\.mailboat)(?:,S=\d+)?:2,([A-Za-z]*)$")
_LETTER = {flag.lower(): letter for letter, flag in MAILDIR.items()}


@dataclass(frozen=True, slots=True)
class _New:
    """A message that isn't there yet: its name without and with flags, its date in ms since the epoch."""

    uid: int
    date: int
    stem: str
    info: str


class Exporter:
    """One run. `crlf`: line ends as the platform keeps them, else LF as Maildirs have them."""

    def __init__(
        self,
        api: AccountApi,
        root: Path,
        report: Report,
        *,
        crlf: bool = False,
        remove: bool = False,
        concurrency: int = 4,
    ) -> None:
        self._api = api
        self._root = root
        self._report = report
        self._crlf = crlf
        self._remove = remove
        self._concurrency = concurrency

    def run(self, mailboxes: list[dict[str, Any]]) -> None:
        """Writes these mailboxes. Raises CommandError."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ThreadPoolExecutor(self._concurrency) as pool:
            for mailbox in mailboxes:
                try:
                    self._mailbox(mailbox["name"], pool)
                except ApiRefused as refused:
                    if refused.code in (401, 403):
                        raise
                    self._report.lost(mailbox["name"], str(refused))
                except OSError as error:
                    raise CommandError(f"{error.filename or self._root} can't be written: {error.strerror}.") from error
        self._subscriptions(mailboxes)

    def _subscriptions(self, mailboxes: list[dict[str, Any]]) -> None:
        """Dovecot's file: names as they are on the wire, with "." between levels."""
        lines = [
            ".".join(encode_utf7(level, also="./\\") for level in item["name"].split("/"))
            for item in mailboxes
            if item["subscribed"]
        ]
        _replace(self._root / "subscriptions", "".join(f"{line}\n" for line in lines).encode())

    def _mailbox(self, name: str, pool: ThreadPoolExecutor) -> None:
        path = self._root / directory(name) if name != "INBOX" else self._root
        _make(path, folder=name != "INBOX")
        there = _present(path)
        letters = Letters(path)
        wanted: set[str] = set()
        page: list[_New] = []
        for message in self._api.messages(name):
            stem = f"{max(0, message['internal_date'] // 1000)}.{message['id'].replace('.', '_')}.mailboat"
            wanted.add(stem)
            info = self._info(name, message, letters)
            if stem in there:
                self._keep(name, path, there[stem], stem, info)
                continue
            page.append(_New(message["uid"], message["internal_date"], stem, info))
            if len(page) == TOGETHER * self._concurrency:
                self._write_all(name, path, page, pool)
                page = []
        self._write_all(name, path, page, pool)
        letters.save()
        if self._remove:
            for stem in there.keys() - wanted:
                (path / "cur" / there[stem]).unlink(missing_ok=True)
                self._report.count(name, "removed")

    def _write_all(self, name: str, path: Path, page: list[_New], pool: ThreadPoolExecutor) -> None:
        parts = [page[first : first + TOGETHER] for first in range(0, len(page), TOGETHER)]
        for future in [pool.submit(self._write_part, name, path, part) for part in parts]:
            future.result()

    def _write_part(self, name: str, path: Path, part: list[_New]) -> None:
        by_uid = {new.uid: new for new in part}
        for uid, content in self._api.contents(name, sorted(by_uid)):
            self._write(name, path, by_uid.pop(uid), content)
        for new in by_uid.values():
            self._report.failed(name, new.stem, "it was removed meanwhile")

    def _write(self, name: str, path: Path, new: _New, content: bytes) -> None:
        if not self._crlf:
            content = content.replace(b"\r\n", b"\n")
        temporary = path / "tmp" / new.stem
        temporary.unlink(missing_ok=True)
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(number, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            os.utime(number, ns=(new.date * 1_000_000,) * 2)
            os.fsync(number)
        temporary.rename(path / "cur" / f"{new.stem},S={len(content)}:2,{new.info}")
        self._report.count(name, "exported", 1, len(content))

    def _keep(self, name: str, path: Path, file: str, stem: str, info: str) -> None:
        """A message that is there; its flags may have changed."""
        base = file.rpartition(":2,")[0] or stem
        if file == f"{base}:2,{info}":
            self._report.count(name, "already")
            return
        (path / "cur" / file).rename(path / "cur" / f"{base}:2,{info}")
        self._report.count(name, "changed")

    def _info(self, name: str, message: dict[str, Any], letters: Letters) -> str:
        """The letters for a message's flags, in ASCII order (that is how Maildir wants them)."""
        out = set()
        for flag in message["flags"]:
            fold = flag.lower()
            if fold in _LETTER:
                out.add(_LETTER[fold])
            if fold not in SYSTEM:
                letter = letters.of(flag)
                if letter:
                    out.add(letter)
                elif fold != FORWARDED.lower():
                    self._report.note(
                        name, message["id"], f"without the keyword {flag}: a Maildir has {LETTERS} at most"
                    )
        return "".join(sorted(out))


class Letters:
    """Keyword → small letter of one folder, as `dovecot-keywords` says; a letter is never given to another keyword."""

    def __init__(self, path: Path) -> None:
        self._path = path / "dovecot-keywords"
        self._names: dict[int, str] = {}
        self._before = b""
        if self._path.is_file() and not self._path.is_symlink():
            self._before = self._path.read_bytes()
            for line in self._before.decode("utf-8", "replace").splitlines():
                number, _, name = line.partition(" ")
                if number.isascii() and number.isdigit() and int(number) < LETTERS and name:
                    self._names[int(number)] = name
        self._index = {name.lower(): number for number, name in self._names.items()}

    def of(self, keyword: str) -> str | None:
        """The keyword's letter, a new one if there is one left."""
        number = self._index.get(keyword.lower())
        if number is None:
            number = next((free for free in range(LETTERS) if free not in self._names), None)
            if number is None:
                return None
            self._names[number] = keyword
            self._index[keyword.lower()] = number
        return chr(ord("a") + number)

    def save(self) -> None:
        """Writes the file if it says something else than before."""
        text = "".join(f"{number} {name}\n" for number, name in sorted(self._names.items())).encode()
        if text != self._before:
            _replace(self._path, text)


def _make(path: Path, *, folder: bool) -> None:
    for made in (path, path / "cur", path / "new", path / "tmp"):
        if made.is_symlink():
            raise WrongUse(f"{made} is a symbolic link; nothing is written through one.")
        made.mkdir(mode=0o700, exist_ok=True)
    if folder:
        (path / "maildirfolder").touch(0o600)


def _present(path: Path) -> dict[str, str]:
    """Our messages' names without flags → the file's name."""
    with os.scandir(path / "cur") as entries:
        return {found[1]: entry.name for entry in entries if (found := _OURS.match(entry.name))}


def _replace(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(number, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
        file.flush()
        os.fsync(number)
    temporary.replace(path)
