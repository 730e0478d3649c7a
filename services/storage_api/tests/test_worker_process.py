"""storage_api as processes: both roles, MongoDB away at start and later, RabbitMQ never there, the end on SIGTERM."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from mailboat_common.config import SettingsError, parse
from mailboat_common.ids import trace_id, uuid7
from mailboat_store_client.http import HttpStore
from mailboat_store_client.types import DeliveryStatus, Envelope, EnvelopeRecipient, RecipientStatus
from storage_api.db.driver import connect
from storage_api.settings import Settings

from tests.support.mongod import Mongod, free_port

BOOTSTRAP = "the-first-token-0123456789"
SMTP = "token-of-smtp-0123456789"
IMAP = "token-of-imap-0123456789"
MESSAGE = b"Subject: x\r\n\r\nHello\r\n"


class Child:
    """One process of the service with ports of its own."""

    def __init__(self, directory: Path, uri: str, role: str = "api", **more: str) -> None:
        self.ports = {name: free_port() for name in ("admin", "rest", "internal")}
        (directory / "callers.json").write_text(json.dumps({"smtp_ingress": [SMTP], "imap_gateway": [IMAP]}))
        (directory / "bootstrap").write_text(BOOTSTRAP + "\n")
        self.env = {
            "MB_ROLE": role,
            "MB_MONGODB_URI": uri,
            "MB_AMQP_URL": f"amqp://127.0.0.1:{free_port()}/",
            "MB_INTERNAL_TOKEN_FILE": str(directory / "callers.json"),
            "MB_BOOTSTRAP_TOKEN_FILE": str(directory / "bootstrap"),
            "MB_DRAIN_SECONDS": "1",
            **{f"MB_{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
            **more,
        }
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MB_")}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "storage_api", env=inherited | self.env, stderr=asyncio.subprocess.PIPE
        )

    async def output(self) -> tuple[int, str]:
        """Exit status and log, once it has ended."""
        _, text = await asyncio.wait_for(self.process.communicate(), 20)
        assert self.process.returncode is not None
        return self.process.returncode, text.decode()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def ready(self, http: aiohttp.ClientSession) -> tuple[bool, list[str]]:
        """Readiness and what is missing; nothing answers: not ready."""
        try:
            async with http.get(f"http://127.0.0.1:{self.ports['admin']}/readyz") as answer:
                body = await answer.json()
        except aiohttp.ClientError:
            return False, ["process"]
        return body["ready"], body["failing"]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Asks again and again until it holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*children: Child) -> AsyncIterator[aiohttp.ClientSession]:
    async with AsyncExitStack() as stack:
        for child in children:
            await child.start()
            stack.push_async_callback(child.end)
        yield await stack.enter_async_context(aiohttp.ClientSession())


async def test_the_api_waits_for_mongodb_and_outlives_its_absence(tmp_path: Path) -> None:
    mongod = Mongod(tmp_path / "mongod")
    child = Child(tmp_path, mongod.uri)
    async with running(child) as http:

        async def failing() -> list[str]:
            return (await child.ready(http))[1]

        async def is_ready() -> bool:
            return (await child.ready(http))[0]

        async def lacks_mongodb() -> bool:
            return "mongodb" in await failing()

        await until(lacks_mongodb)
        try:
            await asyncio.to_thread(mongod.start)
            await until(is_ready)
            rest = f"http://127.0.0.1:{child.ports['rest']}/v1"
            headers = {"authorization": f"Bearer {BOOTSTRAP}"}
            for path, body in (
                ("/domains", {"name": "example.test"}),
                ("/accounts", {"address": "a@example.test", "password": "correct horse"}),
            ):
                async with http.post(rest + path, json=body, headers=headers) as answer:
                    assert answer.status == 201, await answer.text()
            store = HttpStore([f"http://127.0.0.1:{child.ports['internal']}"], lambda: SMTP)
            await store.start()
            (found,) = await store.directory.resolve(["a@example.test"])
            assert found.status is RecipientStatus.LOCAL
            envelope = Envelope(
                trace_id(),
                "",
                (EnvelopeRecipient(found.address, found.account_id),),
                hashlib.sha256(MESSAGE).digest(),
            )
            result = await store.delivery.deliver(envelope, MESSAGE)
            assert result.recipients[0].status is DeliveryStatus.FILED

            await asyncio.to_thread(mongod.kill)
            await until(lacks_mongodb)
            again = asyncio.create_task(store.delivery.deliver(envelope, MESSAGE))
            await asyncio.to_thread(mongod.start)
            assert await again == result  # held through the absence, and filed once
            await until(is_ready)
            await store.close()

            child.process.send_signal(signal.SIGTERM)
            status, text = await child.output()
            assert status == 0, text
            assert "MongoDB doesn't answer" in text
            assert "Traceback" not in text
            assert BOOTSTRAP not in text
        finally:
            mongod.stop()


async def test_two_workers_do_every_job_and_end_when_told(mongod: Mongod, tmp_path: Path) -> None:
    name = f"worker_{uuid7().hex()}"
    uri = mongod.uri.replace("/?", f"/{name}?")
    api, workers = Child(tmp_path, uri), [Child(tmp_path, uri, "worker") for _ in range(2)]
    db = connect(uri, app="test")
    async with running(api, *workers) as http:

        async def all_ready() -> bool:
            return all([(await child.ready(http))[0] for child in (api, *workers)])

        await until(all_ready)
        rest = f"http://127.0.0.1:{api.ports['rest']}/v1"
        headers = {"authorization": f"Bearer {BOOTSTRAP}"}
        for path, body in (
            ("/domains", {"name": "example.test"}),
            ("/accounts", {"address": "a@example.test", "password": "correct horse"}),
        ):
            async with http.post(rest + path, json=body, headers=headers) as answer:
                assert answer.status == 201, await answer.text()
        metrics = f"http://127.0.0.1:{workers[0].ports['admin']}/metrics"

        async def every_job_ran() -> bool:
            async with http.get(metrics) as answer:
                text = await answer.text()
            jobs = ("accepted", "collect", "compact", "count", "notices", "retention")
            return all(f'mailboat_worker_runs_total{{job="{job}",result="ok"}}' in text for job in jobs)

        await until(every_job_ran)
        async with http.get(metrics) as answer:
            text = await answer.text()
        for metric in ("storage_bytes", "outbox_pending", "mongodb_pool_wait_seconds_count", "dependency_up"):
            assert f"mailboat_{metric}" in text
        assert 'result="failed"' not in text
        for child in workers:
            child.process.send_signal(signal.SIGTERM)
            status, log = await child.output()
            assert status == 0, log
            assert "Traceback" not in log
    await db.drop()
    await db.close()


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"MB_ROLLE": "api"}, 2, "did you mean MB_ROLE?"),
        ({"MB_REST_PORT": "taken"}, 1, "MB_REST_PORT"),
        ({"MB_INTERNAL_TOKEN_FILE": "broken"}, 1, "isn't JSON"),
    ],
)
async def test_wrong_settings_are_told_in_one_line(
    mongod: Mongod, tmp_path: Path, change: dict[str, str], status: int, said: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        broken = tmp_path / "broken.json"
        broken.write_text("{")
        values = {"taken": str(taken.getsockname()[1]), "broken": str(broken)}
        change = {name: values.get(value, value) for name, value in change.items()}
        child = Child(tmp_path, mongod.uri.replace("/?", f"/settings_{uuid7().hex()}?"), **change)
        async with running(child):
            got, text = await child.output()
    assert got == status, text
    assert said in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MB_ROLE": "king"}, "MB_ROLE"),
        ({"MB_INTERNAL_TOKEN_FILE": "/nowhere/callers.json"}, "MB_INTERNAL_TOKEN_FILE: no such file"),
        ({}, "MB_INTERNAL_TOKEN_FILE: must be set for the role api"),
        ({"MB_ROLE": "worker", "MB_MONGODB_URI": "http://user:geheim@x"}, "MB_MONGODB_URI"),
        ({"MB_ROLE": "worker", "MB_MONGO_DRIVER": "sqlite"}, "MB_MONGO_DRIVER"),
        ({"MB_ROLE": "worker", "MB_MIN_FREE_PERCENT": "100"}, "MB_MIN_FREE_PERCENT"),
    ],
)
def test_settings_are_strict(change: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(Settings, change)
    assert said in str(error.value)
    assert "geheim" not in str(error.value)


def test_the_worker_needs_no_tokens() -> None:
    assert parse(Settings, {"MB_ROLE": "worker"}).internal_token_file is None
