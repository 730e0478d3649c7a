"""Which command is legal in which state: each cell of the table in docs/access.md, on a real server."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from imap_gateway.commands import registry
from imap_gateway.quota import ROOT
from mailboat_common.tls import CertificateStore
from mailboat_store_client.memory import MemoryStore

from tests.support.documents import quoted, table
from tests.support.imap import ALICE, PASSWORD, TEST_POLICY, Client, Running, imap_gateway
from tests.support.wire import authority_fixture, client_tls_fixture, tls_dir_fixture

__all__ = ["authority_fixture", "client_tls_fixture", "tls_dir_fixture"]

STATES = ("before TLS", "not authenticated", "authenticated", "selected")
ROWS = {
    quoted(cells[0])[0]: dict(zip(STATES, cells[1:], strict=True)) for cells in table("docs/access.md", "IMAP command")
}
PLAIN = base64.b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode()
POLICY = replace(TEST_POLICY, auth_require_tls=True, compress=True)

# A line of each command that succeeds where it is legal.
LINES = {
    "APPEND": "APPEND INBOX {3+}\r\nnew",
    "AUTHENTICATE": f"AUTHENTICATE PLAIN {PLAIN}",
    "COMPRESS": "COMPRESS DEFLATE",
    "COPY": "COPY 1 Archive",
    "CREATE": "CREATE Fresh",
    "DELETE": "DELETE Old",
    "ENABLE": "ENABLE CONDSTORE",
    "EXAMINE": "EXAMINE INBOX",
    "FETCH": "FETCH 1 FLAGS",
    "GETMETADATA": 'GETMETADATA "" /private/comment',
    "GETQUOTA": f'GETQUOTA "{ROOT.decode()}"',
    "GETQUOTAROOT": "GETQUOTAROOT INBOX",
    "ID": "ID NIL",
    "IDLE": "IDLE\r\nDONE",
    "LIST": 'LIST "" *',
    "LOGIN": f'LOGIN {ALICE} "{PASSWORD}"',
    "LSUB": 'LSUB "" *',
    "MOVE": "MOVE 1 Archive",
    "NOTIFY": "NOTIFY NONE",
    "RENAME": "RENAME Old Older",
    "REPLACE": "REPLACE 1 INBOX {3+}\r\nnew",
    "SEARCH": "SEARCH ALL",
    "SELECT": "SELECT Archive",
    "SETMETADATA": 'SETMETADATA INBOX (/private/comment "x")',
    "SORT": "SORT (SIZE) US-ASCII ALL",
    "STATUS": "STATUS INBOX (MESSAGES)",
    "STORE": "STORE 1 +FLAGS (\\Seen)",
    "SUBSCRIBE": "SUBSCRIBE Old",
    "THREAD": "THREAD REFERENCES US-ASCII ALL",
    "UNSUBSCRIBE": "UNSUBSCRIBE Old",
}

# What tells a state from the one above it.
PROBES = {
    "before TLS": [("NAMESPACE", False)],
    "not authenticated": [("NAMESPACE", False)],
    "authenticated": [("NAMESPACE", True), ("FETCH 1 UID", False)],
    "selected": [("FETCH 1 UID", True)],
}


@pytest.fixture
async def running(tls_dir: Path) -> AsyncIterator[Running]:
    async with imap_gateway(policy=POLICY, tls=CertificateStore(tls_dir)) as gateway:
        yield gateway


async def reach(running: Running, context: ssl.SSLContext, state: str) -> Client:
    """A connection in this state, with messages in INBOX and a mailbox Old."""
    client = await running.connect()
    if state == "before TLS":
        return client
    await client.ok("STARTTLS")
    await client.writer.start_tls(context, server_hostname="localhost")
    if state == "not authenticated":
        return client
    await client.login()
    for name in ("Old", "Archive"):
        await client.command(f"CREATE {name}")
    await client.append("INBOX", b"one")
    if state == "selected":
        await client.ok("SELECT INBOX")
    return client


async def contents(store: MemoryStore) -> list[tuple[str, int, int]]:
    """What anybody changed would change."""
    (account,) = store.accounts.values()
    tree = await store.read.tree(account.account_id)
    return [(info.name, info.messages, info.highest_modseq) for info in tree.mailboxes]


def test_every_command_has_its_row() -> None:
    assert set(ROWS) == {entry.name.decode() for entry in registry.entries()}
    assert {cell for cells in ROWS.values() for cell in cells.values()} == {"yes", "–", "TLS first"}


@pytest.mark.parametrize("state", STATES)
async def test_every_cell_of_the_table_is_true(running: Running, client_tls: ssl.SSLContext, state: str) -> None:
    for name, cells in ROWS.items():
        client = await reach(running, client_tls, state)
        before = await contents(running.store)
        answer = (await client.command(LINES.get(name, name)))[-1]
        expected = {"yes": b" OK", "–": b" BAD ", "TLS first": b" NO [PRIVACYREQUIRED]"}[cells[state]]
        assert expected in answer, (name, state, answer)
        if cells[state] != "yes":
            assert await contents(running.store) == before, name
            for line, legal in PROBES[state]:
                assert (b" OK" in (await client.command(line))[-1]) is legal, f"{name} led to another state"
        await client.close()


@pytest.mark.parametrize("line", ["XYZZY", "UID XYZZY 1", "EXPN", "UID LOGIN a b"])
@pytest.mark.parametrize("state", STATES)
async def test_what_has_no_row_is_no_command(
    running: Running, client_tls: ssl.SSLContext, state: str, line: str
) -> None:
    client = await reach(running, client_tls, state)
    assert b" BAD " in (await client.command(line))[-1]


@pytest.mark.parametrize("state", STATES)
async def test_behind_logout_nothing_is_read(running: Running, client_tls: ssl.SSLContext, state: str) -> None:
    client = await reach(running, client_tls, state)
    before = await contents(running.store)
    client.send(b"bye LOGOUT\r\n" + b"".join(b"t %b\r\n" % LINES.get(name, name).encode() for name in ROWS))
    lines = await client.until(b"bye ")
    assert lines[-2].startswith(b"* BYE")
    assert lines[-1].startswith(b"bye OK")
    assert await client.response() == b""
    assert await contents(running.store) == before
