"""Replicas replaced one by one under load: no client sees more than a goodbye between two commands."""

from __future__ import annotations

import random

import pytest
from mailboat_local.layout import SERVICES

from tests.faults.harness import Platform
from tests.faults.rolling import rolled

pytestmark = pytest.mark.stack


async def test_every_replica_is_replaced_under_load(platform: Platform, seed: int, faults_full: bool) -> None:
    """Full: one process at a time, with the services' own drain. Short: one replica of each service at a time."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    drain, idlers = (30.0, 200) if faults_full else (6.0, 20)
    turns = [[f"{service}-{n}"] for n in (1, 2) for service in SERVICES]
    if not faults_full:
        turns = [[f"{service}-{n}" for service in SERVICES] for n in (1, 2)]
    async with rolled(platform, rng, drain_seconds=drain, idlers=idlers) as rolling:
        for names in turns:
            await rolling.replace(names)
        for replaced in rolling.replaced:
            note = f"{replaced.name}: gone {replaced.gone - replaced.told:.1f} s after SIGTERM"
            if replaced.name.startswith("imap"):
                note += f", goodbyes to idlers by second {rolling.histogram(replaced)}"
            print(note)
        platform.notes.append(await rolling.judged())
