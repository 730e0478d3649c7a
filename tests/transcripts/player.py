"""Plays IMAP transcripts: text files that say what clients send and what a server must, and must not, answer.

    # Comment. The first one is the transcript's title.
    needs CONDSTORE MOVE          capabilities without which the transcript makes no sense (it fails then)
    account {"quota_messages": 3}  what the operator sets on the account (members of the REST API), from here on
    mailbox INBOX 3               this mailbox, empty but for 3 small messages (see `small_message`), before anything else
    session 1 INBOX               connect, log in, SELECT INBOX
    connect 2                     only connect; the greeting is read
    C1: FETCH 1 (FLAGS)           connection 1 sends a command; the tag is made up
    C1> DONE                      a line without a tag
    S1: * 1 FETCH (FLAGS ())      this line must come; lines before it that nobody asked for are passed over
    S1: OK                        the tagged reply must begin so: OK, NO [TRYCREATE], BAD ...
    N1: * $n EXPUNGE              from the last C1 up to that point of S1 lines no such line may have come
    R1: SEARCH UID 2 => * SEARCH  the command again and again until it is answered so: news needs time between hosts
    S1: * OK [UIDNEXT $next]...   $name is captured at its first use and must be equal later; `...` is anything
    C1: STORE 1 +FLAGS {{         a literal, up to the line that begins with }}; lines end with CRLF. Also in S lines.
    }} ...

Order matters within a connection. S and N lines are judged when the next C line, or the end, is reached.
Known from the start: $user, $password, $plain (the SASL PLAIN response).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.imap import Client

SECONDS = 5.0
_LINE = re.compile(r"([CRSN])(\d)([:>]) ?(.*)", re.DOTALL)
_WORD = re.compile(r"\$([a-z][a-z0-9_]*)|(\.\.\.)")


class TranscriptError(AssertionError):
    """The server didn't do what the transcript says."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a transcript: `kind` C, R, S, N or a directive's word."""

    number: int
    kind: str
    connection: int
    text: str
    raw: bool = False


def parse(text: str) -> list[Step]:
    """The steps of a transcript. ValueError if a line is none."""
    steps = []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        whole = line
        while whole.endswith("{{"):
            data = ""
            for _number, inner in lines:
                if inner.startswith("}}"):
                    mark = "+" if line.startswith("C") else ""
                    whole = f"{whole[:-2]}{{{len(data.encode())}{mark}}}\r\n{data}{inner[2:]}"
                    break
                data += inner + "\r\n"
            else:
                raise ValueError(f"line {number}: a literal without end")
        found = _LINE.fullmatch(whole)
        if found is not None:
            steps.append(Step(number, found[1], int(found[2]), found[4], raw=found[3] == ">"))
            continue
        word, _, rest = whole.partition(" ")
        if word not in ("needs", "account", "mailbox", "session", "connect"):
            raise ValueError(f"line {number}: not a transcript's line: {whole}")
        steps.append(Step(number, word, 0, rest))
    return steps


def small_message(number: int) -> bytes:
    """The messages that `mailbox` fills in."""
    return (
        f"From: Sender {number} <sender{number}@example.test>\r\nTo: alice@example.test\r\n"
        f"Subject: message {number}\r\nDate: Mon, {number} Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <m{number}@example.test>\r\n\r\nThis is message {number}.\r\n"
    ).encode()


@dataclass
class Connection:
    """One connection of a transcript and what it has said since its last command."""

    client: Client
    tag: bytes = b""
    seen: list[bytes] = field(default_factory=list)
    commands: int = 0


class Player:
    """Plays one transcript. `connect(n)` opens connection n (so n may choose a host) and reads the greeting.

    `operate` sets what an `account` line says; without it such a transcript can't be played.
    """

    def __init__(
        self,
        connect: Callable[[int], Awaitable[Client]],
        user: str,
        password: str,
        *,
        operate: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._connect = connect
        self._operate = operate
        self._seconds = seconds
        self._connections: dict[int, Connection] = {}
        plain = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.words = {"user": user, "password": password, "plain": plain}

    async def play(self, path: Path) -> None:
        """Raises TranscriptError with the line that wasn't kept."""
        forbidden: list[Step] = []
        try:
            for step in self._steps(path):
                if step.kind == "N":
                    forbidden.append(step)
                    continue
                if step.kind == "C":
                    self._check(path, [each for each in forbidden if each.connection == step.connection])
                    forbidden = [each for each in forbidden if each.connection != step.connection]
                try:
                    await self._do(step)
                except (TranscriptError, TimeoutError) as error:
                    seen = self._connections[step.connection].seen if step.connection in self._connections else []
                    raise TranscriptError(f"{path.name}:{step.number}: {step.text!r}: {error}; came: {seen}") from None
            self._check(path, forbidden)
        finally:
            for connection in self._connections.values():
                await connection.client.close()

    # --- steps ---

    @staticmethod
    def _steps(path: Path) -> list[Step]:
        return parse(path.read_text("utf-8"))

    async def _do(self, step: Step) -> None:
        match step.kind:
            case "needs":
                await self._need(step.text.upper().split())
            case "account":
                if self._operate is None:
                    raise TranscriptError("there is no operator")
                await self._operate(json.loads(step.text))
            case "mailbox":
                name, _, count = step.text.partition(" ")
                await self._fill(name, int(count or 0))
            case "connect":
                await self._open(int(step.text))
            case "session":
                number, _, mailbox = step.text.partition(" ")
                client = (await self._open(int(number))).client
                await client.login(self.words["user"], self.words["password"])
                if mailbox:
                    await client.ok(f"SELECT {mailbox}")
            case "C":
                self._send(step)
            case "R":
                await self._repeat(step)
            case "S":
                await self._expect(step)

    async def _open(self, number: int) -> Connection:
        connection = self._connections[number] = Connection(await self._connect(number))
        return connection

    async def _administrator(self) -> Client:
        client = await self._connect(1)
        await client.login(self.words["user"], self.words["password"])
        return client

    async def _need(self, names: list[str]) -> None:
        client = await self._administrator()
        offered = b" ".join(await client.ok("CAPABILITY")).decode().upper().split()
        await client.close()
        missing = [name for name in names if name not in offered]
        if missing:
            raise TranscriptError(f"the server lacks {' '.join(missing)}")

    async def _fill(self, name: str, count: int) -> None:
        client = await self._administrator()
        if name != "INBOX":
            await client.command(f"DELETE {name}")
            await client.ok(f"CREATE {name}")
        else:
            await client.ok("SELECT INBOX")
            await client.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
            await client.ok("CLOSE")
        for number in range(1, count + 1):
            reply = await client.append(name, small_message(number))
            if b" OK" not in reply:
                raise TranscriptError(f"APPEND: {reply!r}")
        await client.close()

    def _send(self, step: Step) -> None:
        connection = self._connections[step.connection]
        text = self._fill_in(step.text).encode()
        connection.seen = []
        if not step.raw:
            connection.commands += 1
            connection.tag = b"c%d.%d" % (step.connection, connection.commands)
            text = connection.tag + b" " + text
        connection.client.send(text + b"\r\n")

    async def _repeat(self, step: Step) -> None:
        command, _, answer = step.text.partition(" => ")
        connection = self._connections[step.connection]
        async with asyncio.timeout(self._seconds):
            while True:
                lines = await connection.client.command(self._fill_in(command))
                if any(self._pattern(answer, b"-").match(line) for line in lines):
                    return
                connection.seen = lines

    async def _expect(self, step: Step) -> None:
        connection = self._connections[step.connection]
        pattern = self._pattern(step.text, connection.tag)
        async with asyncio.timeout(self._seconds):
            while True:
                line = await connection.client.response()
                connection.seen.append(line)
                found = pattern.match(line)
                if found is not None:
                    self.words.update({name: value.decode() for name, value in found.groupdict().items()})
                    return
                if not line or line.startswith(connection.tag + b" "):
                    raise TranscriptError(f"{line!r} came instead" if line else "the connection ended")

    def _check(self, path: Path, forbidden: list[Step]) -> None:
        for step in forbidden:
            connection = self._connections[step.connection]
            pattern = self._pattern(step.text, connection.tag)
            for line in connection.seen:
                if pattern.match(line):
                    raise TranscriptError(f"{path.name}:{step.number}: must not come: {line!r}")

    # --- words ---

    def _fill_in(self, text: str) -> str:
        return _WORD.sub(lambda word: self.words[word[1]] if word[1] in self.words else word[0], text)

    def _pattern(self, text: str, tag: bytes) -> re.Pattern[bytes]:
        """Tagged replies, continuations and BYE match by their beginning, everything else whole."""
        head, _, _ = text.partition(" ")
        prefix = text.startswith(("OK", "NO", "BAD", "+", "* BYE", "* BAD"))
        if head in ("OK", "NO", "BAD"):
            text = f"{tag.decode()} {text}"
        pieces, place, named = [], 0, set()
        for word in _WORD.finditer(text):
            pieces.append(re.escape(text[place : word.start()]))
            name = word[1]
            if name is None:
                pieces.append(".*")
            elif name in self.words:
                pieces.append(re.escape(self.words[name]))
            elif name in named:
                pieces.append(f"(?P={name})")
            else:
                named.add(name)
                pieces.append(rf"(?P<{name}>[^\s\])]+)")
            place = word.end()
        pieces.append(re.escape(text[place:]))
        return re.compile("".join(pieces).encode() + (b"" if prefix else rb"\Z"), re.DOTALL)
