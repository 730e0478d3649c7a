"""`mailboatctl smoke` as it is really started, on the real stack: it passes, it fails at the right step, it cleans up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from mailboatctl.smoke.steps import STEPS

from tests.support.stack import DOMAIN, Live

pytestmark = pytest.mark.stack
PROGRAMS = Path(sys.executable).parent
PORTS = {
    "smtp": ("smtp_ingress", "smtp"),
    "submission": ("smtp_ingress", "submission"),
    "imaps": ("imap_gateway", "imaps"),
    "pop3s": ("pop3_gateway", "pop3s"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a run has left: exit status, its lines by step, and what it said to people."""

    status: int
    lines: dict[str, dict[str, Any]]
    summary: list[str]

    @property
    def failed(self) -> list[str]:
        """The steps that were tried and failed."""
        return [step for step, line in self.lines.items() if "error" in line and not line.get("skipped")]


def options(live: Live, **changes: str) -> list[str]:
    """The stack's listeners (of the second pods where nothing else is said) and its authority."""
    found = {name: f"localhost:{live.port(*port, pod=2)}" for name, port in PORTS.items()}
    found |= {"ca-file": str(live.stack.layout.ca), **changes}
    return [word for name, value in found.items() for word in (f"--{name}", value)]


def metrics(live: Live, *names: str) -> list[str]:
    """Options for the metrics of these processes."""
    return [
        word for name in names for word in ("--metrics", f"http://localhost:{live.stack.ports(name)['admin']}/metrics")
    ]


@asynccontextmanager
async def started(live: Live, *arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, with the token in a file as Kubernetes mounts it, in an environment without anything else of ours."""
    token = live.stack.layout.tokens / "bootstrap"
    ours = {"MB_API_URL": live.stack.api_url, "MB_API_TOKEN_FILE": str(token), **environment}
    process = await asyncio.create_subprocess_exec(
        *arguments, env={"PATH": os.environ["PATH"], **ours}, cwd=live.stack.layout.run,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(live: Live, process: asyncio.subprocess.Process) -> Run:
    """The end of a run. Whatever it was: all steps are told in order, no secret is, and nothing of it is left."""
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert "Traceback" not in err.decode()
    assert [secret for secret in live.whole.secrets if secret.encode() in out + err] == []
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["step"] for line in lines] == list(STEPS), err.decode()
    for collection, member in (("domains", "name"), ("accounts", "address")):
        items = await asyncio.to_thread(live.rest, "GET", f"/v1/{collection}?limit=500")
        assert [item[member] for item in items["items"] if "smoke-" in item[member]] == []
    assert process.returncode is not None
    return Run(process.returncode, {line["step"]: line for line in lines}, err.decode().splitlines())


async def smoke(live: Live, *arguments: str, environment: Mapping[str, str] | None = None) -> Run:
    """A whole run."""
    async with started(live, str(PROGRAMS / "mailboatctl"), "smoke", *arguments, **(environment or {})) as process:
        return await ended(live, process)


async def test_it_passes_and_leaves_nothing_behind(live: Live) -> None:
    gateways = live.services("smtp_ingress", "imap_gateway", "pop3_gateway")
    mixed = {"smtp": f"localhost:{live.port('smtp_ingress', 'smtp', pod=1)}"}
    run = await smoke(live, *options(live, **mixed), *metrics(live, *gateways))
    assert (run.status, run.failed) == (0, []), run.summary
    assert all(line["ok"] for line in run.lines.values())
    assert run.summary[-1] == "Smoke test passed."
    for way in ("reception", "submission"):
        assert run.lines[way]["bytes"] > 20_000
        assert 0 <= run.lines["seen"]["delay_ms"][way] < 10_000
    assert run.lines["reception"]["trace_id"] != run.lines["submission"]["trace_id"]
    assert run.lines["metrics"]["risen"]["mailboat_smtp_messages_total"] == 2
    account = run.lines["account"]["account"]
    assert run.lines["cleanup"]["removed"] == [account, account.partition("@")[2]]
    assert run.lines["cleanup"]["reply"].startswith("550 ")


async def test_a_domain_that_is_there_stays(live: Live) -> None:
    run = await smoke(live, *options(live), "--domain", DOMAIN)
    assert (run.status, run.failed) == (0, []), run.summary
    assert run.lines["account"]["account"].endswith(f"@{DOMAIN}")
    assert run.lines["metrics"]["skipped"] is True
    assert run.summary[-1] == "Smoke test passed. Not part of it, because nobody asked: metrics."
    assert (await asyncio.to_thread(live.rest, "GET", f"/v1/domains/{DOMAIN}"))["name"] == DOMAIN


async def test_a_domains_token_is_enough_for_its_domain(live: Live) -> None:
    asked = {"name": "smoke", "scopes": [f"domain:{DOMAIN}"]}
    token = (await asyncio.to_thread(live.rest, "POST", "/v1/tokens", asked))["token"]
    live.whole.secrets.add(token)
    run = await smoke(live, *options(live), "--domain", DOMAIN, environment={"MB_API_TOKEN": token})
    assert (run.status, run.failed) == (0, []), run.summary
    without = await smoke(live, *options(live), environment={"MB_API_TOKEN": token})
    assert (without.status, without.failed) == (1, ["api"])
    assert "platform" in without.lines["api"]["error"]


async def test_an_authority_that_is_not_the_stacks(live: Live, tmp_path: Path) -> None:
    other = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(other)
    run = await smoke(live, *options(live, **{"ca-file": str(other)}))
    assert (run.status, run.failed) == (1, ["idle", "reception", "submission", "relay"])
    for step in run.failed:
        assert "TLS: the server's certificate can't be verified: " in run.lines[step]["error"]
    assert run.lines["bytes"]["error"] == "not tried: seen failed"
    assert run.lines["cleanup"]["ok"]


async def test_a_certificate_that_is_not_for_the_host(live: Live) -> None:
    run = await smoke(live, *options(live, imaps=f"127.0.0.2:{live.port('imap_gateway', 'imaps')}"))
    assert (run.status, run.failed) == (1, ["idle"])
    assert "certificate is not valid for '127.0.0.2'" in run.lines["idle"]["error"]


async def test_a_port_where_nobody_listens(live: Live) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        run = await smoke(live, *options(live, pop3s=f"localhost:{taken.getsockname()[1]}"))
    assert (run.status, run.failed) == (1, ["pop3"])
    assert run.lines["pop3"]["error"].endswith("nothing listens there")
    assert run.lines["relay"]["ok"]
    assert run.summary[-1] == "Smoke test failed: pop3."


async def test_metrics_of_a_process_that_the_mail_did_not_pass(live: Live) -> None:
    """Mail goes through the second pods; of POP3 the first one is looked at."""
    looked_at = metrics(live, "smtp_ingress-2", "imap_gateway-2", "pop3_gateway-1")
    run = await smoke(live, *options(live), *looked_at)
    assert (run.status, run.failed) == (1, ["metrics"])
    error = run.lines["metrics"]["error"]
    assert "POP3 commands (mailboat_pop3_command_duration_seconds_count)" in error
    assert "IMAP" not in error
    assert "accepted" not in error


async def test_an_api_that_is_not_there(live: Live) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        run = await smoke(live, *options(live), environment={"MB_API_URL": url})
    assert (run.status, run.failed) == (3, ["api"])
    assert "is not reachable" in run.lines["api"]["error"]


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """The port of a server that accepts and says nothing, and an event: somebody has come."""
    came = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


async def test_a_server_that_says_nothing_is_given_up(live: Live) -> None:
    async with silent() as (port, _):
        run = await smoke(live, *options(live, imaps=f"localhost:{port}"), "--timeout", "2")
    assert (run.status, run.failed) == (1, ["idle"])
    assert run.lines["idle"]["error"] == f"IMAP at localhost:{port}: not done within 2 s"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_nothing_stays(live: Live, number: signal.Signals) -> None:
    async with silent() as (port, came):
        arguments = options(live, smtp=f"localhost:{port}")
        async with started(live, str(PROGRAMS / "mailboatctl"), "smoke", *arguments) as process:
            await asyncio.wait_for(came.wait(), 30)
            process.send_signal(number)
            run = await ended(live, process)
    assert (run.status, run.failed) == (1, ["reception"])
    assert run.lines["reception"]["error"] == f"interrupted by {number.name}"
    assert run.lines["submission"]["error"] == f"not tried: interrupted by {number.name}"
    assert run.lines["cleanup"]["ok"]


async def test_the_runner_tests_its_own_stack(live: Live) -> None:
    """What `make smoke` does: the command finds ports, authority, token and metrics itself."""
    arguments = ("smoke", "--directory", str(live.stack.layout.root))
    async with started(live, str(PROGRAMS / "mailboat-local"), *arguments, MB_API_TOKEN_FILE="") as process:
        run = await ended(live, process)
    assert (run.status, run.failed) == (0, []), run.summary
    assert run.lines["metrics"]["addresses"] == 6
