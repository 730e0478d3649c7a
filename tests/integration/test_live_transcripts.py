"""The transcripts of `tests/transcripts/` against the real services: all on one pod, and every second connection on
another pod."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imap import Client
from tests.support.stack import Live
from tests.transcripts.player import Player

FILES = sorted((Path(__file__).parent.parent / "transcripts").glob("*.txt"))


@pytest.mark.stack
@pytest.mark.parametrize("pods", [1, 2])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_transcript_on_the_stack(live: Live, path: Path, pods: int) -> None:
    account = live.account()

    async def connect(number: int) -> Client:
        return await live.imap(1 + (number - 1) % pods)

    await Player(connect, account.address, account.password, seconds=10).play(path)


def test_transcripts_are_found() -> None:
    assert len(FILES) >= 25
