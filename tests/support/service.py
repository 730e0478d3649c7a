"""A service as its operator sees it: a process with an environment, an admin port, log lines and an exit status.

async with service("delivery_worker", {"MB_AMQP_URL": ...}) as worker:
    await worker.until_ready()
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.support.rabbitmq import free_ports

WAIT_SECONDS = 60


@dataclass(slots=True)
class ServiceProcess:
    """A running process; `lines` are the log lines read so far."""

    process: asyncio.subprocess.Process
    admin_port: int
    lines: list[dict[str, object]] = field(default_factory=list)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the admin port."""
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            return answer.status, await answer.text()

    async def until_ready(self, accept: Callable[[list[str]], bool] = lambda failing: not failing) -> None:
        """Asks /readyz until what fails is as wanted."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if accept(json.loads((await self.get("/readyz"))[1])["failing"]):
                    return
                await asyncio.sleep(0.05)

    async def log_line(self, event: str) -> dict[str, object]:
        """The next log line about `event`."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while line := await self.process.stderr.readline():
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"ended without {event}: {self.lines}")

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """The exit status."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def service(package: str, settings: Mapping[str, str]) -> AsyncIterator[ServiceProcess]:
    """`python -m <package>` with these MB_* settings and no others; gives it once it has started."""
    (port,) = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MB_")}
    environment |= {"MB_ADMIN_PORT": str(port), "MB_DRAIN_SECONDS": "0.4", **settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", package, env=environment, stderr=asyncio.subprocess.PIPE
    )
    running = ServiceProcess(process, port)
    try:
        await running.log_line("started")
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
