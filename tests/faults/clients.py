"""Small SMTP, IMAP and POP3 clients for the judge: the standard library, and nothing of the product.

They do what a real peer would see and no more. Whatever ends a connection before the answer (EOF, reset, `421`, `BYE`,
`-ERR [SYS/TEMP]`, silence past `ANSWER_SECONDS`) is `Closed`: the peer doesn't know what became of its command.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

ANSWER_SECONDS = 45.0
"""A service waits up to 30 s for a fail-over; whoever hears nothing for longer is stuck."""
CONNECT_SECONDS = 10.0
_LIMIT = 1 << 24
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")


class Closed(Exception):
    """The connection ended, or was given up, before the answer."""


class Stuck(Closed):
    """The connection stayed, the answer didn't come."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service listens; `tls` None: clear text. `source`: the client's own address, if it matters."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    source: str | None = None


class _Connection:
    """Bytes both ways, with every failure as `Closed`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Self:
        """Connect. Raises Closed."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                name = "localhost" if endpoint.tls else None
                source = (endpoint.source, 0) if endpoint.source else None
                reader, writer = await asyncio.open_connection(
                    endpoint.host,
                    endpoint.port,
                    ssl=endpoint.tls,
                    server_hostname=name,
                    limit=_LIMIT,
                    local_addr=source,
                )
        except (OSError, TimeoutError) as error:
            raise Closed(f"cannot connect to port {endpoint.port}: {error!r}") from error
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
        except TimeoutError:
            raise Stuck("nobody reads what we send") from None
        except (OSError, RuntimeError) as error:
            if self._reader.exception() is not None or self._reader.at_eof():
                raise Closed(repr(error)) from error
            # The peer has gone; what it said before is still to be read.

    async def line(self, seconds: float | None = ANSWER_SECONDS) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self._reader.readuntil(b"\n")
        except TimeoutError:
            raise Stuck(f"no answer in {seconds} s") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Closed(repr(error)) from error

    async def exactly(self, count: int) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._reader.readexactly(count)
        except TimeoutError:
            raise Stuck("a literal doesn't end") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Closed(repr(error)) from error

    async def end(self) -> None:
        """Close in order: what was sent arrives, what would be answered is lost."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError as error:
            raise Closed(repr(error)) from error

    def abort(self) -> None:
        """Gone at once, without a word."""
        transport = self._writer.transport
        if not transport.is_closing():  # asyncio's own transports break when they are aborted after their end
            transport.abort()


class SmtpClient:
    """One SMTP connection (RFC 5321), used for one transaction after the other."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.in_transaction = False  # MAIL was accepted, and nothing has ended what it began

    @classmethod
    async def connect(cls, endpoint: Endpoint) -> SmtpClient:
        """Connect, read the greeting, say EHLO. Raises Closed."""
        client = cls(await _Connection.open(endpoint))
        try:
            await client._expect(await client._reply(), 220)
            await client._connection.send(b"EHLO faults.example\r\n")
            await client._expect(await client._reply(), 250)
        except BaseException:
            client.close()
            raise
        return client

    async def transaction(
        self, sender: str, recipients: Sequence[str], content: bytes, leave: bool = False
    ) -> tuple[int, str]:
        """Offer one message to all recipients; the final reply. If one is refused, the reply to that, after RSET.

        `leave`: drop the connection as soon as the data is sent; always Closed.
        """
        head = [f"MAIL FROM:<{sender}>"] + [f"RCPT TO:<{recipient}>" for recipient in recipients]
        await self._connection.send("".join(f"{line}\r\n" for line in head).encode())
        replies = []
        for _ in head:
            replies.append(await self._reply())
            self.in_transaction |= replies[0][0] == 250
        if refused := next((reply for reply in replies if reply[0] != 250), None):
            await self._connection.send(b"RSET\r\n")
            await self._reply()
            self.in_transaction = False
            return refused
        await self._connection.send(b"DATA\r\n")
        reply = await self._reply()
        if reply[0] != 354:
            return reply
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        await self._connection.send((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
        if leave:
            await self._connection.end()
            raise Closed("left before the answer")
        reply = await self._reply()
        self.in_transaction = False
        return reply

    async def login(self, user: str, password: str) -> None:
        """AUTH PLAIN (RFC 4954 4). Raises Closed when refused."""
        secret = base64.b64encode(f"\0{user}\0{password}".encode())
        await self._connection.send(b"AUTH PLAIN " + secret + b"\r\n")
        await self._expect(await self._reply(), 235)

    async def _reply(self) -> tuple[int, str]:
        while True:
            line = (await self._connection.line()).rstrip(b"\r\n").decode(errors="replace")
            if line[3:4] == "-":
                continue
            if line.startswith("421"):
                raise Closed(line)
            return int(line[:3]), line[4:]

    @staticmethod
    async def _expect(reply: tuple[int, str], code: int) -> None:
        if reply[0] != code:
            raise Closed(f"expected {code}, got {reply}")

    def close(self) -> None:
        """Drop the connection."""
        self._connection.abort()


class Pop3Client:
    """One POP3 connection (RFC 1939)."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, endpoint: Endpoint) -> Pop3Client:
        """Connect and read the greeting. Raises Closed."""
        client = cls(await _Connection.open(endpoint))
        try:
            await client._reply()
        except BaseException:
            client.close()
            raise
        return client

    async def command(self, line: str, lines: bool = False) -> tuple[str, bytes]:
        """One command; its first line, and with `lines` what follows it, still stuffed. Raises Closed."""
        await self._connection.send(f"{line}\r\n".encode())
        reply = await self._reply()
        content = b""
        if lines and reply.startswith("+OK"):
            while (more := await self._connection.line()) != b".\r\n":
                content += more
        return reply, content

    async def _reply(self) -> str:
        line = (await self._connection.line()).rstrip(b"\r\n").decode(errors="replace")
        if line.startswith("-ERR [SYS/TEMP]"):
            raise Closed(line)
        return line

    def close(self) -> None:
        """Drop the connection."""
        self._connection.abort()


@dataclass(frozen=True, slots=True)
class Response:
    """One IMAP response without its CRLF; each literal is `{n}` in `text` and a member of `literals`."""

    text: bytes
    literals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """What a command got: status (OK, NO, BAD), text of the tagged line, untagged responses before it."""

    status: str
    text: str
    untagged: list[Response] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Selected:
    """What SELECT (CONDSTORE) said."""

    exists: int
    uid_validity: int
    uid_next: int
    highest_modseq: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """One FETCH response; what it didn't hold is None."""

    seq: int
    uid: int | None
    flags: frozenset[str] | None
    modseq: int | None
    literal: bytes | None


class ImapClient:
    """One IMAP connection (RFC 3501, 7162, 2177, 4315)."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._tags = 0

    @classmethod
    async def connect(cls, endpoint: Endpoint, user: str, password: str) -> ImapClient:
        """Connect and log in. Raises Closed, also when the login is refused for now."""
        client = cls(await _Connection.open(endpoint))
        try:
            greeting = await client.response()
            if not greeting.text.startswith(b"* OK"):
                raise Closed(greeting.text.decode(errors="replace"))
            done = await client.command(f'LOGIN "{user}" "{password}"')
            if done.status != "OK":
                raise Closed(f"login: {done.status} {done.text}")
        except BaseException:
            client.close()
            raise
        return client

    async def select(self, mailbox: str) -> Selected:
        """SELECT with CONDSTORE. Raises Closed when refused."""
        done = await self.command(f"SELECT {mailbox} (CONDSTORE)")
        if done.status != "OK":
            raise Closed(f"select: {done.status} {done.text}")
        text = b"\n".join(response.text for response in done.untagged)
        numbers = {}
        for name in (b"UIDVALIDITY", b"UIDNEXT", b"HIGHESTMODSEQ"):
            found = re.search(rb"\[" + name + rb" (\d+)\]", text)
            if found is None:
                raise AssertionError(f"SELECT said no {name.decode()}: {text!r}")
            numbers[name] = int(found[1])
        exists = exists_of(done.untagged)
        assert exists is not None, "SELECT said no EXISTS"
        return Selected(exists, numbers[b"UIDVALIDITY"], numbers[b"UIDNEXT"], numbers[b"HIGHESTMODSEQ"])

    async def append(self, mailbox: str, content: bytes, flags: str = "") -> Done:
        """APPEND with a non-synchronising literal (RFC 7888)."""
        return await self.command(f"APPEND {mailbox} ({flags}) {{{len(content)}+}}", content)

    async def command(self, text: str, literal: bytes | None = None) -> Done:
        """Send one command and read up to its tagged response. Raises Closed."""
        tag = await self.begin(text, literal)
        return await self.finish(tag)

    async def begin(self, text: str, literal: bytes | None = None) -> str:
        """Send a command; returns its tag."""
        self._tags += 1
        tag = f"A{self._tags}"
        data = f"{tag} {text}\r\n".encode()
        if literal is not None:
            data += literal + b"\r\n"
        await self._connection.send(data)
        return tag

    async def finish(self, tag: str) -> Done:
        """Read up to the tagged response."""
        untagged: list[Response] = []
        prefix = tag.encode() + b" "
        while True:
            response = await self.response()
            if response.text.startswith(prefix):
                status, _, text = response.text[len(prefix) :].decode(errors="replace").partition(" ")
                return Done(status, text, untagged)
            untagged.append(response)

    async def response(self, seconds: float | None = ANSWER_SECONDS) -> Response:
        """The next response. Raises Closed, also for BYE."""
        text = b""
        literals: list[bytes] = []
        while True:
            line = await self._connection.line(seconds)
            found = _LITERAL.search(line)
            if found is None:
                text += line.rstrip(b"\r\n")
                break
            text += line[:-2]
            literals.append(await self._connection.exactly(int(found[1])))
        if text.startswith(b"* BYE"):
            raise Closed(text.decode(errors="replace"))
        return Response(text, tuple(literals))

    async def idle(self) -> str:
        """Begin IDLE; returns its tag. The server's `+` comes among the responses."""
        return await self.begin("IDLE")

    async def done(self, tag: str) -> Done:
        """End IDLE."""
        await self._connection.send(b"DONE\r\n")
        return await self.finish(tag)

    def close(self) -> None:
        """Drop the connection."""
        self._connection.abort()


def exists_of(responses: Sequence[Response]) -> int | None:
    """The last EXISTS among responses."""
    counts = [int(found[1]) for r in responses if (found := re.match(rb"\* (\d+) EXISTS$", r.text))]
    return counts[-1] if counts else None


def expunge_of(response: Response) -> int | None:
    """The sequence number of an EXPUNGE."""
    found = re.match(rb"\* (\d+) EXPUNGE$", response.text)
    return int(found[1]) if found else None


def fetch_of(response: Response) -> Fetched | None:
    """A FETCH response taken apart."""
    found = re.match(rb"\* (\d+) FETCH \((.*)\)$", response.text, re.DOTALL)
    if found is None:
        return None
    items = found[2]
    uid = re.search(rb"\bUID (\d+)", items)
    flags = re.search(rb"\bFLAGS \(([^)]*)\)", items)
    modseq = re.search(rb"\bMODSEQ \((\d+)\)", items)
    return Fetched(
        int(found[1]),
        int(uid[1]) if uid else None,
        frozenset(flags[1].decode().split()) - {"\\Recent"} if flags else None,
        int(modseq[1]) if modseq else None,
        response.literals[0] if response.literals else None,
    )
