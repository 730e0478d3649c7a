"""A command obeys SIGTERM and SIGINT from its first instant, also as process 1 of a container.

The commands run as process 1 of a PID namespace where that is allowed: there the kernel drops a signal without a
handler. Elsewhere the exit status tells the same: the default action would end the process by the signal, not with 0.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
COMMANDS = (
    *("mailboat-smtp-ingress", "mailboat-imap-gateway", "mailboat-pop3-gateway", "mailboat-storage-api"),
    *("mailboat-delivery-worker", "mailboat-replica-set"),
)
MODULES = tuple(
    name.removeprefix("mailboat-").replace("-", "_").replace("replica_set", "storage_api.replica_set")
    for name in COMMANDS
)
SIGNALS = (signal.SIGTERM, signal.SIGINT)
SECONDS = 20
LIGHT = {
    *("collections", "enum", "functools", "importlib", "itertools", "keyword", "operator"),
    *("reprlib", "signal", "types", "warnings"),
}

# Says that it runs, and never goes on: stdin is a pipe nobody writes to.
BLOCK = "import os, sys\nos.write(1, b'blocked as %d\\n' % os.getpid())\nwhile True: os.read(0, 1)\n"


@functools.cache
def as_process_1() -> tuple[str, ...]:
    """What goes before a command to make it process 1 of a namespace; nothing where the machine forbids that."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    prefix = (unshare, "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    return prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else ()


@contextmanager
def blocked(*command: str, modules: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command that has come as far as the module in `modules` that blocks; with the process id to be signalled."""
    prefix = as_process_1()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MB_")}
    process = subprocess.Popen(
        [*prefix, *command],
        env=inherited | {"PYTHONPATH": str(modules), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("blocked as "), line + process.stdout.read().decode()
        pid = process.pid
        if prefix:
            assert line == "blocked as 1\n"
            (pid,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        yield process, pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_while_a_command_imports_its_service(tmp_path: Path, command: str, number: signal.Signals) -> None:
    (tmp_path / "pydantic.py").write_text(BLOCK)  # every service imports it, none before it is launched
    with blocked(str(BIN / command), modules=tmp_path) as (process, pid):
        os.kill(pid, number)
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("module", MODULES)
def test_python_m_is_the_same(tmp_path: Path, module: str) -> None:
    (tmp_path / "pydantic.py").write_text(BLOCK)
    with blocked(sys.executable, "-m", module, modules=tmp_path) as (process, pid):
        os.kill(pid, signal.SIGTERM)
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_the_handler_stays_until_the_service_has_its_own(tmp_path: Path, number: signal.Signals) -> None:
    """Between the import and the life cycle's handlers: settings are read, the event loop is made."""
    (tmp_path / "late.py").write_text("def main():\n" + "".join(f"    {line}\n" for line in BLOCK.splitlines()))
    launch = "from mailboat_common.launch import launch; launch('late')"
    with blocked(sys.executable, "-c", launch, modules=tmp_path) as (process, pid):
        os.kill(pid, number)
        assert process.wait(SECONDS) == 0


def test_the_life_cycle_takes_over(tmp_path: Path) -> None:
    """Then a signal asks for a drain instead of ending the process on the spot."""
    (tmp_path / "served.py").write_text(
        "import os\n"
        "from mailboat_common.config import ServiceSettings\n"
        "from mailboat_common.lifecycle import run\n"
        "async def start(life):\n"
        "    async def close():\n"
        "        os.write(1, b'drained\\n')\n"
        "    life.on_close(close)\n"
        "    os.write(1, b'blocked as %d\\n' % os.getpid())\n"
        "def main():\n"
        "    run('served', ServiceSettings(admin_port=0, log_level='error'), start)\n"
    )
    launch = "from mailboat_common.launch import launch; launch('served')"
    with blocked(sys.executable, "-c", launch, modules=tmp_path) as (process, pid):
        os.kill(pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=SECONDS)
        assert (output, process.returncode) == (b"drained\n", 0)


def test_launching_imports_next_to_nothing() -> None:
    """What is imported before the handler is in place is time in which a signal is lost."""
    listing = "import sys; before = set(sys.modules); import mailboat_common.launch; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", listing], capture_output=True, text=True, check=True)
    new = {name.partition(".")[0].lstrip("_") for name in done.stdout.split()}
    assert new <= {"mailboat_common", *LIGHT}
