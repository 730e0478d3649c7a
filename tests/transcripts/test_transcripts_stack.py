"""Every transcript against the real stack: two gateways, two storage services, MongoDB, RabbitMQ, TLS.

The first and third connection go to one gateway, the second to the other.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.imap import Client
from tests.support.stack import Live
from tests.transcripts.player import Player

pytestmark = pytest.mark.stack

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_transcript_on_the_stack(live: Live, path: Path) -> None:
    account = live.account()

    async def connect(number: int) -> Client:
        return await live.imap(1 + (number - 1) % 2)

    async def operate(settings: dict[str, Any]) -> None:
        await asyncio.to_thread(live.rest, "PATCH", f"/v1/accounts/{account.address}", settings)

    await Player(connect, account.address, account.password, operate=operate, seconds=10).play(path)
