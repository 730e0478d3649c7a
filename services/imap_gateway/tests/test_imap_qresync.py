"""QRESYNC beyond what transcripts show: below the store's floor, and what clients prove with message numbers."""

from __future__ import annotations

import pytest

from tests.support.imap import ALICE, Client, Running, imap_gateway

MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"


async def mailbox_of(running: Running, client: Client, count: int, *gone: int) -> tuple[int, int]:
    """INBOX with `count` messages of which `gone` UIDs are removed: its UIDVALIDITY, and the modseq before that."""
    for _ in range(count):
        await client.append("INBOX", MESSAGE)
    lines = await client.ok("SELECT INBOX")
    (validity,) = (int(line.split(b"UIDVALIDITY ")[1].split(b"]")[0]) for line in lines if b"UIDVALIDITY" in line)
    (modseq,) = (int(line.split(b"HIGHESTMODSEQ ")[1].split(b"]")[0]) for line in lines if b"HIGHESTMODSEQ" in line)
    await client.ok(f"UID STORE {','.join(map(str, gone))} +FLAGS.SILENT (\\Deleted)")
    await client.ok("EXPUNGE")
    (resolution,) = await running.store.directory.resolve([ALICE])
    assert resolution.account_id is not None
    head = await running.store.read.head(resolution.account_id, "INBOX")
    running.store.prune_vanished(resolution.account_id, head.mailbox_id)
    await client.ok("UNSELECT")
    return validity, modseq


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ("", b"2,5,9:10"),
        (" 1:9", b"2,5,9"),
        (" 1:10 (1,3 1,4)", b"5,9:10"),  # it knows that 2 is gone
        (" 1:10 (1,3,6 1,4,8)", b"9:10"),
        (" 1:10 (1,2,6 1,2,8)", b"2,5,9:10"),  # at number 2 it still has UID 2: what follows proves nothing
        (" 1:10 (1:99 1:99)", b"2,5,9:10"),
    ],
)
async def test_below_the_floor_the_client_is_told_what_it_does_not_prove_to_know(known: str, told: bytes) -> None:
    async with imap_gateway() as running:
        client = await running.session()
        await client.ok("ENABLE QRESYNC")
        validity, modseq = await mailbox_of(running, client, 10, 2, 5, 9, 10)
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq}{known}))")
        assert [line for line in lines if b"VANISHED" in line] == [b"* VANISHED (EARLIER) " + told]


async def test_what_is_still_to_be_told_is_not_told_as_earlier() -> None:
    async with imap_gateway() as running:
        client, other = await running.session(), await running.session()
        await client.ok("ENABLE QRESYNC")
        for _ in range(4):
            await client.append("INBOX", MESSAGE)
        lines = await client.ok("SELECT INBOX")
        (modseq,) = (int(line.split(b"HIGHESTMODSEQ ")[1].split(b"]")[0]) for line in lines if b"HIGHESTMODSEQ" in line)
        await other.ok("SELECT INBOX")
        await other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        lines = await client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
        assert [line for line in lines if b"VANISHED" in line] == [b"* VANISHED 2"]


async def test_a_change_above_an_untold_removal_waits_with_it() -> None:
    async with imap_gateway() as running:
        client, other = await running.session(), await running.session()
        await client.ok("ENABLE QRESYNC")
        for _ in range(3):
            await client.append("INBOX", MESSAGE)
        await client.ok("SELECT INBOX")
        await other.ok("SELECT INBOX")
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        await other.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")
        lines = await client.ok("SEARCH ALL")
        assert not [line for line in lines if b"FETCH" in line or b"VANISHED" in line]
        first, second, *_ = await client.ok("NOOP")
        assert first == b"* VANISHED 1"
        assert second.startswith(b"* 2 FETCH (UID 3 FLAGS (\\Flagged")
