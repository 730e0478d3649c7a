"""Every transcript against the gateway on the in-memory store: on one pod, and with the second connection on another."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from mailboat_store_client.memory import MemoryStore

from tests.support.imap import ALICE, PASSWORD, Client, imap_gateway
from tests.transcripts.player import Player, TranscriptError, parse

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("pods", [1, 2])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_transcript(path: Path, pods: int) -> None:
    store = MemoryStore()
    account = store.account(store.add_account(ALICE, PASSWORD))

    async def operate(settings: dict[str, Any]) -> None:
        for name, value in settings.items():
            setattr(account, name, value)

    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(imap_gateway(store)) for _ in range(pods)]

        async def connect(number: int) -> Client:
            return await gateways[(number - 1) % pods].connect()

        await Player(connect, ALICE, PASSWORD, operate=operate).play(path)


def test_there_are_transcripts() -> None:
    assert len(FILES) >= 25


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("session 1 INBOX\nC1: NOOP\nS1: NO", "OK Nothing done"),
        ("session 1 INBOX\nC1: NOOP\nS1: OK\nN1: ...Nothing done", "must not come"),
        (
            "mailbox INBOX 1\nsession 1 INBOX\nC1: FETCH 1 UID\nS1: * 1 FETCH (UID $a)\nC1: FETCH 1 UID\nS1: * $a NO",
            "OK",
        ),
        ("needs NOTHING\n", "lacks NOTHING"),
        ('account {"quota_messages": 1}\n', "no operator"),
    ],
)
async def test_the_player_notices(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text(text)
    async with imap_gateway() as running:

        async def connect(_number: int) -> Client:
            return await running.connect()

        with pytest.raises(TranscriptError, match=fault):
            await Player(connect, ALICE, PASSWORD).play(path)


def test_literals_are_counted() -> None:
    (step,) = parse("C1: APPEND INBOX {{\na\n\nb\n}} x\n")
    assert step.text == "APPEND INBOX {8+}\r\na\r\n\r\nb\r\n x"
