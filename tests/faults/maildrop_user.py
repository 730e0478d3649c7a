"""The maildrop users of the load: each retrieves and deletes in its own account by POP3, and leaves without QUIT at times."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from tests.faults.auditor import Kind, Removal, is_unaltered, token_of
from tests.faults.clients import Closed, Endpoint, Pop3Client, Stuck

if TYPE_CHECKING:
    from tests.faults.load import Account, Load

MOST = 12  # messages of one session
LEAVE = 0.1  # share of sessions that end without QUIT


class MaildropUser:
    """The only one who removes messages there."""

    def __init__(self, load: Load, account: Account, rng: random.Random) -> None:
        self._load = load
        self._ledger = load.ledger
        self._account = account
        self._box = account.address
        self._rng = rng
        self._names: dict[str, str] = {}  # unique-id -> token, for ever (RFC 1939 7)
        self._doubtful: set[str] = set()
        self._removed: set[str] = set()

    async def run(self) -> None:
        while not self._load.stopping:
            client: Pop3Client | None = None
            try:
                client = await log_in(self._rng.choice(self._load.sites.pop3), self._account)
                if client is not None:
                    await self._session(client)
            except Closed as error:
                if isinstance(error, Stuck):
                    self._ledger.note(Kind.STUCK, self._box, f"POP3: {error}")
            finally:
                if client is not None:
                    client.close()
            await self._load.pause(self._rng)

    async def _session(self, client: Pop3Client) -> None:
        unique = await listing(client, "UIDL")
        tokens = []
        for number in self._rng.sample(sorted(unique), min(len(unique), self._rng.randint(1, MOST))):
            token = await self._retrieve(client, number, unique[number])
            if token and token not in self._doubtful and self._rng.random() < 0.5:
                reply, _ = await client.command(f"DELE {number}")
                if reply.startswith("+OK"):
                    tokens.append(token)
        if self._rng.random() < LEAVE:
            return  # RFC 1939 6: nothing is removed then
        now = time.monotonic()
        removals = [Removal(self._box, token, None, now) for token in tokens]
        self._ledger.removals += removals
        self._doubtful |= set(tokens)
        reply, _ = await client.command("QUIT")
        if reply.startswith("+OK"):
            self._removed |= set(tokens)
            for removal in removals:
                removal.acked = time.monotonic()

    async def _retrieve(self, client: Pop3Client, number: int, unique_id: str) -> str:
        reply, stuffed = await client.command(f"RETR {number}", lines=True)
        if not reply.startswith("+OK"):
            self._ledger.note(Kind.LOST, self._box, f"POP3: message {number} cannot be retrieved: {reply}")
            return ""
        content = unstuffed(stuffed)
        token = token_of(content)
        if self._names.setdefault(unique_id, token) != token:
            detail = f"POP3: unique-id {unique_id} was {self._names[unique_id]} and is {token}"
            self._ledger.note(Kind.UID_CHANGED, self._box, detail)
        message = self._ledger.messages.get(token)
        if message is None:
            self._ledger.note(Kind.UNKNOWN, self._box, f"POP3: {token or 'a foreign message'}")
            return ""
        if not is_unaltered(content, message):
            self._ledger.note(Kind.ALTERED, self._box, f"POP3: {token}")
        if token in self._removed:
            self._ledger.note(Kind.RESURRECTED, self._box, f"POP3: {token} was removed")
        return token


async def log_in(endpoint: Endpoint, account: Account) -> Pop3Client | None:
    """A session in the TRANSACTION state; None while another has the maildrop. Raises Closed."""
    client = await Pop3Client.connect(endpoint)
    try:
        await client.command(f"USER {account.address}")
        reply, _ = await client.command(f"PASS {account.password}")
    except BaseException:
        client.close()
        raise
    if reply.startswith("+OK"):
        return client
    client.close()
    if reply.startswith("-ERR [IN-USE]"):
        return None
    raise Closed(reply)


async def listing(client: Pop3Client, command: str) -> dict[int, str]:
    """What LIST or UIDL says: number -> value."""
    reply, lines = await client.command(command, lines=True)
    if not reply.startswith("+OK"):
        raise Closed(reply)
    pairs = (line.split() for line in lines.decode().splitlines())
    return {int(number): value for number, value in pairs}


async def retrieve_all(endpoint: Endpoint, account: Account) -> list[bytes]:
    """Every message in the order of its numbers. Raises Closed, also while another session has the maildrop."""
    client = await log_in(endpoint, account)
    if client is None:
        raise Closed("the maildrop is in use")
    try:
        contents = []
        for number in sorted(await listing(client, "UIDL")):
            reply, stuffed = await client.command(f"RETR {number}", lines=True)
            if not reply.startswith("+OK"):
                raise Closed(reply)
            contents.append(unstuffed(stuffed))
        await client.command("QUIT")
        return contents
    finally:
        client.close()


def unstuffed(lines: bytes) -> bytes:
    """A multi-line answer's text (RFC 1939 3)."""
    return lines.removeprefix(b".").replace(b"\r\n.", b"\r\n")
