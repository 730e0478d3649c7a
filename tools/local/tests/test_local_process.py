"""Processes are recognised by their mark, whatever a pid file says; ports in use are named with their holder."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailboat_local.layout import Layout, StackError
from mailboat_local.process import (
    Child,
    Processes,
    check_free_space,
    describe_os_error,
    port_holder,
    wait_until,
    write_private,
)

SLEEPER = (sys.executable, "-c", "import signal, sys; print('up', flush=True); signal.pause()")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()",
)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    layout = Layout(tmp_path / "stack")
    layout.create()
    made = Processes(layout)
    yield made
    made.kill_rest()


def sleeper(name: str = "imap_gateway-1", argv: tuple[str, ...] = SLEEPER, **env: str) -> Child:
    return Child(name=name, argv=argv, env=env, ports={}, ready=lambda: None)


def start(processes: Processes, child: Child) -> int:
    pid = processes.start(child)
    assert wait_until(lambda: processes.last_lines(child.name)[-1:] == ["up"], 10)
    return pid


def test_start_and_stop(processes: Processes, tmp_path: Path) -> None:
    pid = start(processes, sleeper())
    assert processes.pid("imap_gateway-1") == pid
    assert (tmp_path / "stack/run/imap_gateway-1.pid").read_text() == f"{pid}\n"
    assert processes.all_pids() == {pid: "imap_gateway-1"}
    assert processes.stop(["imap_gateway-1"], 10) == []
    assert processes.pid("imap_gateway-1") is None
    assert not (tmp_path / "stack/run/imap_gateway-1.pid").exists()


def test_a_process_that_ignores_sigterm_is_killed(processes: Processes) -> None:
    start(processes, sleeper(argv=STUBBORN))
    assert processes.stop(["imap_gateway-1"], 0.2) == ["imap_gateway-1"]
    assert processes.all_pids() == {}


def test_a_stopped_process_still_ends(processes: Processes) -> None:
    pid = start(processes, sleeper())
    os.kill(pid, signal.SIGSTOP)
    assert processes.stop(["imap_gateway-1"], 10) == []


def test_a_killed_process_leaves_a_stale_pid(processes: Processes) -> None:
    pid = start(processes, sleeper())
    assert processes.kill("imap_gateway-1")
    assert processes.pid("imap_gateway-1") is None
    assert processes.stale_pid("imap_gateway-1") == pid
    assert not processes.kill("imap_gateway-1")


def test_a_reused_pid_is_not_ours(processes: Processes, tmp_path: Path) -> None:
    write_private(tmp_path / "stack/run/imap_gateway-1.pid", f"{os.getpid()}\n")
    assert processes.pid("imap_gateway-1") is None
    assert processes.stop(["imap_gateway-1"], 0.1) == []  # and this test lives on


def test_another_stacks_process_is_not_ours(processes: Processes, tmp_path: Path) -> None:
    other_layout = Layout(tmp_path / "other")
    other_layout.create()
    other = Processes(other_layout)
    pid = start(other, sleeper())
    try:
        write_private(tmp_path / "stack/run/imap_gateway-1.pid", f"{pid}\n")
        assert processes.pid("imap_gateway-1") is None
        assert processes.all_pids() == {}
    finally:
        other.kill_rest()
    assert other.all_pids() == {}


@pytest.mark.parametrize("content", ["", "abc\n", "12 34\n", "-1\n", "٣\n"])
def test_a_damaged_pid_file_is_no_pid(processes: Processes, tmp_path: Path, content: str) -> None:
    (tmp_path / "stack/run/imap_gateway-1.pid").write_text(content)
    assert processes.pid("imap_gateway-1") is None


def test_helpers_without_a_pid_file_are_ended_too(processes: Processes) -> None:
    program = f"import subprocess; subprocess.Popen({SLEEPER!r}, start_new_session=True)"
    processes.start(sleeper(argv=(sys.executable, "-c", program)))
    assert wait_until(lambda: processes.last_lines("imap_gateway-1")[-1:] == ["up"], 10)
    assert wait_until(lambda: processes.pid("imap_gateway-1") is None, 10)
    assert list(processes.all_pids().values()) == ["imap_gateway-1"]
    assert processes.kill_rest() == ["imap_gateway-1"]
    assert processes.all_pids() == {}


def test_a_child_gets_its_own_settings_only(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MB_SOMETHING", "else")
    program = "import os; print(sorted(k for k in os.environ if k.startswith('MB_'))); print('up', flush=True)"
    processes.start(sleeper(argv=(sys.executable, "-c", program), MB_LOG_LEVEL="debug"))
    assert wait_until(lambda: processes.last_lines("imap_gateway-1")[-1:] == ["up"], 10)
    assert processes.last_lines("imap_gateway-1")[-2] == "['MB_LOG_LEVEL']"


def test_a_port_in_use_is_named_with_its_holder(processes: Processes) -> None:
    program = (
        "import socket, signal; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); signal.pause()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        child = Child(name="imap_gateway-1", argv=SLEEPER, env={}, ports={"imap": port}, ready=lambda: None)
        with pytest.raises(StackError, match=rf"port {port} \(imap\) is in use by python.* \(pid {holder.pid}\)"):
            processes.start(child)
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


def test_a_free_port_has_no_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_holder(port) is not None
    assert port_holder(port) is None


def test_a_program_that_is_not_there(processes: Processes) -> None:
    with pytest.raises(StackError, match="imap_gateway-1 cannot start: /nowhere/at-all"):
        processes.start(sleeper(argv=("/nowhere/at-all",)))


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="nearly full"):
        check_free_space(tmp_path, needed=2**62)
    assert "disk is full" in describe_os_error(OSError(28, "No space left on device", "/x/y"))
    assert "/x/y" in describe_os_error(OSError(13, "Permission denied", "/x/y"))


def test_a_long_log_is_rotated_at_start(processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailboat_local.process.LOG_ROTATE_BYTES", 10)
    log = tmp_path / "stack/log/imap_gateway-1.log"
    log.write_text("an older run's lines\n")
    start(processes, sleeper())
    assert log.with_suffix(".log.1").read_text() == "an older run's lines\n"
    assert log.read_text() == "up\n"


def test_private_files_are_private(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", "x")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
