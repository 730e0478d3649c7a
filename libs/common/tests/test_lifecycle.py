"""A service's life as its operator sees it: real processes, signals, the admin port."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mailboat_common.lifecycle import GC_ALLOCATIONS

from tests.support.rabbitmq import free_ports

SERVICE = """
import asyncio, sys
from mailboat_common import crash
from mailboat_common.config import ServiceSettings, load
from mailboat_common.errors import StartupError
from mailboat_common.lifecycle import Lifecycle, run

def say(text):
    print(text, flush=True)

async def start(life: Lifecycle) -> None:
{body}

run("toy", load(ServiceSettings), start)
"""

NORMAL = """
    async def drain(deadline):
        say(f"drain {round(deadline - asyncio.get_running_loop().time(), 1)}")
    async def close(name):
        say(f"close {name}")
    life.on_drain(drain)
    life.on_close(lambda: close("first"))
    life.on_close(lambda: close("second"))
    life.add_check("always", lambda: True)
"""


class Toy:
    """A service process made of a `start` body."""

    def __init__(self, folder: Path, body: str, **settings: str) -> None:
        (self.port,) = free_ports(1)
        script = folder / "toy.py"
        script.write_text(SERVICE.format(body=body))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MB_")}
        environment |= {"MB_ADMIN_PORT": str(self.port), "MB_DRAIN_SECONDS": "0.4", **settings}
        self.process = subprocess.Popen(
            [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def until(self, path: str, status: int, accept: Callable[[Any], bool] = bool) -> Any:
        """Polls the admin port until it answers `status` with an acceptable body."""
        deadline = time.monotonic() + 15
        while True:
            try:
                got, body = self.get(path)
            except OSError:
                got, body = 0, "null"
            if got == status and accept(json.loads(body)):
                return json.loads(body)
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, f"{path} answers {got} {body}"
            time.sleep(0.02)

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=15)
        return self.process.returncode, out, err


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Callable[..., Toy]]:
    made: list[Toy] = []

    def make(body: str, **settings: str) -> Toy:
        made.append(Toy(tmp_path, body, **settings))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_serve_drain_end(toy: Callable[..., Toy], number: signal.Signals) -> None:
    one = toy(NORMAL)
    assert one.until("/readyz", 200) == {"ready": True, "failing": []}
    assert one.get("/livez")[0] == 200
    assert one.get("/nothing")[0] == 404
    metrics = one.get("/metrics")[1]
    assert 'mailboat_build_info{service="toy",version="' in metrics
    assert "mailboat_event_loop_lag_seconds" in metrics
    assert "mailboat_draining 0.0" in metrics
    code, out, err = one.end(number)
    assert (code, out.splitlines()) == (0, ["drain 0.3", "close second", "close first"])
    assert all("event" in json.loads(line) for line in err.splitlines())


def test_draining_is_not_ready_but_alive(toy: Callable[..., Toy]) -> None:
    one = toy(NORMAL, MB_DRAIN_SECONDS="8")
    one.until("/readyz", 200)
    one.process.send_signal(signal.SIGTERM)
    assert one.until("/readyz", 503) == {"ready": False, "failing": ["draining"]}
    assert one.get("/livez")[0] == 200
    assert "mailboat_draining 1.0" in one.get("/metrics")[1]
    code, _out, _err = one.end(signal.SIGTERM)  # the second signal
    assert code == 128 + signal.SIGTERM


def test_a_port_in_use_is_one_clear_line(toy: Callable[..., Toy]) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        code, _out, err = toy(NORMAL, MB_ADMIN_PORT=str(port)).end()
    assert code == 1
    (record,) = [json.loads(line) for line in err.splitlines()]
    assert record["cause"] == f"port {port} is in use by another process: stop it or change MB_ADMIN_PORT"


def test_a_startup_error_is_one_line_and_what_was_opened_is_closed(toy: Callable[..., Toy]) -> None:
    code, out, err = toy(NORMAL + '    raise StartupError("no usable certificate")\n').end()
    assert (code, out.splitlines()) == (1, ["close second", "close first"])
    assert json.loads(err.splitlines()[0])["cause"] == "no usable certificate"
    assert "Traceback" not in err


def test_a_bug_at_start_or_later_ends_the_process_with_its_traceback(toy: Callable[..., Toy]) -> None:
    for body in (
        "    raise KeyError('bug')\n",
        "    async def work():\n        raise KeyError('bug')\n    life.spawn(work(), 'work')\n",
    ):
        code, _out, err = toy(body).end()
        assert code == 1
        assert "KeyError: 'bug'" in err


def test_a_dependency_that_is_away_is_waited_for(toy: Callable[..., Toy], tmp_path: Path) -> None:
    there = tmp_path / "there"
    body = f"""
    from pathlib import Path
    async def connect():
        return Path({str(there)!r}).read_text()
    say(await life.wait_for("mongodb", connect))
"""
    one = toy(body)
    one.until("/readyz", 503, lambda state: state["failing"] == ["mongodb", "starting"])
    assert 'mailboat_dependency_up{dependency="mongodb"} 0.0' in one.get("/metrics")[1]
    there.write_text("connected")
    one.until("/readyz", 200)
    assert 'mailboat_dependency_up{dependency="mongodb"} 1.0' in one.get("/metrics")[1]
    code, out, _err = one.end(signal.SIGTERM)
    assert (code, out) == (0, "connected\n")


def test_sigterm_ends_a_process_that_still_waits_for_its_dependency(toy: Callable[..., Toy]) -> None:
    one = toy("    await life.wait_for('mongodb', lambda: asyncio.open_connection('127.0.0.1', 1))\n")
    one.until("/livez", 200)
    assert one.end(signal.SIGTERM)[0] == 0


def test_a_wrong_setting_ends_it_with_2(toy: Callable[..., Toy]) -> None:
    code, _out, err = toy(NORMAL, MB_LOG_LEVL="info").end()
    assert code == 2
    assert "MB_LOG_LEVL: unknown setting; did you mean MB_LOG_LEVEL?" in err


CRASHING = """
    for _ in range(3):
        say("pass")
        crash.point("toy.middle")
        crash.point("toy.other")
"""


def test_a_crash_point_kills(toy: Callable[..., Toy]) -> None:
    code, out, _err = toy(CRASHING, MB_CRASH_POINT="toy.middle:2").end()
    assert (code, out.count("pass")) == (-signal.SIGKILL, 2)


def test_a_crash_point_can_stop_the_process_instead(toy: Callable[..., Toy]) -> None:
    one = toy(CRASHING, MB_CRASH_POINT="toy.middle:2:stop")
    pid, status = os.waitpid(one.process.pid, os.WUNTRACED)
    assert (pid, os.WIFSTOPPED(status)) == (one.process.pid, True)
    one.process.send_signal(signal.SIGCONT)
    one.until("/readyz", 200)
    code, out, _err = one.end(signal.SIGTERM)
    assert (code, out.count("pass")) == (0, 3)


async def test_unready_checks_are_named() -> None:
    from mailboat_common.health import AdminServer

    admin = AdminServer(0)
    states = {"a": True, "b": False}
    admin.add_check("a", lambda: states["a"])
    admin.add_check("b", lambda: states["b"])
    assert admin.failing() == ["b", "starting"]
    admin.started = True
    states["b"] = True
    assert admin.failing() == []
    await admin.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"ready": true, "failing": []}')
    await admin.stop()


COLLECTED = """
    import gc
    async def drain(deadline):
        say(f"frozen {gc.get_freeze_count() > 10_000}, at {gc.get_threshold()[0]}")
    life.on_drain(drain)
"""


def test_a_started_service_looks_for_cycles_only_among_what_came_since(tmp_path: Path) -> None:
    toy = Toy(tmp_path, COLLECTED)
    toy.until("/readyz", 200)
    _, out, _ = toy.end(signal.SIGTERM)
    assert f"frozen True, at {GC_ALLOCATIONS}" in out
