"""What an attack may not do: kill a process, make it keep memory, slow others down, be told or logged what is private.

async with watched(live, "silent connections", full=fuzz_full):
    ...the attack...
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.stack import Live

MIB = 1 << 20
# Resident memory of one process under any attack: docs/reliability.md says what it consists of.
BOUNDS = {"smtp_ingress": 900 * MIB, "imap_gateway": 900 * MIB, "pop3_gateway": 250 * MIB, "storage_api": 1200 * MIB}
# The 99th percentile of another user's answers, on two cores that the attacker shares; on a machine that is busy with
# other things as well, so many times what it was just before.
CANARY_MS = 1000.0
CANARY_TIMES = 10
QUIET_SECONDS = 2.0
SAMPLE_SECONDS = 0.05
NOTES: list[str] = []

# What no client may ever read: exceptions, places in the code, settings, addresses inside.
PRIVATE = re.compile(
    rb"Traceback|\w(?:Error|Exception)\b[(:]| at 0x[0-9a-f]{4}|site-packages|\.py\b|mongodb://|amqp://|\bMB_[A-Z]|"
    rb"pymongo|asyncio|<class |NoneType|errno"
)


def told_nothing_private(live: Live, told: bytes) -> None:
    """Looks through what a client has read."""
    found = PRIVATE.search(told)
    assert found is None, told[max(0, found.start() - 200) : found.end() + 200]
    inside = [path.read_text().strip().encode() for path in live.stack.layout.tokens.iterdir()]
    assert not any(token in told for token in inside), "a token of the platform's own"


def wrong_in_logs(live: Live, start: dict[str, int]) -> list[str]:
    """Lines since `start` that tell of a bug: a traceback, or the level error."""
    found = []
    for path in sorted(live.stack.layout.log.glob("*.log")):
        if path.name.startswith(("mongod", "rabbitmq", "epmd")):
            continue
        with path.open("rb") as stream:
            stream.seek(start.get(path.name, 0))
            for line in stream:
                if b"Traceback" in line or re.search(rb'"level": ?"(error|critical)"', line):
                    found.append(f"{path.name}: {line[:1500].decode(errors='replace')}")
    return found


def resident(pid: int) -> int:
    """Resident memory of a process, bytes."""
    return int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) * 1024


class Memory(threading.Thread):
    """The highest resident memory of processes while it runs."""

    def __init__(self, pids: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._pids = pids
        self._over = threading.Event()
        self.start_bytes = {name: resident(pid) for name, pid in pids.items()}
        self.peak = dict(self.start_bytes)

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> None:
        for name, pid in self._pids.items():
            self.peak[name] = max(self.peak[name], resident(pid))

    def stop(self) -> None:
        self._over.set()
        self.join()
        self.sample()


@asynccontextmanager
async def canary(live: Live, pod: int = 1) -> AsyncIterator[dict[str, Any]]:
    """Another user of one pod's services; what it saw is in the dictionary afterwards."""
    account = live.account()
    given = {
        "login": account.address,
        "password": account.password,
        "token": live.stack.env["MB_API_TOKEN"],
        "ca": str(live.stack.layout.ca),
        "imaps": live.port("imap_gateway", "imaps", pod),
        "pop3s": live.port("pop3_gateway", "pop3s", pod),
        "smtp": live.port("smtp_ingress", "smtp", pod),
        "rest": live.port("storage_api", "rest", pod),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fuzz.canary", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    seen: dict[str, Any] = {}
    try:
        process.stdin.write(json.dumps(given).encode() + b"\n")
        assert await process.stdout.readline() == b"ready\n"
        yield seen
        process.stdin.close()
        seen |= json.loads(await asyncio.wait_for(process.stdout.read(), 60))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def watched(live: Live, attack: str, *, full: bool) -> AsyncIterator[None]:
    """Everything that must hold of an attack on the first pod. With `full` its figures are noted, the latency is judged."""
    names = [f"{service}-1" for service in BOUNDS]
    pids = {name: pid for name in names if (pid := live.stack.pid(name)) is not None}
    assert len(pids) == len(names), "all services run"
    logs = live.whole.log_ends()
    quiet: dict[str, Any] = {}
    if full:
        async with canary(live) as quiet:
            await asyncio.sleep(QUIET_SECONDS)  # what is measured is this time
    memory = Memory(pids)
    async with canary(live) as seen:
        memory.start()
        try:
            yield
        finally:
            memory.stop()
    now = {name: live.stack.pid(name) for name in names}
    assert now == pids, f"a process died: {pids} became {now}"
    wrong = wrong_in_logs(live, logs)
    assert not wrong, "\n".join(wrong[:5])
    assert not seen["faults"], f"another user was cut off: {seen['faults']}"
    grown = ", ".join(f"{name[:-2]} {memory.start_bytes[name] // MIB}→{memory.peak[name] // MIB}" for name in names)
    others = ", ".join(f"{name} {of['p50']}/{of['p99']}/{of['max']}" for name, of in seen["figures"].items())
    NOTES.append(f"{attack}: MiB {grown}; others' ms (p50/p99/max) {others}")
    print(NOTES[-1])
    for name in names:
        assert memory.peak[name] < BOUNDS[name[:-2]], (name, memory.peak[name] // MIB)
    for name, of in seen["figures"].items() if full else ():
        before = quiet["figures"][name]["p99"] or 0.0
        print(f"{name}: p99 before {before} ms")
        assert (of["p99"] or 0.0) <= max(CANARY_MS, CANARY_TIMES * before), f"{name} was slowed down: {of}"
