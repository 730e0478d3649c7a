"""Another IMAP server as a source (RFC 3501, RFC 9051): what every server since the nineties can do, and no more.

Mailboxes are opened with EXAMINE and read with BODY.PEEK, so nothing changes there. A message is known by its
mailbox's UIDVALIDITY and its UID. Messages of a request are bounded by octets and number; a connection that is lost is
made anew, and the reading goes on behind the last message it gave.
"""

from __future__ import annotations

import imaplib
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from mailboatctl.errors import CommandError, Unreachable, WrongUse
from mailboatctl.transfer.content import milliseconds, too_large
from mailboatctl.transfer.names import decode_utf7, use_of
from mailboatctl.transfer.source import MAX_MESSAGE, Folder, FolderLost, Item, Known, Unreadable

WINDOW = 1000
GROUP_MESSAGES = 50
GROUP_BYTES = 8 << 20
TRIES = 4
TIMEOUT = 120.0
_LIST = re.compile(rb'\((?P<flags>[^)]*)\) (?P<separator>NIL|"(?:[^"\\]|\\.)*") ?(?P<name>.*)', re.S)
_UID = re.compile(rb"[( ]UID (\d+)")
_FLAGS = re.compile(rb"[( ]FLAGS \(([^)]*)\)")
_DATE = re.compile(rb'[( ]INTERNALDATE "([^"]+)"')
_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d+)")
_USES = {
    use.lower(): use
    for use in ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash", "\\Important")
}
_XLIST = {"\\allmail": "\\All", "\\spam": "\\Junk", "\\starred": "\\Flagged"}
_LOST = (imaplib.IMAP4.abort, OSError, EOFError)


@dataclass(frozen=True, slots=True)
class Server:
    """Where and as whom. `tls`: implicit, starttls or none. `admin`: who logs in for `user` (RFC 4616)."""

    host: str
    port: int
    tls: str
    user: str
    password: str = field(repr=False)
    admin: str = ""
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class _Meta:
    uid: int
    flags: tuple[str, ...]
    date: int | None
    size: int


class ImapSource:
    """One account of an IMAP server. Each thread has a connection of its own."""

    def __init__(self, server: Server, pause: Callable[[float], None]) -> None:
        self._server = server
        self._pause = pause
        self._local = threading.local()
        self._open: list[imaplib.IMAP4] = []
        self._prefix = ""
        self.passed_over: list[str] = []

    @property
    def identity(self) -> str:
        return f"imap:{self._server.user}@{self._server.host}:{self._server.port}"

    def folders(self) -> list[Folder]:
        box = self._connection()
        self._prefix = _personal_prefix(box)
        subscribed = {name for _, _, name in _listed(box, "LSUB")} or None
        found: dict[str, Folder] = {}
        for attributes, separator, name in _listed(box, "LIST"):
            if {"\\noselect", "\\nonexistent"} & attributes or name in found:
                continue
            levels = self._levels(name, separator)
            wanted = None if subscribed is None else name in subscribed
            uses = [use for item in attributes if (use := _USES.get(item) or _XLIST.get(item))]
            found[name] = Folder(levels, name, uses[0] if uses else use_of(levels), wanted)
        return sorted(found.values(), key=lambda folder: (folder.levels != ("INBOX",), folder.levels))

    def count(self, folder: Folder) -> int | None:
        try:
            kind, answer = self._connection().status(_quoted(folder.key), "(MESSAGES)")
        except (imaplib.IMAP4.error, OSError):
            return None
        found = re.search(rb"MESSAGES (\d+)", answer[0] or b"") if kind == "OK" and answer else None
        return int(found[1]) if found else None

    def messages(self, folder: Folder, known: Known) -> Iterator[Item]:
        given: set[str] = set()
        failures = 0
        while True:
            before = len(given)
            try:
                for item in self._read(folder, lambda name: name in given or known(name)):
                    given.add(item.id)
                    yield item
                return
            except _LOST as error:
                self._drop()
                failures = 1 if len(given) > before else failures + 1
                if failures >= TRIES:
                    raise FolderLost(f"the connection to {self._server.host} was lost {failures} times") from error
                self._pause(2.0**failures)
            except imaplib.IMAP4.error as error:
                raise FolderLost(f"{self._server.host} refused: {error}") from error
            except UnicodeEncodeError as error:
                raise FolderLost(f"{self._server.host} has a name for it that no client can send") from error

    def close(self) -> None:
        for box in self._open:
            try:
                box.logout()
            except (imaplib.IMAP4.error, OSError):
                continue
        self._open.clear()

    def _read(self, folder: Folder, known: Known) -> Iterator[Item]:
        box = self._connection()
        kind, answer = box.select(_quoted(folder.key), readonly=True)
        if kind != "OK":
            raise imaplib.IMAP4.error(_text(answer))
        exists = int(answer[0] or b"0")
        validity = _text(box.response("UIDVALIDITY")[1]) or "0"
        for first in range(1, exists + 1, WINDOW):
            listed = _metadata(box, first, min(exists, first + WINDOW - 1))
            for group in _groups([meta for meta in listed if not known(f"{validity}.{meta.uid}")]):
                yield from self._bodies(box, validity, group)

    def _bodies(self, box: imaplib.IMAP4, validity: str, group: list[_Meta]) -> Iterator[Item]:
        small = [meta for meta in group if meta.size <= MAX_MESSAGE]
        contents = _fetched(box, [meta.uid for meta in small]) if small else {}
        for meta in group:
            content = contents.get(meta.uid)
            if content is None and meta.size <= MAX_MESSAGE and len(group) > 1:
                content = _fetched(box, [meta.uid]).get(meta.uid)  # one that can't be given must not hide the others
            why = too_large(meta.size) if meta.size > MAX_MESSAGE else "the server doesn't give it"
            yield Item(f"{validity}.{meta.uid}", meta.flags, meta.date, _loader(content, why), validity)

    def _levels(self, name: str, separator: str) -> tuple[str, ...]:
        """The name's levels, without the prefix of the namespace that other servers keep everything below."""
        if name.upper() != "INBOX" and self._prefix and name.startswith(self._prefix):
            name = name[len(self._prefix) :]
        levels = [decode_utf7(level) for level in (name.split(separator) if separator else [name]) if level]
        if levels and levels[0].upper() == "INBOX":
            levels[0] = "INBOX"
        return tuple(levels) or ("_",)

    def _connection(self) -> imaplib.IMAP4:
        box: imaplib.IMAP4 | None = getattr(self._local, "box", None)
        if box is None:
            box = connect(self._server)
            self._local.box = box
            self._open.append(box)
        return box

    def _drop(self) -> None:
        box: imaplib.IMAP4 | None = getattr(self._local, "box", None)
        self._local.box = None
        if box is not None:
            self._open.remove(box)
            try:
                box.shutdown()
            except OSError:
                return


def connect(server: Server) -> imaplib.IMAP4:
    """A session that is logged in. Raises Unreachable, CommandError (refused)."""
    context = ssl.create_default_context(cafile=server.ca_file)
    try:
        if server.tls == "implicit":
            box: imaplib.IMAP4 = imaplib.IMAP4_SSL(server.host, server.port, ssl_context=context, timeout=TIMEOUT)
        else:
            box = imaplib.IMAP4(server.host, server.port, timeout=TIMEOUT)
            if server.tls == "starttls":
                box.starttls(context)
    except ssl.SSLCertVerificationError as error:
        text = f"{server.host} shows a certificate that can't be verified ({error.verify_message}); --ca-file?"
        raise CommandError(text) from error
    except (OSError, imaplib.IMAP4.error) as error:
        raise Unreachable(f"{server.host}:{server.port} is not reachable over IMAP: {error}") from error
    try:
        if server.admin or "AUTH=PLAIN" in box.capabilities:
            name = server.admin or server.user
            plain = f"{server.user if server.admin else ''}\0{name}\0{server.password}".encode()
            box.authenticate("PLAIN", lambda _: plain)
        else:
            box.login(_quoted(server.user), server.password)
    except imaplib.IMAP4.error as error:
        raise CommandError(f"{server.host} doesn't let {server.admin or server.user} in: {error}") from error
    return box


def _listed(box: imaplib.IMAP4, command: str) -> Iterator[tuple[set[str], str, str]]:
    """(attributes in lower case, separator, name as sent) of LIST or LSUB; special uses where the server has them."""
    extended = {"LIST-EXTENDED", "SPECIAL-USE"} <= set(box.capabilities)
    if command == "LIST" and extended:
        kind, _ = box.xatom("LIST", '""', '"*"', "RETURN", "(SPECIAL-USE)")
        lines = box.response("LIST")[1]
    else:
        kind, lines = box.list() if command == "LIST" else box.lsub()
    if kind != "OK":
        return
    for line in lines or []:
        head, literal = line if isinstance(line, tuple) else (line, None)
        found = _LIST.match(head or b"")
        if found is None:
            continue
        separator = "" if found["separator"] == b"NIL" else _unquoted(found["separator"])
        name = literal.decode("utf-8", "replace") if literal is not None else _unquoted(found["name"])
        yield {item.decode("ascii", "replace").lower() for item in found["flags"].split()}, separator, name


def _personal_prefix(box: imaplib.IMAP4) -> str:
    """What the names of the user's own mailboxes begin with (RFC 2342): "" or, as Courier and Cyrus do, "INBOX."."""
    if "NAMESPACE" not in box.capabilities:
        return ""
    kind, answer = box.namespace()
    found = re.match(rb'\(\("((?:[^"\\]|\\.)*)"', answer[0] or b"") if kind == "OK" and answer else None
    return _unquoted(b'"' + found[1] + b'"') if found else ""


def _metadata(box: imaplib.IMAP4, first: int, last: int) -> list[_Meta]:
    """UID, flags, date and size of messages by number."""
    kind, answer = box.fetch(f"{first}:{last}", "(UID FLAGS INTERNALDATE RFC822.SIZE)")
    if kind != "OK":
        raise imaplib.IMAP4.error(_text(answer))
    found: dict[int, _Meta] = {}
    for line in answer:
        text = line[0] if isinstance(line, tuple) else line
        uid, flags, date, size = (pattern.search(text or b"") for pattern in (_UID, _FLAGS, _DATE, _SIZE))
        if uid is None or size is None:
            continue  # news of another message's flags
        shown = tuple(flag.decode("utf-8", "replace") for flag in flags[1].split()) if flags else ()
        found[int(uid[1])] = _Meta(int(uid[1]), shown, _moment(date[1]) if date else None, int(size[1]))
    return [found[uid] for uid in sorted(found)]


def _groups(listed: list[_Meta]) -> Iterator[list[_Meta]]:
    group: list[_Meta] = []
    for meta in listed:
        if group and (len(group) == GROUP_MESSAGES or sum(item.size for item in group) + meta.size > GROUP_BYTES):
            yield group
            group = []
        group.append(meta)
    if group:
        yield group


def _fetched(box: imaplib.IMAP4, uids: list[int]) -> dict[int, bytes]:
    """The messages' bytes by UID; those that the server doesn't give are missing."""
    kind, answer = box.uid("FETCH", ",".join(map(str, uids)), "(UID BODY.PEEK[])")
    found: dict[int, bytes] = {}
    for at, line in enumerate(answer or []):
        if not isinstance(line, tuple):
            continue
        behind = answer[at + 1] if at + 1 < len(answer) else b""
        uid = _UID.search(line[0]) or _UID.search(behind if isinstance(behind, bytes) else b"")
        if uid is not None and b"BODY[]" in line[0]:
            found[int(uid[1])] = line[1]
    if kind != "OK" and len(uids) == 1:
        found.clear()
    return found


def _loader(content: bytes | None, why: str) -> Callable[[], bytes]:
    def load() -> bytes:
        if content is None:
            raise Unreadable(why)
        return content

    return load


def _moment(text: bytes) -> int | None:
    try:
        return milliseconds(datetime.strptime(text.decode("ascii").strip(), "%d-%b-%Y %H:%M:%S %z"))
    except ValueError:
        return None


def _quoted(text: str) -> str:
    """A quoted string (RFC 9051 4.3). Raises WrongUse for what can't be one."""
    if any(char in text for char in "\r\n\0"):
        raise WrongUse("A name or a password holds a line end or NUL.")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(text: bytes) -> str:
    shown = text.decode("utf-8", "replace")
    return re.sub(r"\\(.)", r"\1", shown[1:-1]) if shown.startswith('"') and shown.endswith('"') else shown


def _text(answer: object) -> str:
    first = answer[0] if isinstance(answer, list) and answer else b""
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else ""
