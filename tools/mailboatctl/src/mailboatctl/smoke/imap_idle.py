"""A small IMAP client that waits: what a proof of delivery needs of RFC 3501 and RFC 2177, on one socket.

It sees when the server announces a message (imaplib of Python 3.11 can't IDLE) and every octet of what is fetched.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from types import TracebackType
from typing import Self

from mailboatctl.errors import CheckFailed

EXISTS = re.compile(rb"\* (\d+) EXISTS\r\n")
LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
MOST_BYTES = 64 * 1024 * 1024


class IdleClient:
    """One connection; ``exists`` is the mailbox's size as last told, ``seen_at`` (monotonic) when that was.

    Over TLS from the first octet with ``implicit_tls`` (RFC 8314 3.2), else by STARTTLS; the server's certificate must
    be good for ``host``. ``timeout`` (seconds) is for each answer. Raises CheckFailed if the server answers otherwise
    than it should, OSError if the connection fails.
    """

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext, timeout: float = 30.0, *, implicit_tls: bool = False
    ) -> None:
        self.exists = 0
        self.seen_at = 0.0
        self._timeout = timeout
        self._tag = 0
        self._socket: socket.socket = socket.create_connection((host, port), timeout=timeout)
        self._reader = self._socket.makefile("rb")
        try:
            if not implicit_tls:
                self._line()
                self.command("STARTTLS")
            self._reader.close()
            self._socket = tls.wrap_socket(self._socket, server_hostname=host)
            self._reader = self._socket.makefile("rb")
            if implicit_tls:
                self._line()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection without a word."""
        self._reader.close()
        self._socket.close()

    def login(self, user: str, password: str) -> None:
        """LOGIN."""
        self.command(f"LOGIN {_quoted(user)} {_quoted(password)}", shown="LOGIN")

    def select(self, mailbox: str) -> int:
        """SELECT; returns how many messages there are."""
        self.exists = 0
        self.command(f"SELECT {_quoted(mailbox)}")
        return self.exists

    def fetch(self, number: int) -> bytes:
        """BODY.PEEK[] of one message, exactly as the server sends it."""
        literals = self.command(f"FETCH {number} BODY.PEEK[]")
        if len(literals) != 1:
            raise CheckFailed(f"FETCH {number} brought {len(literals)} bodies")
        return literals[0]

    def idle(self) -> None:
        """Begin to wait; the server tells of itself from now on."""
        self._send("IDLE")
        if not self._line().startswith(b"+"):
            raise CheckFailed("the server does not go into IDLE")

    def wait_for_exists(self, more_than: int, seconds: float) -> int:
        """The number of the newest message once there are more than that many."""
        deadline = time.monotonic() + seconds
        while self.exists <= more_than:
            left = deadline - time.monotonic()
            if left <= 0:
                raise CheckFailed(f"no EXISTS arrived in {seconds:.0f} s")
            self._socket.settimeout(left)
            try:
                self._line()
            except TimeoutError as error:
                raise CheckFailed(f"no EXISTS arrived in {seconds:.0f} s") from error
        self._socket.settimeout(self._timeout)
        return self.exists

    def done(self) -> None:
        """End the waiting."""
        self._socket.sendall(b"DONE\r\n")
        self._finish("IDLE")

    def command(self, text: str, shown: str = "") -> list[bytes]:
        """Send a command, return the literals of its answer. Raises CheckFailed unless it ends with OK."""
        self._send(text)
        return self._finish(shown or text)

    def _send(self, text: str) -> None:
        self._tag += 1
        self._socket.sendall(f"d{self._tag} {text}\r\n".encode())

    def _finish(self, shown: str) -> list[bytes]:
        literals: list[bytes] = []
        tag = f"d{self._tag} ".encode()
        while True:
            line = self._line()
            if line.startswith(tag):
                if not line[len(tag) :].startswith(b"OK"):
                    raise CheckFailed(f"{shown}: the server answered {line.decode(errors='replace').strip()}")
                return literals
            while found := LITERAL.search(line):
                size = int(found[1])
                if size > MOST_BYTES:
                    raise CheckFailed(f"{shown}: the server announces {size} bytes")
                literals.append(self._reader.read(size))
                line = self._line()

    def _line(self) -> bytes:
        line = self._reader.readline(64 * 1024)
        if not line.endswith(b"\r\n"):
            raise CheckFailed("the server has closed the connection")
        if found := EXISTS.fullmatch(line):
            self.exists, self.seen_at = int(found[1]), time.monotonic()
        return line


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
