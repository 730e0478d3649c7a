"""FETCH beyond the transcripts: large messages, many of them, slow readers, and rows that move meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import re
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_gateway.blocks import BlockCache
from imap_gateway.fetch import Cursor, Fetcher, Piece
from imap_gateway.view import View
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AppendMessage, Columns, Delta, FlagTable, MailboxChanges, MailboxHead, MailboxId

from tests.support.imap import ALICE, Running, imap_gateway


def message(number: int, size: int) -> bytes:
    head = b"From: a@example.test\r\nSubject: number %d\r\n\r\n" % number
    return head + random.Random(number).randbytes(size).hex().encode()[: max(0, size - len(head))]


async def fill(running: Running, contents: list[bytes]) -> None:
    account = (await running.store.directory.resolve([ALICE]))[0].account_id
    assert account is not None
    await running.store.write.append(account, "INBOX", [AppendMessage(each) for each in contents], key=os.urandom(16))


async def test_messages_of_every_size_come_to_the_byte() -> None:
    contents = [message(number, size) for number, size in enumerate([50, 70_000, 300, 3_000_000, 200, 1_048_576, 60])]
    async with imap_gateway() as running:
        await fill(running, contents)
        client = await running.session("INBOX")
        lines = await client.ok("UID FETCH 1:* (RFC822.SIZE BODY.PEEK[])")
        assert lines == [
            b"* %d FETCH (UID %d RFC822.SIZE %d BODY[] {%d}\r\n%b)" % (n, n, len(each), len(each), each)
            for n, each in enumerate(contents, 1)
        ]
        lines = await client.ok("FETCH 1:* (BODY.PEEK[]<40.100000> BODY.PEEK[HEADER.FIELDS (Subject)])")
        for number, (line, each) in enumerate(zip(lines, contents, strict=True)):
            piece, fields = each[40:100_040], b"Subject: number %d\r\n\r\n" % number
            assert line == b"* %d FETCH (BODY[]<40> {%d}\r\n%b BODY[HEADER.FIELDS (Subject)] {%d}\r\n%b)" % (
                *(number + 1, len(piece), piece),
                *(len(fields), fields),
            )
        lines = await client.ok("FETCH 2,4 BODY[TEXT]")
        for line, each in zip(lines, (contents[1], contents[3]), strict=True):
            text = each[each.index(b"\r\n\r\n") + 4 :]
            assert b"BODY[TEXT] {%d}\r\n%b FLAGS (\\Seen \\Recent))" % (len(text), text) in line


async def test_seen_is_shown_only_where_it_is_new() -> None:
    async with imap_gateway() as running:
        await fill(running, [message(number, 100) for number in range(3)])
        client = await running.session("INBOX")
        await client.ok("STORE 2 +FLAGS.SILENT (\\Seen)")
        lines = await client.ok("FETCH 1:3 BODY[]<0.1>")
        assert [b"FLAGS (\\Seen \\Recent)" in line for line in lines] == [True, False, True]
        assert await client.ok("NOOP") == []


async def test_a_header_over_256_kb_is_read_as_a_range() -> None:
    huge = b"X-Pad: " + b"a" * 70 + b"\r\n"
    content = b"Subject: before\r\n" + huge * 4000 + b"X-Last: yes\r\n\r\nbody\r\n"
    async with imap_gateway() as running:
        await fill(running, [message(0, 80), content])
        client = await running.session("INBOX")
        lines = await client.ok("FETCH 1:2 (UID BODY.PEEK[HEADER.FIELDS (X-Last Subject)])")
        fields = b"Subject: before\r\nX-Last: yes\r\n\r\n"
        assert lines[1] == b"* 2 FETCH (UID 2 BODY[HEADER.FIELDS (X-Last Subject)] {%d}\r\n%b)" % (len(fields), fields)


async def test_a_client_that_does_not_read_stops_the_producer() -> None:
    contents = [message(number, 900_000) for number in range(30)]
    async with imap_gateway() as running:
        await fill(running, contents)
        client = await running.session("INBOX")
        asked: list[int] = []
        read = running.store.read.contents

        async def counted(account, ids, limit):  # type: ignore[no-untyped-def]
            asked.append(len(ids))
            return await read(account, ids, limit)

        running.gateway.bodies._read.contents = counted  # type: ignore[method-assign]
        client.send(b"f FETCH 1:* BODY.PEEK[]\r\n")
        other = await running.session("INBOX")
        while len(asked) < 2:
            await other.ok("NOOP")
        for _ in range(50):
            await other.ok("NOOP")
        assert sum(asked) < 15, "the rest waits until the client reads"
        lines = await client.until(b"f OK")
        assert sum(map(len, lines)) > 27_000_000


async def test_expunged_meanwhile_in_the_middle_of_a_fetch() -> None:
    contents = [message(number, 600_000) for number in range(12)]
    async with imap_gateway() as running:
        await fill(running, contents)
        client, other = await running.session("INBOX"), await running.session("INBOX")
        client.send(b"f FETCH 1:* (UID BODY.PEEK[])\r\n")
        first = await client.response()
        await other.ok("STORE 8:9 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        lines = [first, *await client.until(b"f OK")]
        heads = [line[: line.index(b" BODY")] for line in lines if b"BODY[]" in line]
        for head in heads:
            number, uid = int(head.split()[1]), int(head.split(b"UID ")[1])
            assert number == uid, "numbers stay as the client knows them"
        assert not any(line.endswith(b"EXPUNGE") for line in lines)
        assert await client.ok("NOOP") == [b"* 8 EXPUNGE", b"* 8 EXPUNGE"]


@pytest.mark.parametrize("items", ["UID BODY.PEEK[]", "UID BODY.PEEK[HEADER.FIELDS (Subject)]", "UID ENVELOPE"])
async def test_rows_that_move_before_loading_has_begun(items: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session's EXPUNGE comes between the choice of a batch and the first step of the task that loads it: each
    UID still brings its own message, never its neighbour's."""
    contents = [message(number, 300) for number in range(1, 7)]
    original = Fetcher._load_next
    moved: list[int] = []

    def load_next(self: Fetcher) -> asyncio.Task[list[Piece]] | None:
        loading = original(self)
        if not moved:
            moved.append(2)
            columns = Columns()
            delta = Delta(
                *(self.view.mailbox_id, self.view.sync, self.view.sync + 1, self.view.uid_next, self.view.flag_table),
                *(columns, array("I", moved)),
            )
            assert self.view.apply_delta(delta, None)
        return loading

    monkeypatch.setattr(Fetcher, "_load_next", load_next)
    async with imap_gateway() as running:
        await fill(running, contents)
        client = await running.session("INBOX")
        lines = await client.ok(f"FETCH 1:5 ({items})")
        assert [int(line.split(b"UID ")[1].split()[0]) for line in lines] == [1, 3, 4, 5]
        for line in lines:
            uid = int(line.split(b"UID ")[1].split()[0])
            assert re.findall(rb"number (\d+)", line) == [b"%d" % uid]


async def test_many_flags_over_blocks_and_keywords() -> None:
    async with imap_gateway() as running:
        await fill(running, [b"\r\n"] * 1000)
        client = await running.session("INBOX")
        for number in range(0, 120, 7):
            await client.ok(f"STORE {number + 1}:{number + 300} +FLAGS.SILENT (Key{number})")
        await client.ok("STORE 5:990 +FLAGS.SILENT (" + " ".join(f"W{i}" for i in range(70)) + ")")
        lines = await client.ok("FETCH 1:* (UID FLAGS)")
        assert lines == await client.ok("FETCH 1:* (UID FLAGS)"), "from the cache"
        assert len(lines) == 1000
        assert lines[0] == b"* 1 FETCH (UID 1 FLAGS (Key0 \\Recent))"
        assert lines[4].count(b" W") == 70
        single = [(await client.ok(f"FETCH {number} (UID FLAGS)"))[0] for number in (1, 256, 257, 700, 1000)]
        assert single == [lines[number - 1] for number in (1, 256, 257, 700, 1000)]


def view_of(uids: list[int]) -> View:
    view = View(MemoryStore().add_account("x@example.test", "password"), MailboxId(bytes(16)), BlockCache(1000))
    count = len(uids)
    head = MailboxHead(MailboxId(bytes(16)), "x", 1, max(uids, default=0) + 1, 2, count, 0, 0, 0, FlagTable())
    zeros, dates = array("Q", bytes(8 * count)), array("q", bytes(8 * count))
    columns = Columns(
        array("I", uids), zeros[:], [zeros[:]], bytes(16 * count), dates[:], dates[:], array("I", [10] * count)
    )
    view.load(MailboxChanges(head, 0, columns, array("I")))
    return view


@given(
    st.sets(st.integers(1, 900), max_size=600),
    st.lists(st.tuples(st.integers(1, 900), st.integers(0, 300)), max_size=5),
)
def test_the_cursor_visits_every_row_once(uids: set[int], spans: list[tuple[int, int]]) -> None:
    from mailboat_wire.imap.sequence import SequenceSet

    ranges = SequenceSet(tuple((low, low + span) for low, span in spans)).resolve(900)
    ordered = sorted(uids)
    view = view_of(ordered)
    expected = [row for row, uid in enumerate(ordered) if any(low <= uid <= high for low, high in ranges)]
    for rows, limit in ((1, None), (7, None), (1024, None), (64, 55), (64, 3)):
        cursor, found = Cursor(view, ranges), []
        while pieces := cursor.take(rows, limit):
            batch = [row for piece in pieces for row in piece]
            assert len(batch) <= rows
            assert limit is None or 10 * len(batch) <= limit or len(batch) == 1
            found.extend(batch)
        assert found == expected


@pytest.mark.parametrize("item", ["ENVELOPE", "BODY", "BODYSTRUCTURE", "BODY.PEEK[]", "BODY.PEEK[1]", "RFC822.HEADER"])
async def test_a_body_that_is_gone_spoils_nothing(item: str) -> None:
    async with imap_gateway() as running:
        await fill(running, [message(1, 100), message(2, 100)])
        client = await running.session("INBOX")
        account = next(iter(running.store.accounts.values()))
        account.bodies.pop(next(iter(account.bodies)))
        lines = await client.ok(f"FETCH 1:2 (UID {item})")
        assert [line.split(b" ", 3)[1] for line in lines] == [b"1", b"2"]
        assert b"NIL" in lines[0]
