"""Sessions with running services, broken at random from every state: the process lives, answers others, logs no bug, and
tells nothing private.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.fuzz.hostile_text import Hostile, cases, replayable
from tests.fuzz.watch import told_nothing_private, watched
from tests.support.stack import OUTSIDER, Account, Live, Smtp, message
from tests.support.wire import Wire

pytestmark = pytest.mark.stack
AT_ONCE = 12
COMMANDS = 8
QUIET_SECONDS = 0.15  # a session that says nothing for so long waits for more
SESSION_SECONDS = 5.0
MOST = 4 << 20

Streams = Wire | Smtp
Start = Callable[["Sessions", str], Awaitable[Streams]]


class Sessions:
    """Brings sessions into their states, from addresses of their own so that no limit per address ends the test."""

    def __init__(self, live: Live, account: Account) -> None:
        self.live, self.account = live, account

    async def wire(self, service: str, label: str, source: str, *, tls: bool = False) -> Smtp:
        client = Smtp(*await self.live.open(self.live.port(service, label), tls=tls, source=source))
        await client.line()
        return client

    async def imap(self, source: str, *commands: str) -> Smtp:
        """Over TLS; the last command isn't waited for."""
        client = await self.wire("imap_gateway", "imaps", source, tls=True)
        for number, command in enumerate(commands):
            client.send(f"s{number} {command}\r\n".encode())
            while number + 1 < len(commands) and not (await client.line()).startswith(f"s{number} "):
                pass
        return client

    async def smtp(self, source: str, *lines: str, label: str = "smtp") -> Smtp:
        client = await self.wire("smtp_ingress", label, source, tls=label == "submissions")
        for line in lines:
            assert (await client.say(line))[0] in "23", line
        return client

    async def pop3(self, source: str, *lines: str) -> Smtp:
        client = await self.wire("pop3_gateway", "pop3s", source, tls=True)
        for line in lines:
            client.send(line.encode() + b"\r\n")
            await client.line()
        return client

    async def start_tls(self, service: str, label: str, source: str, *lines: str) -> Smtp:
        client = await self.wire(service, label, source)
        for line in lines:
            await client.say(line)
        await client.start_tls(self.live.tls)
        return client

    @property
    def login(self) -> str:
        return f'LOGIN {self.account.address} "{self.account.password}"'

    @property
    def envelope(self) -> tuple[str, ...]:
        return "EHLO client.example", f"MAIL FROM:<{OUTSIDER}>", f"RCPT TO:<{self.account.address}>"


IMAP: dict[str, Start] = {
    "greeting": lambda s, at: s.wire("imap_gateway", "imap", at),
    "starttls": lambda s, at: s.start_tls("imap_gateway", "imap", at, "a STARTTLS"),
    "authenticating": lambda s, at: s.imap(at, "AUTHENTICATE PLAIN"),
    "authenticated": lambda s, at: s.imap(at, s.login, "NOOP"),
    "selected": lambda s, at: s.imap(at, s.login, "SELECT INBOX", "NOOP"),
    "examined": lambda s, at: s.imap(at, s.login, "ENABLE QRESYNC UTF8=ACCEPT", "EXAMINE INBOX", "NOOP"),
    "idle": lambda s, at: s.imap(at, s.login, "SELECT INBOX", "IDLE"),
    "literal": lambda s, at: s.imap(at, s.login, "APPEND INBOX {1000+}"),
    "string literal": lambda s, at: s.imap(at, s.login, "STATUS {20+}"),
    "notify": lambda s, at: s.imap(
        at, s.login, "NOTIFY SET (personal (MessageNew MessageExpunge))", "SELECT INBOX", "NOOP"
    ),
}
SMTP: dict[str, Start] = {
    "greeting": lambda s, at: s.smtp(at),
    "ehlo": lambda s, at: s.smtp(at, "EHLO client.example"),
    "starttls": lambda s, at: s.start_tls("smtp_ingress", "submission", at, "EHLO client.example", "STARTTLS"),
    "recipient": lambda s, at: s.smtp(at, *s.envelope),
    "data": lambda s, at: s.smtp(at, *s.envelope, "DATA"),
    "bdat": lambda s, at: s.smtp(at, *s.envelope, "BDAT 4\r\nA: b"),
    "auth": lambda s, at: s.smtp(at, "EHLO client.example", "AUTH LOGIN", label="submissions"),
}
POP3: dict[str, Start] = {
    "greeting": lambda s, at: s.wire("pop3_gateway", "pop3", at),
    "stls": lambda s, at: s.start_tls("pop3_gateway", "pop3", at, "STLS"),
    "user": lambda s, at: s.pop3(at, f"USER {s.account.address}"),
    "auth": lambda s, at: s.pop3(at, "AUTH PLAIN"),
    "transaction": lambda s, at: s.pop3(at, f"USER {s.account.address}", f"PASS {s.account.password}"),
}
STATES: dict[str, tuple[dict[str, Start], Callable[[Hostile], bytes]]] = {
    "imap": (IMAP, lambda hostile: hostile.imap(COMMANDS)),
    "smtp": (SMTP, lambda hostile: hostile.smtp(COMMANDS)),
    "pop3": (POP3, lambda hostile: hostile.pop3(COMMANDS)),
}


async def told(client: Streams) -> bytes:
    """What the server says until it is quiet or ends the session; bounded in octets and time."""
    out, end = b"", time.monotonic() + SESSION_SECONDS
    while len(out) < MOST and time.monotonic() < end:
        try:
            piece = await asyncio.wait_for(client.reader.read(1 << 16), QUIET_SECONDS)
        except (TimeoutError, OSError):  # quiet, or cut off: either is an answer to what it was sent
            break
        if not piece:
            break
        out += piece
    return out


async def play(start: Start, sessions: Sessions, hostile: Hostile, data: bytes, source: str) -> bytes:
    """One session from a state; all that it was told."""
    client = await start(sessions, source)
    try:
        for piece in hostile.pieces(data):
            client.send(piece)
            await client.writer.drain()
            if hostile.rng.random() < 0.05:
                await asyncio.sleep(0)
        return await told(client)
    except OSError:
        return b""  # it hung up on us in the middle
    finally:
        client.writer.transport.abort()


@pytest.mark.parametrize("protocol", STATES)
async def test_sessions_broken_in_every_state(
    live: Live, protocol: str, seed: int, fuzz_seconds: float, fuzz_full: bool
) -> None:
    states, make = STATES[protocol]
    accounts = [live.account() for _ in range(AT_ONCE)]
    for account in accounts[:4]:
        for subject in ("one", "two"):
            await live.deliver(account, message(subject))
    names = sorted(states)
    source = cases(seed, max(2.0, fuzz_seconds))
    played = dict.fromkeys(names, 0)

    async def run(lane: int) -> None:
        sessions = Sessions(live, accounts[lane])  # POP3 gives a maildrop to one session only
        for number, hostile in source:
            name = names[number % len(names)]
            data = make(hostile)
            with replayable(number, data):
                at = f"127.{1 + number % 200}.{1 + number // 200 % 250}.{1 + lane}"
                try:
                    heard = await play(states[name], sessions, hostile, data, at)
                except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
                    raise AssertionError(f"{protocol} doesn't get to {name}: {error!r}") from error
                told_nothing_private(live, heard)
            played[name] += 1

    async with watched(live, f"{protocol} sessions broken at random", full=fuzz_full), asyncio.TaskGroup() as lanes:
        for lane in range(AT_ONCE):
            lanes.create_task(run(lane))
    print(f"{protocol}: {played}")
    assert min(played.values()) > 0, played
