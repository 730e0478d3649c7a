"""Which command is legal in which state: each cell of the table in docs/access.md, on a real server."""

from __future__ import annotations

import base64

import pytest
from pop3_gateway.commands import COMMANDS

from tests.support.documents import quoted, table

STATES = ("before TLS", "authorization", "transaction")
ROWS = {
    quoted(cells[0])[0]: dict(zip(STATES, cells[1:], strict=True)) for cells in table("docs/access.md", "POP3 command")
}
LOGIN, PASSWORD = "alice@example.test", "secret-enough"
PLAIN = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode()).decode()
LINES = {
    "USER": f"USER {LOGIN}",
    "PASS": f"PASS {PASSWORD}",
    "AUTH": f"AUTH PLAIN {PLAIN}",
    "RETR": "RETR 1",
    "TOP": "TOP 1 0",
    "DELE": "DELE 1",
}
MULTILINE = {"CAPA", "LIST", "UIDL", "RETR", "TOP"}


async def reach(pop3, state: str):
    """A connection in this state."""
    if state == "transaction":
        return await pop3.logged_in()
    return await pop3.connect("pop3" if state == "before TLS" else "pop3s")


async def ended(wire) -> None:
    """The client goes; its lease is free once the server has said that it saw it."""
    wire.send(b"QUIT\r\n")
    await wire.rest()


def test_every_command_has_its_row() -> None:
    assert set(ROWS) == {name.decode() for name in COMMANDS}
    assert {cell for cells in ROWS.values() for cell in cells.values()} == {"yes", "–", "TLS first", "USER first"}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("state", STATES)
async def test_every_cell_of_the_table_is_true(pop3, state: str, name: str) -> None:
    cell = ROWS[name][state]
    wire = await reach(pop3, state)
    if name == "PASS" and cell == "yes":
        assert (await wire.say(f"USER {LOGIN}")).startswith("+OK")
    answer = await wire.say(LINES.get(name, name))
    expected = {"yes": "+OK", "–": "-ERR", "TLS first": "-ERR [AUTH] TLS required", "USER first": "-ERR Send USER"}
    assert answer.startswith(expected[cell])
    if cell != "yes":  # it led nowhere: the state is the same
        probe = await wire.say("STAT")
        assert probe.startswith("+OK 3 " if state == "transaction" else "-ERR")
        await ended(wire)
    assert await pop3.inbox() == [1, 2, 3], "nothing is removed before QUIT"


@pytest.mark.parametrize("line", ["XYZZY", "APOP alice x", "LOGIN a b", "", " USER a"])
@pytest.mark.parametrize("state", STATES)
async def test_what_has_no_row_is_no_command(pop3, state: str, line: str) -> None:
    assert (await (await reach(pop3, state)).say(line)).startswith("-ERR")


async def test_update_is_reached_from_transaction_alone_and_reads_nothing_more(pop3) -> None:
    for name in ("pop3", "pop3s"):
        wire = await pop3.connect(name)
        wire.send(b"DELE 1\r\nQUIT\r\nSTAT\r\n")
        assert (await wire.rest()).decode().count("-ERR") == 1, "DELE alone: behind QUIT nothing is answered"
    wire = await pop3.logged_in()
    assert (await wire.say("DELE 2")).startswith("+OK")
    wire.send(b"QUIT\r\n" + "".join(f"{LINES.get(name, name)}\r\n" for name in ROWS).encode())
    assert (await wire.rest()).decode() == "+OK Bye\r\n"
    assert await pop3.inbox() == [1, 3]
