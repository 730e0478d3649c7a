"""An SMTP server that takes mail, keeps it, and misbehaves on request at every phase.

    async with smtp_sink(context) as sink:
        sink.on["RCPT <gone@a.example>"] = Says("550 5.1.1 No such user")
        sink.on["DATA-END"] = Stalls()
        ...
        assert sink.messages[0].content == ...

`on` is asked by the most specific key first: `VERB <address>`, then the verb; the phases are GREETING, EHLO, HELO,
STARTTLS, TLS (the handshake), AUTH, MAIL, RCPT, DATA, DATA-END (after the last dot), BDAT (after a chunk), RSET, QUIT.
A list is used up from its front, one behaviour each time; then it is as without.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

ALL = ("PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES")
PLAIN = ("PIPELINING", "SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES")


@dataclass(frozen=True)
class Says:
    """Another reply than the usual one; lines end in CRLF by themselves."""

    text: str


@dataclass(frozen=True)
class Stalls:
    """No reply, until the client goes."""


@dataclass(frozen=True)
class Drops:
    """Closes the connection without a reply; `after` is sent before."""

    after: str = ""


@dataclass(frozen=True)
class Drips:
    """The usual reply, one octet at a time."""


@dataclass(frozen=True)
class Floods:
    """A reply that never ends."""


Behaviour = Says | Stalls | Drops | Drips | Floods


@dataclass
class Taken:
    """A message as it came. `mail` and `rcpts` are the commands' arguments; `at` by the monotonic clock."""

    mail: str
    rcpts: list[str]
    content: bytes
    tls: str
    connection: int
    chunked: bool = False
    login: str = ""
    at: float = field(default_factory=time.monotonic)


@dataclass
class Sink:
    """What it has seen, and how it is to behave. `commands` holds every line of every connection, `cut` when those ended
    that ended without QUIT (monotonic clock)."""

    port: int = 0
    extensions: Sequence[str] = ALL
    name: str = "mx.test"
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    logins: dict[str, str] = field(default_factory=dict)
    on: dict[str, Behaviour | list[Behaviour]] = field(default_factory=dict)
    messages: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    cut: dict[int, float] = field(default_factory=dict)
    seen: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, *, messages: int = 0, command: str = "", times: int = 1) -> None:
        """Waits until so many messages have come, and so many commands that begin so."""
        async with asyncio.timeout(60), self.seen:
            await self.seen.wait_for(
                lambda: (
                    len(self.messages) >= messages
                    and (not command or sum(line.startswith(command) for line in self.commands) >= times)
                )
            )

    def behaviour(self, verb: str, address: str = "") -> Behaviour | None:
        """What is wanted here."""
        for key in (f"{verb} {address}", verb):
            wanted = self.on.get(key)
            if isinstance(wanted, list):
                if wanted:
                    return wanted.pop(0)
            elif wanted is not None:
                return wanted
        return None


class _Gone(Exception):
    pass


class _Connection:
    def __init__(self, sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sink, self.reader, self.writer = sink, reader, writer
        sink.connections += 1
        self.number = sink.connections
        self.mail = ""
        self.rcpts: list[str] = []
        self.chunks = b""
        self.login = ""
        self.failed = False
        self.left = False

    @property
    def tls(self) -> str:
        found = self.writer.get_extra_info("ssl_object")
        return str(found.version()) if found is not None else ""

    async def say(self, usual: str, verb: str, address: str = "") -> str:
        """Reply, or misbehave; what was said."""
        wanted = self.sink.behaviour(verb, address)
        if isinstance(wanted, Stalls):
            while await self.reader.read(65536):
                pass
            raise _Gone
        if isinstance(wanted, Drops):
            self.writer.write(wanted.after.encode())
            raise _Gone
        if isinstance(wanted, Floods):
            while True:
                self.writer.write(b"250-more and more\r\n" * 100)
                await self.writer.drain()
        text = wanted.text if isinstance(wanted, Says) else usual
        octets = "".join(line + "\r\n" for line in text.splitlines()).encode("utf-8")
        if isinstance(wanted, Drips):
            for octet in octets:
                self.writer.write(bytes([octet]))
                await self.writer.drain()
                await asyncio.sleep(0)
        else:
            self.writer.write(octets)
        return text

    async def run(self) -> None:
        await self.say(f"220 {self.sink.name} ESMTP", "GREETING")
        while line := await self.reader.readline():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            async with self.sink.seen:
                self.sink.commands.append(text)
                self.sink.seen.notify_all()
            verb, _, argument = text.partition(" ")
            await self.command(verb.upper(), argument)

    async def command(self, verb: str, argument: str) -> None:
        sink = self.sink
        if verb == "EHLO":
            offered = list(sink.extensions)
            if sink.tls is not None and not self.tls:
                offered.append("STARTTLS")
            if sink.logins and not any(item.startswith("AUTH") for item in offered):
                offered.append("AUTH PLAIN LOGIN")
            lines = [sink.name, *offered]
            self.reset()
            await self.say("\n".join(f"250{'-' if item is not lines[-1] else ' '}{item}" for item in lines), verb)
        elif verb == "HELO":
            await self.say(f"250 {sink.name}", verb)
        elif verb == "STARTTLS":
            if (await self.say("220 2.0.0 Go", verb)).startswith("220"):
                await self.handshake()
        elif verb == "AUTH":
            await self.auth(argument)
        elif verb == "MAIL":
            text = await self.say("250 2.1.0 Ok", verb, argument.partition(":")[2].split(" ")[0])
            if text.startswith("250"):
                self.reset()
                self.mail = argument
        elif verb == "RCPT":
            usual = "250 2.1.5 Ok" if self.mail else "503 5.5.1 MAIL first"
            text = await self.say(usual, verb, argument.partition(":")[2].split(" ")[0])
            if text.startswith("25") and self.mail:
                self.rcpts.append(argument)
        elif verb == "DATA":
            usual = "354 Go" if self.rcpts else "554 5.5.1 No valid recipients"
            if (await self.say(usual, verb)).startswith("354"):
                await self.data()
        elif verb == "BDAT":
            await self.bdat(argument)
        elif verb == "RSET":
            self.reset()
            await self.say("250 2.0.0 Ok", verb)
        elif verb == "QUIT":
            self.left = True
            await self.say("221 2.0.0 Bye", verb)
            raise _Gone
        else:
            await self.say("500 5.5.2 What?", verb)

    def reset(self) -> None:
        self.mail, self.rcpts, self.chunks, self.failed = "", [], b"", False

    async def handshake(self) -> None:
        assert self.sink.tls is not None
        if self.sink.behaviour("TLS") is not None:
            self.writer.write(b"this is no TLS\r\n" * 10)
            raise _Gone
        await self.writer.start_tls(self.sink.tls)
        self.reset()

    async def auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() == "PLAIN":
            _, user, password = base64.b64decode(initial).decode().split("\0")
        else:
            user, password = "", ""
            self.writer.write(b"334 VXNlcm5hbWU6\r\n")
            user = base64.b64decode(await self.reader.readline()).decode()
            self.writer.write(b"334 UGFzc3dvcmQ6\r\n")
            password = base64.b64decode(await self.reader.readline()).decode()
        right = self.sink.logins.get(user) == password
        self.login = user if right else ""
        await self.say("235 2.7.0 Welcome" if right else "535 5.7.8 Wrong", "AUTH")

    async def data(self) -> None:
        lines = []
        while (line := await self.reader.readline()) != b".\r\n":
            if not line:
                raise _Gone
            lines.append(line.removeprefix(b"."))
        await self.taken(b"".join(lines), "DATA-END", chunked=False)

    async def bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        self.chunks += await self.reader.readexactly(int(size))
        if not self.rcpts:
            self.failed = True
            await self.say("503 5.5.1 No valid recipients", "BDAT")
        elif last.upper() == "LAST":
            await self.taken(self.chunks, "BDAT", chunked=True)
        else:
            await self.say("250 2.0.0 Ok", "BDAT")

    async def taken(self, content: bytes, phase: str, *, chunked: bool) -> None:
        message = Taken(self.mail, self.rcpts, content, self.tls, self.number, chunked, self.login)
        wanted = self.sink.on.get(phase)
        refused = isinstance(wanted, Says) and not wanted.text.startswith("250")
        if isinstance(wanted, list) and wanted and isinstance(wanted[0], Says):
            refused = True
        self.reset()
        if not refused:
            async with self.sink.seen:
                self.sink.messages.append(message)
                self.sink.seen.notify_all()
        await self.say("250 2.0.0 Queued", phase)


@asynccontextmanager
async def smtp_sink(
    tls: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", port: int = 0, implicit: bool = False
) -> AsyncIterator[Sink]:
    """Serves on a free port, with STARTTLS (or TLS from the first octet) if a context is given."""
    sink = Sink(tls=tls, implicit=implicit)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(sink, reader, writer)
        sink.open += 1
        sink.most_open = max(sink.most_open, sink.open)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await connection.run()
        except (_Gone, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass  # as it was told to, or the client's doing
        finally:
            sink.open -= 1
            if not connection.left:
                sink.cut[connection.number] = time.monotonic()
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls if implicit else None)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
