"""Starting, recognising and ending the stack's processes.

A pid file holds the bare pid. What makes a pid *ours* is a mark in the process's environment, read back from
``/proc/<pid>/environ``: the stack's directory and the process's name. A stale file or a reused pid is thereby seen for
what it is, and ``down`` finds every process of the stack, those without a pid file included.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailboat_local.layout import BASE_PORTS, Layout, StackError, ports_of

MARK = "MAILBOAT_LOCAL_PROCESS"
PROC = Path("/proc")
LOG_ROTATE_BYTES = 20 * 1024 * 1024
POLL_SECONDS = 0.05
EXEC_TRIES = 40
# Nothing but this of the caller's environment reaches a child: settings come from the stack alone.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LOGNAME")


@dataclass(frozen=True, slots=True)
class Child:
    """One process of the stack: how it is started, where it listens, how one sees that it is ready."""

    name: str  # "imap_gateway-1"
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ports: Mapping[str, int]
    ready: Callable[[], str | None] = field(compare=False)  # None: ready; else what it still waits for
    stop_seconds: float = 15.0

    @property
    def service(self) -> str:
        return self.name.rpartition("-")[0]


class Processes:
    """The processes of the stack in one directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._spawned: dict[int, subprocess.Popen[bytes]] = {}
        self._log_starts: dict[str, int] = {}  # where in its log a process's present life begins
        _raise_file_limit()

    def pid(self, name: str) -> int | None:
        """The pid of the running process, or None if it isn't running (whatever the pid file says)."""
        pid = self._recorded_pid(name)
        if pid is None:
            return None
        self.reap()
        return pid if _mark(pid, EXEC_TRIES) == self._mark(name) else None

    def stale_pid(self, name: str) -> int | None:
        """The pid in a file left by a process that is gone."""
        recorded = self._recorded_pid(name)
        return recorded if recorded is not None and self.pid(name) is None else None

    def all_pids(self) -> dict[int, str]:
        """Every process that carries this stack's mark: pid -> name; helpers of a server have its name."""
        self.reap()
        prefix = f"{self._layout.root}="
        marks = ((pid, _mark(pid)) for pid in _pids())
        return {pid: mark.removeprefix(prefix) for pid, mark in marks if mark and mark.startswith(prefix)}

    def start(self, child: Child) -> int:
        """Start a process that isn't running; a stale pid file is replaced. Returns the pid."""
        for label, port in child.ports.items():
            if holder := port_holder(port):
                raise StackError(
                    f"{child.name} cannot start: its port {port} ({label}) is in use by {holder}. "
                    "End that process, or choose other ports with MB_PORT_OFFSET."
                )
        log = self._layout.log_file(child.name)
        if log.exists() and log.stat().st_size > LOG_ROTATE_BYTES:
            log.replace(log.with_suffix(".log.1"))
        env = {name: os.environ[name] for name in INHERITED if name in os.environ}
        env |= dict(child.env) | {MARK: self._mark(child.name)}
        with log.open("ab") as output:
            self._log_starts[child.name] = output.tell()
            try:
                process = subprocess.Popen(
                    child.argv,
                    env=env,
                    cwd=self._layout.root,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{child.name} cannot start: {child.argv[0]}: {describe_os_error(error)}") from error
        self._spawned[process.pid] = process
        write_private(self._layout.pid_file(child.name), f"{process.pid}\n", mode=0o644)
        return process.pid

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to the named process; False if it isn't running."""
        pid = self.pid(name)
        if pid is None:
            return False
        return _kill(pid, number)

    def stop(self, names: Iterable[str], seconds: float) -> list[str]:
        """SIGTERM, wait, SIGKILL for what is left after ``seconds``; returns the names that had to be killed."""
        waiting = {name: pid for name in names if (pid := self.pid(name)) is not None}
        for pid in waiting.values():
            _kill(pid, signal.SIGTERM)
            _kill(pid, signal.SIGCONT)  # a stopped process could not end
        self._wait_gone(waiting.values(), seconds)
        killed = [name for name in waiting if self.kill(name)]
        for name in waiting:
            self.forget(name)
        return killed

    def kill(self, name: str) -> bool:
        """SIGKILL, and wait until the kernel has let go of the process's ports; False if it wasn't running."""
        pid = self.pid(name)
        if pid is None:
            return False
        _kill(pid, signal.SIGKILL)
        if not self._wait_gone([pid], 30):
            raise StackError(f"{name} (pid {pid}) did not end after SIGKILL; its disk may hang")
        return True

    def _wait_gone(self, pids: Iterable[int], seconds: float) -> bool:
        waiting = list(pids)

        def gone() -> bool:
            self.reap()
            return all(_gone(pid) for pid in waiting)

        return wait_until(gone, seconds)

    def kill_rest(self, spare: str = "") -> list[str]:
        """End everything that still carries the stack's mark (a server's helpers, children without a pid file) but the
        process named ``spare``; returns the names."""

        def rest() -> dict[int, str]:
            return {pid: name for pid, name in self.all_pids().items() if name != spare}

        names = sorted(set(rest().values()))
        for number, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
            for pid in rest():
                _kill(pid, number)
            if wait_until(lambda: not rest(), seconds):
                break
        return names

    def forget(self, name: str) -> None:
        """Remove the pid file of a process that is gone."""
        self._layout.pid_file(name).unlink(missing_ok=True)

    def adopt(self, name: str, pid: int) -> None:
        """Write the pid file of a process that was not started through ``start``."""
        write_private(self._layout.pid_file(name), f"{pid}\n", mode=0o644)

    def names(self) -> list[str]:
        """Names that have a pid file, running or not."""
        return sorted(path.stem for path in self._layout.run.glob("*.pid")) if self._layout.run.is_dir() else []

    def reap(self) -> dict[int, int]:
        """Collect the children of this runner that have ended: pid -> return code."""
        ended = {pid: code for pid, process in self._spawned.items() if (code := process.poll()) is not None}
        for pid in ended:
            del self._spawned[pid]
        return ended

    def last_lines(self, name: str, count: int = 15) -> list[str]:
        """The end of the process's log, from its last start on if that was ours."""
        log = self._layout.log_file(name)
        if not log.exists():
            return []
        with log.open("rb") as stream:
            stream.seek(max(self._log_starts.get(name, 0), log.stat().st_size - 64 * 1024))
            return stream.read().decode(errors="replace").splitlines()[-count:]

    def _mark(self, name: str) -> str:
        return f"{self._layout.root}={name}"

    def _recorded_pid(self, name: str) -> int | None:
        try:
            text = self._layout.pid_file(name).read_text().strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isascii() and text.isdigit() else None


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file in one step, so that a reader never sees half of it, with the given mode from its first byte."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(path)


def check_free_space(directory: Path, needed: int) -> None:
    """Refuse to start on a full disk: MongoDB would stop at its first journal file."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise StackError(
            f"The disk that holds {directory} is nearly full: {free // 2**20} MiB are free, "
            f"{needed // 2**20} MiB are needed. Free some space and start again."
        )


def describe_os_error(error: OSError) -> str:
    """One line for a person about a failed file operation."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}. Free some space and start again."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"This user may not write{where}. Was the stack started by another user, or with sudo?"
    return f"{os.strerror(error.errno or 0)}{where}"


def free_offset(replicas: int = 1) -> int:
    """An offset that no stack uses and whose ports are all free at this moment: for tests and measurements."""
    # Above that the services' ports would be among those that the kernel gives to outgoing connections (from 32768):
    # one that restarts could find its port taken for a moment.
    candidates = list(range(5000, 23000, 1000))
    random.shuffle(candidates)
    for offset in candidates:
        wanted = {
            port
            for service in BASE_PORTS
            for replica in range(1, replicas + 1)
            for port in ports_of(service, replica, offset).values()
        }
        if all(_can_bind(port) for port in wanted):
            return offset
    raise StackError("No port offset is free: too many stacks run on this machine.")


def port_holder(port: int) -> str | None:
    """Who listens on a TCP port: "redis-server (pid 812)", "another process", or None when it is free."""
    if _can_bind(port):
        return None
    inodes = set(_listening_inodes(port))
    for pid in _pids():
        try:
            links = {str(link.readlink()) for link in (PROC / str(pid) / "fd").iterdir()}
        except OSError:
            continue  # another user's process, or gone meanwhile: nothing to learn from it
        if any(f"socket:[{inode}]" in links for inode in inodes):
            owner = (_mark(pid) or "").rpartition("=")[0]
            return f"{_command(pid)} (pid {pid}" + (f", of the stack in {owner})" if owner else ")")
    return "a process of another user" if inodes else "a connection or process that cannot be seen from here"


def _can_bind(port: int) -> bool:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - a probe
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
                probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            if error.errno == errno.EACCES:
                raise StackError(f"Port {port} needs root; choose another MB_PORT_OFFSET.") from error
    return True


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        path = PROC / "net" / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return "a process"


def _mark(pid: int, tries: int = 1) -> str | None:
    """The mark in a process's environment; None for another's, a zombie or a process that is gone."""
    prefix = f"{MARK}=".encode()
    environment = b""
    try:
        for _ in range(tries):
            environment = (PROC / str(pid) / "environ").read_bytes()
            if environment or _gone(pid):
                break
            time.sleep(POLL_SECONDS / 10)  # in the middle of an exec a process shows no environment for an instant
    except OSError:
        return None
    return next((v[len(prefix) :].decode() for v in environment.split(b"\0") if v.startswith(prefix)), None)


def _gone(pid: int) -> bool:
    """Ended in full: a zombie counts once its last thread is over, since until then its sockets may be open."""
    try:
        state = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
        return state in "ZX" and len(list((PROC / str(pid) / "task").iterdir())) == 1
    except (FileNotFoundError, ProcessLookupError):
        return True


def _kill(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _raise_file_limit() -> None:
    """mongod wants many files; children inherit the limit, and a login shell's soft one is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
