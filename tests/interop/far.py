"""The far side of a synchronisation: what is in an account, asked and changed with imaplib through a pod of one's choice."""

from __future__ import annotations

import base64
import imaplib
import random

from imapclient import imap_utf7  # type: ignore[import-untyped]

from tests.support.stack import SENDER, Account, LiveStack, message


class Server:
    """Another client's connection to the account, over TLS. Folders' names are text."""

    def __init__(self, live: LiveStack, account: Account, pod: int = 2) -> None:
        port = live.stack.ports(f"imap_gateway-{pod}")["imaps"]
        self.imap = imaplib.IMAP4_SSL("localhost", port, ssl_context=live.tls, timeout=30)
        self.imap.login(account.address, account.password)

    def close(self) -> None:
        self.imap.logout()

    def append(self, folder: str, subject: str, flags: str = "") -> None:
        """A small message with this subject."""
        self.file(folder, message(subject), flags)

    def file(self, folder: str, content: bytes, flags: str = "") -> None:
        """A message of this content."""
        assert self.imap.append(_quoted(folder), flags, "", content)[0] == "OK"

    def create(self, folder: str) -> None:
        assert self.imap.create(_quoted(folder))[0] == "OK"
        assert self.imap.subscribe(_quoted(folder))[0] == "OK"

    def rename(self, folder: str, name: str) -> None:
        assert self.imap.rename(_quoted(folder), _quoted(name))[0] == "OK"

    def found(self, folder: str, criterion: str = "ALL") -> set[str]:
        """The subjects of messages that match."""
        assert self.imap.select(_quoted(folder), readonly=True)[0] == "OK"
        numbers = self.imap.search(None, criterion)[1][0].split()
        if not numbers:
            return set()
        answer = self.imap.fetch(b",".join(numbers).decode(), "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        return {item[1].decode().strip().removeprefix("Subject: ") for item in answer if isinstance(item, tuple)}

    def content(self, folder: str, subject: str) -> bytes:
        """The bytes of the only message with this subject."""
        number = self._number(folder, subject, readonly=True)
        (item, *_) = self.imap.fetch(number, "(BODY.PEEK[])")[1]
        assert isinstance(item, tuple)
        return item[1]

    def change(self, folder: str, subject: str, flags: str) -> None:
        """Give the only message with this subject these flags."""
        number = self._number(folder, subject)
        assert self.imap.store(number, "+FLAGS", flags)[0] == "OK"

    def expunge(self, folder: str, subject: str) -> None:
        """Remove the only message with this subject."""
        self.change(folder, subject, r"(\Deleted)")
        assert self.imap.expunge()[0] == "OK"

    def folders(self) -> set[str]:
        """Their names."""
        lines = [line for line in self.imap.list()[1] if isinstance(line, bytes)]
        return {imap_utf7.decode(line.split(b' "/" ')[1].strip(b'"')) for line in lines}

    def _number(self, folder: str, subject: str, *, readonly: bool = False) -> str:
        assert self.imap.select(_quoted(folder), readonly=readonly)[0] == "OK"
        (number,) = self.imap.search(None, "SUBJECT", f'"{subject}"')[1][0].split()
        return f"{int(number)}"


def large(subject: str, size: int = 30 << 20) -> bytes:
    """A message of this many bytes, with lines that begin with dots."""
    lines = base64.encodebytes(random.Random(subject).randbytes(1 << 20)).replace(b"\n", b"\r\n")
    block = b".\r\n..\r\n.begins with a dot\r\n" + lines
    text = SENDER + f"Subject: {subject}\r\nMIME-Version: 1.0\r\n\r\n".encode() + block * (size // len(block) + 1)
    return text[: size - 2].rstrip(b"\r\n").ljust(size - 2, b"x") + b"\r\n"


def _quoted(folder: str) -> str:
    name: bytes = imap_utf7.encode(folder)
    return f'"{name.decode()}"'
