"""A drill: a backup of MongoDB's volume is put back, hours of work are undone, and nobody is misled by it.

The data directory is copied while mongod stands. Afterwards mail comes, goes and is delivered elsewhere, all of which
the copy doesn't know. When it is back and `mailboatctl restored` has run (with a worker that dies in the middle of it),
no UID, position or `seq` that somebody has seen means something else, nothing held is sent, and mail flows.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from mailboat_local.process import free_offset
from mailboat_local.stack import Stack

from tests.faults.clients import Closed, ImapClient, SmtpClient, fetch_of
from tests.faults.harness import Platform, poll
from tests.faults.load import Account
from tests.support.dns_server import dns_server
from tests.support.smtp_sink import Says, Sink, smtp_sink

pytestmark = pytest.mark.stack

SERVICES = ("storage_api", "storage_worker", "smtp_ingress", "imap_gateway", "delivery_worker")
FAR = "far.example"
ZONE = f"{FAR}. 60 A 127.0.0.1"
WAIT_SECONDS = 60.0
STATUS = re.compile(rb'\* STATUS "?([^" ]+)"? \(UIDVALIDITY (\d+) UIDNEXT (\d+) HIGHESTMODSEQ (\d+)\)')


@dataclass(slots=True)
class Told:
    """What a listener was told, and what contradicts it."""

    by_seq: dict[tuple[str, int], str] = field(default_factory=dict)
    by_position: dict[int, str] = field(default_factory=dict)
    gaps: list[dict[str, int]] = field(default_factory=list)
    clashes: list[object] = field(default_factory=list)

    def tell(self, event: dict[str, Any]) -> None:
        """One event."""
        if event["type"] == "stream.gap":
            self.gaps.append(event)
            return
        known = (
            self.by_seq.setdefault((event["account_id"], event["seq"]), event["id"]),
            self.by_position.setdefault(event["position"], event["id"]),
        )
        if any(first != event["id"] for first in known):
            self.clashes.append(event)

    def has(self, event_id: str) -> bool:
        """Whether it was told of this event."""
        return event_id in self.by_seq.values()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client has seen of a mailbox."""

    uid_validity: int
    uid_next: int
    modseq: int


@dataclass(slots=True)
class Drill:
    """The platform, its account, and whoever watches it from outside."""

    platform: Platform
    sink: Sink
    account: Account
    stream: Told
    webhook: Told

    async def deliver(self, subject: str) -> None:
        """A message from outside."""
        (endpoint,) = self.platform.sites((1,)).smtp
        client = await SmtpClient.connect(endpoint)
        content = f"From: s@elsewhere.example\r\nSubject: {subject}\r\n\r\n{subject}\r\n".encode()
        code, text = await client.transaction("s@elsewhere.example", [self.account.address], content)
        client.close()
        assert code == 250, text

    async def submit(self, local: str, subject: str) -> None:
        """A message to another server."""
        body = {"from": self.account.address, "to": [f"{local}@{FAR}"], "subject": subject, "text": subject}
        await self.rest("POST", f"/v1/accounts/{self.account.address}/submit", body)

    async def rest(self, method: str, path: str, body: object = None) -> Any:
        """One request to the API."""
        return await asyncio.to_thread(self.platform._rest, method, path, body)

    async def login(self) -> ImapClient:
        """An IMAP session with QRESYNC."""
        (endpoint,) = self.platform.sites((1,)).imap
        client = await ImapClient.connect(endpoint, self.account.address, self.account.password)
        assert (await client.command("ENABLE QRESYNC")).status == "OK"
        return client

    async def ctl(self, *arguments: str) -> tuple[int, str]:
        """(exit status, stdout) of mailboatctl."""
        command = Path(sys.executable).parent / "mailboatctl"
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.platform.stack.env}
        process = await asyncio.create_subprocess_exec(
            command,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, (out + err).decode()

    async def stop(self, name: str) -> None:
        """End a process in order."""
        await asyncio.to_thread(self.platform.stack.stop, name)

    async def start(self, *names: str) -> None:
        """Start processes and wait until they are ready."""
        for name in names:
            await self.platform.start(name)


async def mailboxes(client: ImapClient) -> dict[str, Seen]:
    """What STATUS says of each mailbox."""
    done = await client.command('LIST "" "*" RETURN (STATUS (UIDVALIDITY UIDNEXT HIGHESTMODSEQ))')
    found = [STATUS.fullmatch(response.text) for response in done.untagged]
    return {m[1].decode(): Seen(*(int(m[n]) for n in (2, 3, 4))) for m in found if m is not None}


async def messages(client: ImapClient) -> dict[int, str]:
    """UID and subject of each message in the selected mailbox."""
    done = await client.command("FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    found: dict[int, str] = {}
    for fetched in map(fetch_of, done.untagged):
        if fetched is not None and fetched.uid is not None and fetched.literal is not None:
            found[fetched.uid] = fetched.literal.decode().partition(": ")[2].strip()
    return found


@asynccontextmanager
async def listening_stream(platform: Platform, told: Told) -> AsyncIterator[None]:
    """A client of `/v1/events` that comes back with the last id it saw."""

    async def listen() -> None:
        last = 0
        headers = {"authorization": f"Bearer {platform.stack.env['MB_API_TOKEN']}", "accept": "text/event-stream"}
        async with aiohttp.ClientSession(headers=headers) as client:
            while True:
                url = f"{platform.stack.api_url}/v1/events"
                with suppress(aiohttp.ClientError):
                    async with client.get(url, headers={"last-event-id": str(last)}) as answer:
                        async for line in answer.content:
                            name, _, value = line.decode().rstrip("\n").partition(": ")
                            if name == "id":
                                last = int(value)
                            elif name == "data":
                                told.tell(json.loads(value))
                await asyncio.sleep(0.05)

    task = asyncio.create_task(listen())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


@asynccontextmanager
async def receiver(told: Told) -> AsyncIterator[str]:
    """A webhook's receiver on loopback; its URL."""

    async def take(request: web.Request) -> web.Response:
        told.tell(json.loads(await request.read()))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.fixture
async def drill(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Drill]:
    """A stack of its own, one of each service, that is watched."""
    directory = tmp_path_factory.mktemp("restore") / "stack"
    async with AsyncExitStack() as stack_of:
        dns = await stack_of.enter_async_context(dns_server(ZONE))
        sink = await stack_of.enter_async_context(smtp_sink())
        out = {"MB_DNS_SERVERS": dns.address, "MB_MX_PORT": str(sink.port), "MB_MX_NETWORKS": "127.0.0.0/8"}
        extra = {"delivery_worker": out, "storage_worker": {"MB_WEBHOOK_NETWORKS": "127.0.0.0/8"}}
        stack = Stack(directory, port_offset=free_offset(), replicas=1, extra_env=extra, only=SERVICES)
        stack_of.push_async_callback(asyncio.to_thread, stack.down)
        await asyncio.to_thread(stack.up)
        platform = Platform(stack)
        await asyncio.to_thread(platform.setup)
        (account,) = await platform.accounts(1)
        made = Drill(platform, sink, account, Told(), Told())
        url = await stack_of.enter_async_context(receiver(made.webhook))
        await made.rest("POST", "/v1/webhooks", {"url": url})
        await stack_of.enter_async_context(listening_stream(platform, made.stream))
        yield made


async def back_up(drill: Drill) -> tuple[Path, str]:
    """Copies the volume while mongod stands; (the copy, when)."""
    await drill.stop("mongod-1")
    data = drill.platform.stack.layout.mongo
    copy = data.with_name("backup")
    await asyncio.to_thread(shutil.copytree, data, copy)
    made = str(time.time_ns() // 1_000_000)
    await drill.start("mongod-1", "storage_api-1")
    return copy, made


async def put_back(drill: Drill, copy: Path) -> None:
    """As operations.md says, but that the gateways are left running: they have to notice."""
    for name in ("delivery_worker-1", "storage_worker-1", "storage_api-1"):
        await drill.platform.kill(name)
    await drill.stop("mongod-1")
    data = drill.platform.stack.layout.mongo
    await asyncio.to_thread(shutil.rmtree, data)
    await asyncio.to_thread(copy.rename, data)
    await drill.start("mongod-1", "storage_api-1")


async def test_a_backup_is_put_back_and_nobody_is_misled(drill: Drill) -> None:
    sink, platform = drill.sink, drill.platform
    sink.on[f"RCPT <later@{FAR}>"] = Says("450 4.2.1 Later")
    for number in range(5):
        await drill.deliver(f"before-{number}")
    await drill.submit("later", "twice?")
    await sink.until(command=f"RCPT TO:<later@{FAR}>")
    queue = platform.database["queue"]
    await poll(lambda: queue.count_documents({"state": "ready", "attempt": 2}) == 1, WAIT_SECONDS)
    device = await drill.login()
    await device.command("SELECT INBOX")
    kept = await messages(device)
    device.close()
    copy, backup_time = await back_up(drill)

    # What the backup doesn't know of.
    watching = await drill.login()
    await watching.command("SELECT INBOX")
    for number in range(3):
        await drill.deliver(f"lost-{number}")
    del sink.on[f"RCPT <later@{FAR}>"]
    await drill.rest("POST", "/v1/queue:retry", {"all": True})
    await drill.submit("r", "sent and forgotten")
    await sink.until(messages=2)
    await poll(lambda: queue.count_documents({"state": "done"}) == 2, WAIT_SECONDS)
    device = await drill.login()
    await device.command("CREATE New")
    await device.command("SELECT INBOX")
    await device.command("UID STORE 2:3 +FLAGS (\\Deleted)")
    await device.command("EXPUNGE")
    seen, cached = await mailboxes(device), await messages(device)
    assert (len(cached), "New" in seen) == (6, True)
    device.close()
    outbox, head = platform.database["outbox"], platform.database["feeds"]
    await poll(lambda: outbox.count_documents({}) == 0, WAIT_SECONDS)
    last = (head.find_one({"_id": "head"}) or {})["next"] - 1
    await poll(lambda: last in drill.stream.by_position and last in drill.webhook.by_position, WAIT_SECONDS)

    # The backup is put back; the first worker that sets to work dies of it.
    await put_back(drill, copy)
    arguments = ("restored", "--backup-time", backup_time, "--label", "the drill", "--yes")
    assert (await drill.ctl(*arguments, "--no-wait"))[0] == 0
    pid = await platform.start_armed("storage_worker-1", "restore.before_commit")
    await platform.death(pid, WAIT_SECONDS)
    await platform.start("storage_worker-1", wait=False)
    status, text = await drill.ctl(*arguments)
    assert (status, "1 messages are held" in text) == (0, True), text
    status, text = await drill.ctl(*arguments)
    assert (status, "With --again" in text) == (0, True), "not twice by mistake"
    assert platform.database["restores"].count_documents({"runs": 1, "state": "done"}) == 1

    with pytest.raises(Closed, match="BYE"):
        while True:  # what the session was told until it noticed
            await watching.response(WAIT_SECONDS)
    device = await drill.login()
    now = await mailboxes(device)
    for name, mailbox in now.items():
        assert mailbox.uid_validity > max(each.uid_validity for each in seen.values()), name
        assert mailbox.modseq > seen[name].modseq, name
    assert now.keys() == seen.keys() - {"New"}
    await device.command("CREATE New")
    assert (await mailboxes(device))["New"].uid_validity > max(each.uid_validity for each in now.values())

    inbox = seen["INBOX"]
    select = await device.command(f"SELECT INBOX (QRESYNC ({inbox.uid_validity} {inbox.modseq}))")
    told = b"\n".join(response.text for response in select.untagged)
    assert b"VANISHED" not in told, "its cache is of another UIDVALIDITY: nothing is said about it"
    assert b" FETCH " not in told
    assert b"[UIDVALIDITY %d]" % now["INBOX"].uid_validity in told
    assert await messages(device) == kept
    await drill.deliver("after")
    await device.command("NOOP")
    (new,) = (await messages(device)).keys() - kept.keys()
    assert new >= inbox.uid_next, "no UID comes twice, even if somebody forgets to look at UIDVALIDITY"
    vanished = await device.command(f"SELECT INBOX (QRESYNC ({now['INBOX'].uid_validity} {now['INBOX'].modseq}))")
    assert [f.uid for f in map(fetch_of, vanished.untagged) if f is not None] == [new], "and from here on it resyncs"

    # Nothing that was held is sent, while mail flows; then the operator lets it go.
    await drill.start("delivery_worker-1")
    await drill.submit("r", "fresh")
    await sink.until(messages=3)
    assert b"Subject: fresh\r" in sink.messages[2].content
    (held,) = json.loads((await drill.ctl("queue", "list", "--json"))[1])
    assert (held["state"], "restored from a backup of" in held["why"]) == ("held", True)
    assert held["recipients"][0]["address"] == f"later@{FAR}"
    assert (await drill.ctl("queue", "release", held["id"]))[0] == 0
    await sink.until(messages=4)
    assert b"Subject: twice?\r" in sink.messages[3].content
    await poll(lambda: queue.count_documents({"state": {"$ne": "done"}}) == 0, WAIT_SECONDS)

    # Whoever listens knows that something is missing, and hears no number twice with another meaning.
    await poll(lambda: outbox.count_documents({}) == 0, WAIT_SECONDS)
    newest = (head.find_one({"_id": "head"}) or {})["next"] - 1
    for listener in (drill.stream, drill.webhook):
        await poll(lambda listener=listener: newest in listener.by_position, WAIT_SECONDS)  # type: ignore[misc]
        assert listener.clashes == []
        assert min(position for position in listener.by_position if position > last) > 1 << 32
    assert drill.stream.gaps, "a stream is told of the gap"
    status, findings, _ = await platform.audit()
    assert (status, findings) == (0, [])
