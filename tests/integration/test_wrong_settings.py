"""Settings that cannot work: one clear text and an exit status, from each service as it is really started.

Status 2: what can be seen in the environment alone. Status 1: what the machine denies (a port, a certificate).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.stack import Live

pytestmark = pytest.mark.stack
SERVICES = ("smtp_ingress", "imap_gateway", "pop3_gateway", "storage_api", "storage_worker", "delivery_worker")
EDGE = SERVICES[:3]
SECRET = "not-to-be-shown-7391"


async def started(live: Live, service: str, changes: Mapping[str, str | None]) -> tuple[int, str]:
    """Exit status and output of a service with its real settings but for these (None: without)."""
    child = live.stack.child(f"{service}-1")
    environment = {"PATH": os.environ["PATH"], **child.env, **changes}
    process = await asyncio.create_subprocess_exec(
        *child.argv,
        env={name: value for name, value in environment.items() if value is not None},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    text = output.decode()
    assert "Traceback" not in text
    assert SECRET not in text
    return process.returncode, text


@pytest.mark.parametrize("service", SERVICES)
async def test_every_fault_is_told_at_once(live: Live, service: str) -> None:
    wrong: dict[str, str | None] = {
        "MB_ADMIN_PROT": "9000",
        "MB_ADMIN_PORT": "ninety",
        "MB_DRAIN_SECONDS": "-1",
        "MB_LOG_LEVEL": "loud",
        "MB_INTERNAL_TOKEN_FILE": "/nowhere/token",
    }
    if "MB_AMQP_URL" in live.stack.child(f"{service}-1").env:
        wrong["MB_AMQP_URL"] = f"http://user:{SECRET}@localhost/"
    if service in EDGE:
        wrong["MB_TLS_DIR"] = "/nowhere/tls"
    status, text = await started(live, service, wrong)
    assert status == 2
    first, *lines = text.splitlines()
    assert first == f"{len(wrong)} settings are wrong:"
    assert {line.split(":")[0].strip() for line in lines} == wrong.keys()
    assert "  MB_ADMIN_PROT: unknown setting; did you mean MB_ADMIN_PORT?" in lines


async def test_what_must_be_set_is_named_with_its_meaning(live: Live) -> None:
    status, text = await started(live, "imap_gateway", {"MB_TLS_DIR": None, "MB_INTERNAL_TOKEN_FILE": None})
    assert status == 2
    assert "MB_TLS_DIR: must be set (Directory of certificate pairs, watched for changes)" in text
    assert "MB_INTERNAL_TOKEN_FILE: must be set (File with this caller's token, one line)" in text


@pytest.mark.parametrize("service", EDGE)
async def test_a_certificate_directory_without_a_usable_pair(live: Live, service: str, tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("no certificate")
    (tmp_path / "tls.key").write_text(f"no key: {SECRET}")
    status, text = await started(live, service, {"MB_ADMIN_PORT": "0", "MB_TLS_DIR": str(tmp_path)})
    assert status == 1, text
    assert f"no usable certificate in {tmp_path} (MB_TLS_DIR): tls: " in cause(text)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_port_in_use_is_named(live: Live, service: str) -> None:
    """The running replica has all ports."""
    ports = [label for label in live.stack.ports(f"{service}-1") if label != "admin"]
    status, text = await started(live, service, {"MB_ADMIN_PORT": "0"} if ports else {})
    assert status == 1
    assert any(f"MB_{label.upper()}_PORT" in cause(text) for label in ports or ["admin"]), text


def cause(text: str) -> str:
    """What the one line about a failed start says."""
    lines = [json.loads(line) for line in text.splitlines()]
    (line,) = [line for line in lines if line["event"] == "can't start"]
    return str(line["cause"])
